"""`gammanav doctor`: what is installed, what is missing and how to get it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass

import click

from navigation import _guard
from navigation.cli.faults import log_path
from tracking.errors import SurroundingsError

# Heavy libraries need a few seconds from a cold disk; one that takes longer hangs.
IMPORT_TIMEOUT_S = 60.0
# What is imported, the distribution it comes from, and the system packages that its import may lack.
LIBRARIES = (
    ("numpy", "numpy", ""),
    ("scipy.optimize", "scipy", ""),
    ("click", "click", ""),
    ("tqdm", "tqdm", ""),
    ("pyigtl", "pyigtl", ""),
    ("serial", "pyserial", ""),
    ("pydicom", "pydicom", ""),
    ("pynetdicom", "pynetdicom", ""),
    ("highdicom", "highdicom", ""),
    ("SimpleITK", "SimpleITK", ""),
    ("open3d", "open3d", "libgl1 libegl1 libglib2.0-0 libusb-1.0-0 libx11-6 libgomp1"),
    ("PyQt5.QtWidgets", "PyQt5", "libgl1 libglib2.0-0 libfontconfig1 libdbus-1-3 libxkbcommon-x11-0"),
    ("matplotlib", "matplotlib", ""),
    ("reportlab", "reportlab", ""),
)
# What only some cases need: the module, its distribution, and the extra that brings it.
OPTIONAL = (("ndicapy", "ndicapi", "ndi"), ("mcap", "mcap", "mcap"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the list; `needed` things that are missing make the doctor end with code 2."""

    name: str
    ok: bool
    words: str
    needed: bool = True


@click.command("doctor", epilog="Example: gammanav doctor")
def command() -> None:
    """Say what is installed, what is missing and how to get it; code 2 when something needed is missing."""
    extras = [_extra(*row) for row in OPTIONAL]
    findings = [*_ours(), *(_library(*row) for row in LIBRARIES), *extras, *_surroundings()]
    for finding in findings:
        mark = "ok     " if finding.ok else "MISSING" if finding.needed else "absent "
        click.echo(f"{mark} {finding.name:<16} {finding.words}")
    missing = [f.name for f in findings if f.needed and not f.ok]
    if missing:
        raise SurroundingsError(f"missing: {', '.join(missing)}")


def _ours() -> list[Finding]:
    clash = "; ".join(_guard.clashes())
    return [
        Finding("python", sys.version_info >= (3, 11), platform.python_version()),
        Finding("package names", not clash, clash or "navigation, calibration and tracking are ours"),
        _core(),
    ]


def _core() -> Finding:
    try:
        from navigation import _core
    except ImportError as error:
        return Finding("native core", False, f"{error}; build it with: pip install .")
    return Finding("native core", True, f"instruction set {_core.instruction_set()}")


def _library(module: str, distribution: str, system_packages: str) -> Finding:
    try:
        version = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return Finding(distribution, False, f"pip install {distribution}")
    fault = _import_fault(module)
    if fault is None:
        return Finding(distribution, True, version)
    hint = f"; apt-get install {system_packages}" if system_packages else ""
    return Finding(distribution, False, f"{version} does not import: {fault}{hint}")


def _extra(module: str, distribution: str, extra: str) -> Finding:
    found = _library(module, distribution, "")
    absent = found.words.startswith("pip install")
    words = f"pip install 'gammanav[{extra}]'" if absent else found.words
    return Finding(distribution, found.ok, words, needed=False)


def _import_fault(module: str) -> str | None:
    """Last line of what importing `module` in a process of its own says, None if it works."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {IMPORT_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _surroundings() -> list[Finding]:
    display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    xvfb = shutil.which("xvfb-run")
    return [
        Finding("display", bool(display), display or "none: use --headless", needed=False),
        Finding("xvfb-run", xvfb is not None, xvfb or "apt-get install xvfb xauth", needed=False),
        Finding("log", True, str(log_path()), needed=False),
    ]
