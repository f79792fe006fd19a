"""The window in another language: every fixed word is looked up, longer words are not cut, English needs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PyQt5.QtCore import QCoreApplication, QTranslator
from PyQt5.QtGui import QFontMetricsF, QPainter
from pytestqt.qtbot import QtBot

from navigation.ui import paint
from navigation.ui.actions import LABELS, actions, always
from navigation.ui.dashboard import Dashboard
from navigation.ui.shell import Shell
from navigation.ui.words import fixed_words, speak, tr, ts_file
from navigation.workflowsteps import TITLES
from tests.navigation.ui.scene import model_of, snapshot
from tests.navigation.ui.test_views_agree import Spoken
from tracking.errors import InputError


class Pseudo(QTranslator):
    """Knows all fixed words, and makes them longer by a half."""

    def translate(self, context: str | None, text: str | None, *rest: object) -> str:  # type: ignore[override]
        known = context == "gammanav" and text in fixed_words()
        return f"⟦{text}{'~' * (len(text or '') // 2)}⟧" if known else ""


@pytest.fixture
def pseudo(qapp: QCoreApplication) -> Iterator[None]:
    translator = Pseudo()
    qapp.installTranslator(translator)
    yield
    qapp.removeTranslator(translator)


def test_english_is_as_it_is(qapp: QCoreApplication) -> None:
    assert tr("Start scan") == "Start scan"
    assert speak(qapp, "en") is None


@pytest.mark.usefixtures("pseudo")
def test_buttons_and_views_speak_it(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, bool]] = []
    whole = QPainter.drawText

    class Watched(QPainter):
        def drawText(self, *words: object) -> None:  # type: ignore[override]
            if len(words) == 3 and isinstance(words[2], str):
                box, flags, text = words
                needed = QFontMetricsF(self.font()).boundingRect(box, flags, text)  # type: ignore[call-overload]
                fits = needed.width() <= box.width() + 1.0 and needed.height() <= box.height() + 4.0  # type: ignore[attr-defined]
                drawn.append((text, fits))
            whole(self, *words)  # type: ignore[call-overload]

    monkeypatch.setattr("navigation.ui.dashboard.QPainter", Watched)
    monkeypatch.setattr("navigation.ui.rail.QPainter", Watched)
    shell = Shell(Dashboard(lambda: None, lambda number: None), Spoken())  # type: ignore[arg-type]
    qtbot.addWidget(shell)
    shell.resize(1600, 1000)
    shell.rail._chosen, shell.rail.selected = True, "scan"
    shell.show_state(model_of(snapshot()).state(0.05))
    shell.grab()
    assert all(
        button.text().startswith("⟦") for action, button in shell.bar.buttons if action.label in LABELS
    )
    told = [words for words, _ in drawn]
    for title in ("Tools and ages", "Along the probe", *TITLES.values()):
        assert any(f"⟦{title}" in words for words in told), title
    cut = [words for words, fits in drawn if words.startswith("⟦") and not fits]
    assert not cut, cut


def test_every_label_without_a_name_can_be_translated() -> None:
    state = model_of(snapshot()).state(0.05)
    for step in TITLES:
        for action in (*actions(step, state), *always(state)):
            named = action.label.partition(" ")[0] in ("To", "Touch", "Check") or ":" in action.label
            assert action.label in LABELS or named, action.label


def test_file_for_translators_holds_every_word() -> None:
    root = ElementTree.fromstring(ts_file("de").partition("<!DOCTYPE TS>\n")[2])
    assert [m.findtext("source") for m in root.iter("message")] == fixed_words()
    assert set(TITLES.values()) <= set(fixed_words())


def test_a_language_that_is_not_there_is_told(tmp_path: Path, qapp: QCoreApplication) -> None:
    with pytest.raises(InputError, match="gammanav_xx"):
        speak(qapp, "xx")
    case = tmp_path / "case.toml"
    case.write_text('[window]\nlanguage = "xx"\n')
    done = subprocess.run(
        [sys.executable, "-m", "navigation.ui", "--port", "1", "--case", str(case)],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2 and "gammanav_xx.qm" in done.stderr and "Traceback" not in done.stderr


def test_painting_asks_for_the_translation() -> None:
    assert paint.tr is tr
