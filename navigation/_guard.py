"""Three plain package names may collide with others in site-packages: found at import, told in one line."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("navigation", "calibration", "tracking")


def home_of(package: str) -> Path | None:
    """The folder that holds the package Python would import under this name, or None if there is none."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).resolve().parent.parent


def clashes() -> tuple[str, ...]:
    """One line for each of the three packages that is missing or that another distribution hides."""
    ours = Path(__file__).resolve().parent.parent
    homes = {name: home_of(name) for name in PACKAGES}
    return tuple(
        f"package {name!r} is missing beside {ours}"
        if home is None
        else f"another package named {name!r} in {home} hides gammanav's in {ours}"
        for name, home in homes.items()
        if home != ours
    )


def has_avx2() -> bool:
    """Whether the processor has the instructions that BLAS calls Haswell's; False where nothing tells."""
    try:
        return " avx2 " in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False


def check() -> None:
    """Raises ImportError when a foreign package hides one of ours; the command ends with one line, code 2."""
    found = clashes()
    if not found:
        return
    line = f"{'; '.join(found)}: install gammanav into an environment of its own"
    if Path(sys.argv[0]).name == "gammanav":
        sys.stderr.write(f"gammanav: {line}\n")
        raise SystemExit(2)
    raise ImportError(line)
