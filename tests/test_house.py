"""The house itself: what the distribution holds, that locks agree, and that the documents tell the truth."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import click
import pytest

from tests.conftest import REPOSITORY

PACKAGES = ("navigation", "calibration", "tracking")
DOCUMENTS = (
    REPOSITORY / "README.md",
    REPOSITORY / "CHANGELOG.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
)
HAZARDS = REPOSITORY / "docs" / "hazards.md"
# IDs H01 to H46 of the hazard analysis.
HAZARD_COUNT = 46
NOT_YET = "not yet"


def hazard_rows() -> list[list[str]]:
    lines = HAZARDS.read_text(encoding="utf-8").splitlines()
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines if re.match(r"\| H\d\d ", line)]


def named_tests(cell: str) -> list[tuple[str, str]]:
    return re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", cell)


def functions_of(path: Path) -> set[str]:
    """Names of the tests in a file; those of classes as Class::test."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names |= {f"{node.name}::{f.name}" for f in node.body if isinstance(f, ast.FunctionDef)}
    return names


def test_every_hazard_has_a_row() -> None:
    assert [row[0] for row in hazard_rows()] == [f"H{n:02d}" for n in range(1, HAZARD_COUNT + 1)]


@pytest.mark.parametrize("row", hazard_rows(), ids=lambda row: row[0])
def test_hazard_names_the_test_of_its_control_or_admits_to_none(row: list[str]) -> None:
    shown = row[-1]
    tests = named_tests(shown)
    assert tests or shown.startswith(NOT_YET), f"{row[0]}: neither a test nor '{NOT_YET}: ...'"
    for file, name in tests:
        path = REPOSITORY / file
        assert path.is_file(), f"{row[0]} names {file}, which does not exist"
        assert name in functions_of(path), f"{row[0]} names {file}::{name}, which does not exist"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in t]
    missing = [t for t in targets if t and not (document.parent / t).exists()]
    assert not missing


def documented_lines() -> list[str]:
    """Every `gammanav ...` line in the documents' code blocks, continuation lines joined, comments cut."""
    lines: list[str] = []
    for document in DOCUMENTS:
        for block in re.findall(r"```sh\n(.*?)```", document.read_text(encoding="utf-8"), re.S):
            joined = block.replace("\\\n", " ")
            lines += [x.split("#")[0].strip() for x in joined.splitlines() if x.startswith("gammanav ")]
    return sorted(set(lines))


