"""A live case at a terminal: words in, one line back for each, results at the end."""

from __future__ import annotations

import logging
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from calibration.daily.background import DEFAULT_SECONDS, KINDS, ROOM
from navigation.case import read_case, study_of
from navigation.engine.assembly import RECORD_NAME, LiveCase, settings_of
from navigation.engine.contamination import background_words
from navigation.engine.guidancewords import GuidanceWords
from navigation.engine.jobs import Outcome
from navigation.engine.registrationwords import RegistrationWords
from navigation.engine.restore import Restored
from navigation.engine.results import write_results
from navigation.engine.session import DIVOT
from navigation.engine.settings import Settings
from navigation.engine.specimendesk import answer_of, content_of
from navigation.engine.targetwords import target_command, targets_words
from navigation.engine.timedwords import TimedWords
from navigation.engine.tipcheck import TipWatch
from navigation.engine.tipstate import IN_ORDER
from navigation.engine.tools import PROBE, STYLUS
from navigation.registration.activityfile import activity_words
from navigation.viewer import Window
from tracking.errors import GammanavError, InputError, SurroundingsError
from tracking.recording import Record

logger = logging.getLogger(__name__)

# A full analysis of a minute's scan takes seconds; ten times that means that something hangs.
ANSWER_S = 120.0
CONFIDENCE, BED_DEPTH_MM = 0.95, 10.0
Say = Callable[[str], None]


