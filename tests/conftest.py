"""What all tests share: where data from outside lie, and that their absence is never silent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import navigation  # noqa: F401 - before numpy: how BLAS computes is decided when numpy is loaded

REPOSITORY = Path(__file__).resolve().parent.parent
VARIABLE = "GAMMANAV_TEST_DATA"


def data_folder() -> Path:
    """The folder that GAMMANAV_TEST_DATA names, else the one beside the repository."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else REPOSITORY.parent / "shared" / "data"


def missing(what: str) -> None:
    """Skips the test, or fails it under CI=true: there a skipped test would look like a passed one."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what}; CI=true demands it", pytrace=False)
    pytest.skip(what)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of recordings and images from outside."""
    folder = data_folder()
    if not folder.is_dir():
        missing(f"no test data at {folder}: set {VARIABLE} to the folder that holds them")
    return folder
