"""TOML files of users, read with one clear line where they are none."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from tracking.errors import InputError


def read_toml(path: Path) -> dict[str, Any]:
    """The table in the file. Raises InputError naming it when it is missing or not TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not TOML ({error})") from None