def command_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The click command that the first words name, and the words that are left for it."""
    from navigation.cli.main import gammanav

    command: click.Command = gammanav
    while isinstance(command, click.Group) and words:
        found = command.get_command(click.Context(command, info_name="gammanav"), words[0])
        assert found is not None, f"there is no command {words[0]!r}"
        command, words = found, words[1:]
    return command, words


@pytest.mark.parametrize("line", documented_lines())
def test_documented_command_parses(line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # Every option and argument is checked by click itself; only the existence of the example's files is not.
    monkeypatch.setattr(click.Path, "convert", lambda self, value, param, ctx: value)
    monkeypatch.setattr(click.File, "convert", lambda self, value, param, ctx: value)
    command, words = command_of(shlex.split(line)[1:])
    with contextlib.suppress(click.exceptions.Exit):  # an option that prints and ends
        command.make_context(line, words).close()


def test_case_file_of_the_user_guide_has_no_unknown_key() -> None:
    from navigation.case import KEYS

    guide = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    found = [set(tomllib.loads(example)) for example in re.findall(r"```toml\n(.*?)```", guide, re.S)]
    assert {"calibration", "tracker", "probe"} <= found[0]
    assert all(keys <= KEYS for keys in found)


def test_every_command_is_in_the_user_guide() -> None:
    from navigation.cli import main

    guide = (REPOSITORY / "docs" / "index.md").read_text(encoding="utf-8")
    names = [*main.TOP, *(f"calibrate {name}" for name in main.CALIBRATE)]
    assert not [name for name in names if f"gammanav {name}" not in guide]


def test_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(REPOSITORY)],
        check=True,
        timeout=300,
    )
    (wheel,) = tmp_path.glob("gammanav-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names}
    (info,) = top - set(PACKAGES)
    assert info.endswith(".dist-info")
    assert {f"{p}/py.typed" for p in PACKAGES} <= set(names)
    assert f"{info}/licenses/NOTICE" in names
    for native in ("navigation/_core.", "tracking/_wire.", "calibration/_physics."):
        assert [n for n in names if n.startswith(native) and n.endswith(".so")]
    sources = ("navigation/core/", "tracking/core/", "calibration/core/")
    assert not [n for n in names if n.startswith(sources) or "/__pycache__/" in n]


def test_package_of_the_same_name_is_reported_at_import(tmp_path: Path) -> None:
    foreign = tmp_path / "tracking"
    foreign.mkdir()
    (foreign / "__init__.py").touch()
    # -S leaves out site-packages, where an editable installation would put ours first.
    run = subprocess.run(
        [sys.executable, "-S", "-c", "import navigation"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    last = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1
    assert last.startswith(f"ImportError: another package named 'tracking' in {tmp_path}")


@pytest.mark.parametrize("lock", ["requirements-build.txt", "requirements.txt", "requirements-dev.txt"])
def test_every_locked_package_has_a_version_and_a_hash(lock: str) -> None:
    text = (REPOSITORY / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    entries = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    assert entries
    for entry in entries:
        assert re.match(r"[a-z0-9._-]+==\S+( ; [^#]*?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*$", entry), entry[
            :80
        ]
    assert "://" not in text


def test_locks_agree_on_every_package() -> None:
    locks = ("requirements-build.txt", "requirements.txt", "requirements-dev.txt")
    pins = [
        set(re.findall(r"^([a-z0-9._-]+==\S+)", (REPOSITORY / f).read_text(encoding="utf-8"), re.M))
        for f in locks
    ]
    union = set().union(*pins)
    assert len({pin.split("==")[0] for pin in union}) == len(union)
    assert pins[1] <= pins[2]


def _pins(lock: str) -> dict[str, str]:
    text = (REPOSITORY / lock).read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.M))


def test_what_is_installed_is_what_is_locked() -> None:
    # A marker may leave a package out on this platform; whatever is here has the locked version.
    pins = _pins("requirements.txt")
    found = {name: _installed(name) for name in pins}
    assert {n: v for n, v in found.items() if v is not None and v != pins[n]} == {}
    assert sum(v is not None for v in found.values()) > 0.8 * len(pins)


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def test_bill_of_materials_names_every_locked_package(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    tool = [sys.executable, "-m", "cyclonedx_py", "requirements", "requirements.txt"]
    subprocess.run(
        [*tool, "--pyproject", "pyproject.toml", "--output-reproducible", "-o", str(out)],
        cwd=REPOSITORY,
        check=True,
        timeout=120,
    )
    bill = json.loads(out.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert {c["name"]: c["version"] for c in bill["components"]} == _pins("requirements.txt")
    hashed = [c for c in bill["components"] if c["externalReferences"][0]["hashes"]]
    assert len(hashed) == len(bill["components"])


def test_runtime_dependencies_are_in_the_lock() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=!~\[ ]", d)[0].lower() for d in project["dependencies"]}
    lock = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")
    assert wanted <= {name.lower() for name in re.findall(r"^([\w.-]+)==", lock, re.M)}


@pytest.mark.parametrize("module", ["navigation._core", "tracking._wire", "calibration._physics"])
def test_stub_of_a_native_module_is_the_generated_one(module: str, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.pyi"
    subprocess.run(
        [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", module, "-o", str(fresh)],
        cwd=REPOSITORY,
        check=True,
        timeout=60,
    )
    kept = REPOSITORY / f"{module.replace('.', '/')}.pyi"
    assert kept.read_text(encoding="utf-8") == fresh.read_text(encoding="utf-8"), "renew it with: make stub"


def imports_of(source: Path) -> set[str]:
    """Absolute dotted names a module imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_simulator_does_not_touch_the_native_core() -> None:
    # The other modules it must not share are a contract of import-linter, which cannot see a compiled module.
    sources = sorted((REPOSITORY / "navigation" / "simulate").rglob("*.py"))
    assert sources
    assert not [s for s in sources if "navigation._core" in imports_of(s)]


def test_make_demo_and_make_test_are_what_the_readme_says() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    (commands,) = re.findall(r"```sh\n(.*?)```", readme, re.S)
    assert [line.split("#")[0].strip() for line in commands.splitlines()] == ["make demo", "make test"]
    assert ci.strip().splitlines()[-1] == "exec make test"