WORDS = (
    "surface, bed, specimen, scan, stop, touch, check, confirm, divot, background, explain, acknowledge, "
    "mark, unmark, landmark, register, check-point, undo, accept-shift, targets, target, count, counts, "
    "aim, coverage, discard, removed, go, push, status, window, quit"
)
# A background check is waited for so much longer than it counts, and looked after so often.
BACKGROUND_PATIENCE_S, POLL_S = 15.0, 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a line; `last` ends the case."""

    text: str
    refused: bool = False
    last: bool = False


class Console:
    """Turns words into commands of a running case."""

    def __init__(self, case: LiveCase, say: Say, study: Path | None = None, path: Path | None = None) -> None:
        self.case = case
        self.say = say
        self.study = study  # the folder that the case names
        self.path = path  # the case file
        self.open_window: Callable[[], None] | None = None

    def obey(self, line: str) -> bool:
        """Carry out one line; False when it was the last."""
        answer = self.answer(line)
        if answer.text:
            self.say(answer.text)
        return not answer.last

    def answer(self, line: str) -> Answer:
        """Carry out one line and tell what came of it; never raises."""
        words = split_line(line)
        if not words:
            return Answer("")
        if words[0] in ("quit", "exit"):
            return Answer("", last=True)
        try:
            return Answer(self._answer(words))
        except GammanavError as error:
            return Answer(f"refused: {error}", refused=True)
        except Exception as error:  # the case goes on, and so does whoever listens to its words
            logger.exception("%s failed", words[0])
            return Answer(f"failed: {type(error).__name__}: {' '.join(str(error).split())}", refused=True)

    def _answer(self, words: list[str]) -> str:
        name, rest = words[0], words[1:]
        answers: dict[str, Callable[[list[str]], str]] = {
            "surface": lambda _: self._outline("surface"),
            "scan": self._scan,
            "stop": lambda _: self._stop(),
            "touch": lambda _: self._told("touch", "touched"),
            "check": self._check,
            "divot": self._divot,
            "background": self._background,
            "explain": self._explain,
            "acknowledge": self._acknowledge,
            "targets": self._targets,
            "target": self._targets,
            "push": self._push,
            "status": lambda _: self._status(),
            "window": lambda _: self._window(),
            **RegistrationWords(self.case, self._do).words,
            **TimedWords(self.case, self._do).words,
            **GuidanceWords(self.case, self._do).words,
            "specimen": self._specimen,
        }
        if name not in answers:
            raise InputError(f"{name!r} is none of {WORDS}")
        return answers[name](rest)

    def _told(self, command: str, answer: str, **content: Any) -> str:
        self._do(command, **content)
        return answer

    def _outline(self, what: str) -> str:
        return self._told("start", f"outlining the {what}: move the stylus over it, then `stop`", mode=what)

    def _scan(self, rest: list[str]) -> str:
        taken = self.case.session.scans
        scan = rest[0] if rest else next(n for i in count(1) if (n := f"scan-{i}") not in taken)
        return self._told("start", f"scanning {scan}{unchecked(self.case)}", mode="scan", name=scan)

    def _explain(self, rest: list[str]) -> str:
        answer = "the background is taken as explained; the newest is the reference"
        return self._told("explain_background", answer, reason=" ".join(rest))

    def _acknowledge(self, rest: list[str]) -> str:
        """Somebody takes note of every alarm so far."""
        return self._told("acknowledge", "noted: every alarm so far", by=" ".join(rest))

    def _stop(self) -> str:
        session = self.case.session
        mode, scan = session.mode, session.current
        self._do("stop")
        if mode == DIVOT:
            return tip_words(session.tip_check)
        if mode != "scan":
            return "stopped"
        outcome = self._do("analyze", scan=scan)
        result = None if outcome is None else outcome.result
        found = [] if result is None else [s for s in result.spots if s.quality != "unusable"]
        shift = None if outcome is None else outcome.shift
        told = "" if shift is None else f"; {activity_words(shift)}"
        return f"{scan}: {len(found)} foci of activity{told}"

    def _check(self, rest: list[str]) -> str:
        try:
            threshold, *depth = (float(word) for word in rest)
        except ValueError:
            raise InputError("expected `check KBQ [DEPTH_MM]`") from None
        # A sweep for the latency is no scan of the patient, and compares with none.
        scans = [name for name, state in self.case.session.scans.items() if state.analyzed]
        if not scans:
            raise InputError("there is no finished scan to check the bed with")
        outcome = self._do(
            "check_bed",
            scan=scans[-1],
            before=scans[0] if len(scans) > 1 else None,
            threshold_kbq=threshold,
            confidence=CONFIDENCE,
            depth_mm=depth[0] if depth else BED_DEPTH_MM,
        )
        check = None if outcome is None else outcome.bed_check
        return "no finding" if check is None else check.statement

    def _window(self) -> str:
        """Open the window again that was closed."""
        if self.open_window is None:
            raise InputError("there is no display for a window")
        self.open_window()
        return "the window is open"

    def _specimen(self, rest: list[str]) -> str:
        content = content_of(rest, self.case.session.settings.nuclide)
        return self._told("specimen", answer_of(content), **content)

    def _background(self, rest: list[str]) -> str:
        """Count the background and wait for it; the probe is held away meanwhile."""
        kinds = [word for word in rest if word in KINDS]
        try:
            seconds, *more = [float(word) for word in rest if word not in KINDS] or [DEFAULT_SECONDS]
        except ValueError:
            more = [0.0]
        if more or len(kinds) > 1:
            raise InputError("expected `background [SECONDS] [room|patient]`")
        self._do("background", seconds=seconds, kind=kinds[0] if kinds else ROOM)
        asked_s, deadline = self.case.engine.clock(), time.monotonic() + seconds + BACKGROUND_PATIENCE_S
        while time.monotonic() < deadline:
            snapshot = self.case.newest
            if snapshot is not None and snapshot.t_s > asked_s and snapshot.background.counting_s is None:
                return background_words(snapshot.background)
            time.sleep(POLL_S)
        raise InputError("the background check does not end: are there counts?")

    def _divot(self, rest: list[str]) -> str:
        """Begin the check of a tip; `stop` ends and judges it."""
        tool, content = divot_of(rest)
        self._do("start", mode=DIVOT, tool=tool, **content)
        return f"put the {tool.lower()}'s tip into the divot, tilt it to all sides by 20 degrees, then `stop`"

    def _push(self, rest: list[str]) -> str:
        """Send a study's images and its skin to all viewers; by default that of the case."""
        from navigation.studypublish import study_messages

        folder = Path(" ".join(rest)) if rest else self.study
        if folder is None:
            raise InputError("the case names no study; expected `push FOLDER`")
        messages = study_messages(folder, self.case.engine.clock())
        self.case.publisher.push(messages)
        return f"sent to viewers: {', '.join(m.device for m in messages)}"

    def _targets(self, rest: list[str]) -> str:
        """The list, or one more target or end in it."""
        if not rest:
            return targets_words(self.case.newest)
        command, content = target_command(rest, self.case.newest)
        self._do(command, **content)
        return "noted"

    def _status(self) -> str:
        snapshot = self.case.newest  # the engine's own: its state is not to be read from this thread
        if snapshot is None:
            return "starting"
        rate = snapshot.counts.rate_cps
        seen = (f"{n} {'seen' if t.valid else 'not seen'}" for n, t in snapshot.tools.items())
        tracked = self.case.session.settings.tracked
        tools = ", ".join(seen) if tracked else "no tracker: timed counts only"
        counts = "no counts" if rate is None else f"{rate:.0f} cps"
        tip = f"tip {snapshot.tip_check.words}"
        running = snapshot.timed.running
        mode = snapshot.mode if running is None else f"{snapshot.mode}, counting {running.label}"
        return f"{mode}; {counts}; {tools}; {tip}; {'; '.join(snapshot.faults) or 'no fault'}"

    def _do(self, command: str, **content: Any) -> Outcome | None:
        return self.case.engine.command(command, **content).result(ANSWER_S)


