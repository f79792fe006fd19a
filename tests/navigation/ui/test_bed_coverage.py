"""The bed's panel while it is scanned: words rounded against ourselves, hatching, and the way to the next place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from navigation.ui.bedcoverage import (
    coverage_rest,
    coverage_title,
    draw_coverage,
    next_in_probe,
    next_text,
)

COVERAGE: dict[str, Any] = {
    "threshold_kbq": 4.0,
    "covered_fraction": 0.6,
    "largest_uncovered_mm": 23.0,
    "worst_mda_kbq": None,
    "unseen_fraction": 0.25,
    "scan_next": {"of": "bed", "place_mm": [30.0, 0.0, 0.0], "direction": [0.0, 0.0, -1.0], "seconds": 2.0},
}
DOWN = np.diag([1.0, -1.0, -1.0, 1.0])


def test_words_never_say_more_than_is_covered() -> None:
    assert coverage_title({**COVERAGE, "covered_fraction": 0.998}) == "99 % covered at 4 kBq"
    assert (
        coverage_rest({**COVERAGE, "unseen_fraction": 0.001}) == "widest patch left 23 mm; 1 % not examined"
    )
    assert coverage_rest({**COVERAGE, "unseen_fraction": 0.0, "largest_uncovered_mm": 0.0}) == "no patch left"
    assert coverage_title({**COVERAGE, "threshold_kbq": None}) == "no threshold is set"
    assert (
        coverage_title({**COVERAGE, "covered_fraction": None, "worst_mda_kbq": 3.2})
        == "99 % of the bed to 3.2 kBq"
    )


def test_the_way_is_that_of_the_probe_and_none_without_its_pose() -> None:
    assert next_text(COVERAGE, DOWN) == "Scan next: 30 mm away"
    assert next_text(COVERAGE, None) == "Scan next: --"
    assert next_text({**COVERAGE, "scan_next": None}, DOWN) == "no place to scan next"
    turned = DOWN.copy()
    turned[:3, :3] = [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]
    np.testing.assert_allclose(next_in_probe(COVERAGE["scan_next"], turned), [0.0, 30.0, 0.0])


@pytest.mark.parametrize("covered", [0.0, 0.6, 1.0])
def test_what_was_not_examined_is_hatched_and_nothing_is_green(covered: float, qapp: object) -> None:
    from PyQt5.QtCore import QRectF
    from PyQt5.QtGui import QColor, QImage, QPainter

    image = QImage(800, 240, QImage.Format.Format_RGB32)
    image.fill(QColor("#101317"))
    painter = QPainter(image)
    try:
        told = {**COVERAGE, "covered_fraction": covered, "unseen_fraction": (1.0 - covered) / 2}
        draw_coverage(painter, QRectF(0, 0, 800, 240), told, DOWN)
    finally:
        painter.end()
    buffer = image.constBits()
    buffer.setsize(image.byteCount())
    pixels = np.frombuffer(bytes(buffer), dtype=np.uint8).reshape(240, 800, 4)[..., 2::-1].astype(int)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    assert not ((green > red + 40) & (green > blue + 40)).any()
    bar = pixels[90:100, 20:680]
    amber = (bar[..., 0] > bar[..., 2] + 80).mean()
    assert (amber > 0.005) == (covered < 1.0)
    # Hatched, not filled: most of what was not examined is dark.
    assert amber < 0.5 * (1.0 - covered) + 0.01
