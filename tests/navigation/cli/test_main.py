"""The command line as a user's shell sees it: exit codes, one line on stderr, lazy loading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from navigation.cli import faults, main
from tracking.errors import GateRefusedError, InputError, SurroundingsError


def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "navigation.cli.main", *arguments], capture_output=True, text=True, timeout=60
    )


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    @click.command("demo")
    def broken() -> None:
        raise error

    monkeypatch.setattr(main, "load", lambda name, entry: broken)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("counts.csv, row 3: counts is not a number"), 2),
        (SurroundingsError("port 18944 is in use"), 2),
        (FileNotFoundError(2, "No such file or directory", "scan.json"), 2),
        (GateRefusedError("calibration expired"), 3),
    ],
)
def test_an_expected_error_is_one_line_and_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    failing(monkeypatch, error)
    assert main.run(["demo"]) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing(monkeypatch, FileNotFoundError(2, "No such file or directory", "scan.json"))
    main.run(["demo"])
    assert capsys.readouterr().err == "gammanav: scan.json: No such file or directory\n"


def test_a_fault_of_ours_exits_1_and_leaves_its_traceback_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    failing(monkeypatch, ZeroDivisionError("a fault"))
    monkeypatch.setattr(sys, "argv", ["gammanav", "demo"])
    with pytest.raises(SystemExit) as stop:
        main.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert "Traceback" in faults.log_path().read_text()


@pytest.mark.parametrize("arguments", [["no-such-command"], ["--no-such-option"], ["calibrate", "no-such"]])
def test_wrong_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    result = shell(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_help_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from navigation.cli.main import run; code = run(['--help']);"
        "heavy = {'scipy', 'numpy', 'SimpleITK', 'open3d', 'PyQt5', 'matplotlib'} & set(sys.modules);"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "reconstruct" in result.stdout


def test_version() -> None:
    result = shell("--version")
    assert result.returncode == 0
    assert result.stdout.startswith("gammanav ")