def split_line(line: str) -> list[str]:
    """Words of a line; what stands in quotes is one. A quote that is not closed is a letter like others."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def unchecked(case: LiveCase) -> str:
    """A reminder that there is no tracker, or that nobody has checked the tip in this case; empty otherwise."""
    if not case.session.settings.tracked:
        return "; no tracker: timed counts only"
    state = case.session.tip_check.state()
    return "" if state.state == IN_ORDER else f"; the probe's tip is {state.words}: `divot` checks it"


def divot_of(rest: list[str]) -> tuple[str, dict[str, Any]]:
    """Tool and known place out of `divot [probe|stylus] [X Y Z]`. Raises InputError."""
    tools = {PROBE.lower(): PROBE, STYLUS.lower(): STYLUS}
    tool, *numbers = rest if rest and rest[0] in tools else [PROBE.lower(), *rest]
    try:
        point = [float(word) for word in numbers]
    except ValueError:
        point = [0.0]
    if len(point) not in (0, 3):
        raise InputError("expected `divot [probe|stylus] [X Y Z]`")
    return tools[tool], {"point_mm": point} if point else {}


def tip_words(watch: TipWatch) -> str:
    """What the check just ended has shown."""
    check = watch.newest
    if check is None:
        return "no tip was checked"
    if not check.accepted:
        return f"the tip is {'WRONG' if check.wrong else 'not proven'}: {'; '.join(check.reasons)}"
    shift = check.tip_shift_length_mm
    moved = "" if shift is None else f", moved by {shift:.2f} mm (SD {check.tip_shift_sd_mm:.2f})"
    return f"the tip is in order: 3D RMS {check.rms_mm:.2f} mm{moved}"


def run_console(
    path: Path,
    out: Path,
    headless: bool,
    port: int,
    wait_s: float,
    say: Say,
    resume: bool = False,
    key: bytes | None = None,
) -> None:
    """Run the case file until `quit`, end by a signal, or for good when standard input ends.

    With `resume` the case goes on in its record, with the settings kept there; `key` signs it. Raises
    InputError for the case file or an existing record, SurroundingsError for a silent source.
    """
    from navigation.engine.reconstruct import build_imaging

    record = out / RECORD_NAME
    settings = _settings(path, record, resume)
    names: tuple[str, ...] = ()
    with LiveCase(settings, record, port, build_imaging, resume, key) as case:
        if case.restored is not None:
            say(_taken_up(case, case.restored))
        silent = case.engine.wait_connected(wait_s)
        if silent is None:
            try:
                _converse(case, headless, say, path)
            finally:
                case.engine.finish_deferred(ANSWER_S)
                names = write_results(case.session, case.engine.outcomes, out)
    if silent is not None:
        if not resume:
            _forget(record)
        role = settings.sources[silent]
        raise SurroundingsError(f"{silent} at {role.where}: no connection within {wait_s:g} s")
    counted = len(case.session.timed.counts)
    told = f", {counted} timed counts" if counted else ""
    say(f"{out}: record and {', '.join(names) or 'no analysed scan'}{told}")


def _settings(path: Path, record: Path, resume: bool) -> Settings:
    if resume:
        return settings_of(Record(record))
    if record.exists():
        raise InputError(f"{record}: already exists; --resume goes on with it, --out names another place")
    return read_case(path)


def _taken_up(case: LiveCase, restored: Restored) -> str:
    session = case.session
    doing = f"{session.mode} {session.current or ''}".strip()
    same = {True: "its scan is as recorded", False: "its scan is NOT as recorded", None: "no map yet"}
    told = f"goes on after {restored.events} events: {doing}; {same[restored.same]}"
    if session.registration.unverified:
        return f"{told}; the registration is restored, unverified: touch three known points (`check-point`)"
    return told


def _forget(record: Path) -> None:
    """Remove the record of a case that never began, and its folder if nothing else is in it."""
    record.unlink()
    if not any(record.parent.iterdir()):
        record.parent.rmdir()


def _converse(case: LiveCase, headless: bool, say: Say, path: Path) -> None:
    say(f"connected; publishing on port {case.publisher.server.port}; research use only{unchecked(case)}")
    console, ended = Console(case, say, study_of(path), path), threading.Event()
    with _until_signal(ended), _window(console, headless, ended):
        listener = threading.Thread(target=_listen, args=(console, ended), daemon=True)
        listener.start()
        ended.wait()


def _listen(console: Console, ended: threading.Event) -> None:
    for line in sys.stdin:
        if not console.obey(line):
            ended.set()
            return


@contextmanager
def _until_signal(ended: threading.Event) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _window(console: Console, headless: bool, ended: threading.Event) -> Iterator[None]:
    """The window on this case; closing it does not end the case."""

    def obey(words: str) -> dict[str, Any]:
        answer = console.answer(words)
        if answer.last:
            ended.set()
        return {"text": answer.text, "refused": answer.refused}

    def closed() -> None:
        console.say("the window is closed; the case goes on: `window` opens it again, `quit` ends the case")

    window = Window(headless, None, console.study, obey, closed, console.path)
    port = console.case.publisher.server.port
    console.open_window = lambda: None if window.running else window.open(port)
    if not headless:
        window.open(port)
        if window.remark is not None:
            console.say(window.remark)
    try:
        yield
    finally:
        window.close()
