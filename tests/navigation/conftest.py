"""What several tests of a preoperative study share."""

from __future__ import annotations

from pathlib import Path

import pytest

from navigation.io.study import Study, import_study, load_study


@pytest.fixture(scope="session")
def thigh(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The PET/CT of a patient's thigh with an outlined tumour, imported once; not to be written into."""
    folder = tmp_path_factory.mktemp("thigh") / "study"
    import_study(test_data / "petct_sts001", folder)
    return load_study(folder)
