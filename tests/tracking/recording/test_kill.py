"""Five kills of one recorder at random, and the same record goes on each time (H33)."""

from __future__ import annotations

import random
from pathlib import Path

from tests.campaign.kill import chaos

# What was not acknowledged may be lost, but no more than this.
TAIL_S = 0.05
RESUME_S = 5.0


def test_five_kills_lose_no_acknowledged_row(tmp_path: Path) -> None:
    found = chaos(tmp_path, 5, random.Random(7))
    assert found.kills == 5
    assert found.acknowledged > 100
    assert found.lost == 0
    assert max(found.tails_s) <= TAIL_S
    assert max(found.resumed_s) <= RESUME_S
