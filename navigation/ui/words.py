"""The window's words in other languages: what is fixed is looked up whole when it is drawn; English is complete.

A language is a file `gammanav_de.qm` beside this module or in the folder `GAMMANAV_TRANSLATIONS`, compiled by Qt's
lrelease from a `.ts` file; `python -m navigation.ui.words > gammanav_de.ts` writes one to fill in. Words with a number
in them, names, and what the engine says stay English: half a translated sentence would be worse.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.sax.saxutils import escape

from PyQt5.QtCore import QCoreApplication, QTranslator

from tracking.errors import InputError

CONTEXT = "gammanav"
FOLDER = "GAMMANAV_TRANSLATIONS"


def tr(text: str) -> str:
    """The same in the language of the window, or as it is."""
    return QCoreApplication.translate(CONTEXT, text)


def speak(application: QCoreApplication, language: str) -> QTranslator | None:
    """Load a language for the whole window; the caller keeps what comes back. None of English.

    Raises InputError for a language that is not there.
    """
    if language == "en":
        return None
    translator = QTranslator(application)
    folders = [Path(os.environ[FOLDER])] if os.environ.get(FOLDER) else []
    for folder in [*folders, Path(__file__).parent]:
        if translator.load(f"gammanav_{language}.qm", str(folder)):
            application.installTranslator(translator)
            return translator
    raise InputError(f"window.language: no gammanav_{language}.qm here; {FOLDER} may name its folder")


def fixed_words() -> list[str]:
    """Everything that is looked up: steps, actions, titles, help, banners."""
    from navigation.ui import actions, help, panels
    from navigation.workflowsteps import TITLES

    findings = {words for words, _ in panels.FINDING_WORDS.values()}
    return sorted({*TITLES.values(), *help.STEPS.values(), *actions.LABELS, *findings, *TOLD})


# Titles and banners of the views.
TOLD = (
    *(
        "Target",
        "Tools and ages",
        "Count rate",
        "Camera",
        "Probe's eye",
        "3D (drag turns)",
        "Along the probe",
    ),
    *("Along the probe, turned 90°", "Across the probe, at its tip", "Coronal", "Sagittal", "Axial"),
    *("PROBE NOT SEEN", "MAP IS OLD", "NO COUNTS", "NO CONNECTION TO THE ENGINE", "waiting for the probe"),
    *("COUNTER SATURATED: THE RATE IS A LOWER BOUND", "no focus selected", "Reference, not registered"),
    *(
        "VIDEO IS OLD",
        "CAMERA NOT SEEN: NOTHING IS DRAWN",
        "CAMERA MOVES: NOTHING IS DRAWN",
        "RESEARCH USE ONLY",
    ),
    *("SIMULATION", "REHEARSAL"),
)


def ts_file(language: str = "xx") -> str:
    """An empty translation of all of it, for Qt Linguist."""
    rows = "".join(
        f'<message><source>{escape(w)}</source><translation type="unfinished"></translation></message>\n'
        for w in fixed_words()
    )
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n<TS version="2.1" language="{language}">\n'
        f"<context><name>{CONTEXT}</name>\n{rows}</context>\n</TS>\n"
    )


if __name__ == "__main__":
    sys.stdout.write(ts_file())
