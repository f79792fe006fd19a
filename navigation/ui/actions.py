"""What can be asked for in each step, in the console's words, without Qt: labels, keys, and why something cannot be.

The engine alone decides; what is offered here is what makes sense now, and a refusal comes back with its reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from navigation.ui.state import ViewState

IDLE, SCAN, DIVOT = "idle", "scan", "divot"
# Labels without a name in them: what a translation holds.
LABELS = (
    *("Cancel count", "Count target", "Count background", "Count bed", "Removed here", "Stop scan"),
    *("Stop and judge the tip", "Stop outlining", "Send study to viewers", "Tell the state of all"),
    *("Check probe tip in divot", "Check stylus tip", "Background explained by", "Register"),
    *("Confirm: three points checked", "Undo registration", "Accept proposed shift", "Discard last 10 s"),
    *("Touch surface", "Start scan", "To nothing", "Count specimen", "Outline bed (stylus)"),
    *("Paint bed (probe)", "Aim at", "Scan bed", "Check bed at", "Note all alarms", "End the case"),
)
# Outlining ends with the same word as a scan.
TOUCHING = ("surface", "bed")
# Registrations that points have yet to confirm.
UNSURE = ("restored", "doubtful")


@dataclass(frozen=True, slots=True)
class Action:
    """A button: `words` for the console, in which `{kbq}` and `{by}` stand for what the fields hold.

    `primary` is what a pedal or the return key does; `twice` asks for a second press; `why_not` greys it out.
    """

    label: str
    words: str
    primary: bool = False
    twice: bool = False
    why_not: str = ""

    def filled(self, fields: dict[str, str]) -> str:
        """The words with the fields filled in; a text of several words is one in quotes."""
        return self.words.format(**{k: shlex.quote(v) if v else v for k, v in fields.items()}).strip()


def actions(step: str, state: ViewState) -> tuple[Action, ...]:
    """What the step offers now; what goes on can be stopped from every step."""
    made = _OF_STEP.get(step)
    found = () if made is None else made(state)
    if state.mode in (SCAN, DIVOT, *TOUCHING) and not any(a.words == "stop" for a in found):
        return (_stop(state), *found)
    return found


def always(state: ViewState) -> tuple[Action, ...]:
    """One press away in every step: a timed count, and the mark of what was taken out."""
    if state.work.counting is not None:
        count: tuple[Action, ...] = (Action("Cancel count", "count cancel"),)
    else:
        count = (
            Action("Count target", "count target"),
            Action("Count background", "count background"),
            Action("Count bed", "count bed"),
        )
    return (*count, Action("Removed here", "removed"))


def _named(name: str) -> str:
    """A name as one word of the console, whatever is in it; braces stand for fields and are doubled."""
    return shlex.quote(name).replace("{", "{{").replace("}", "}}")


def _stop(state: ViewState) -> Action:
    what = {SCAN: "Stop scan", DIVOT: "Stop and judge the tip"}.get(state.mode, "Stop outlining")
    return Action(what, "stop", primary=True)


def _refusal(step: str, state: ViewState) -> str:
    found = next((s for s in state.work.steps if s.key == step), None)
    return "; ".join(found.refused) if found is not None else ""


def _study(_state: ViewState) -> tuple[Action, ...]:
    return (Action("Send study to viewers", "push"),)


def _devices(_state: ViewState) -> tuple[Action, ...]:
    return (Action("Tell the state of all", "status", primary=True),)


def _calibration(state: ViewState) -> tuple[Action, ...]:
    if state.mode == DIVOT:
        return (_stop(state),)
    found = (
        Action("Check probe tip in divot", "divot probe", primary=True),
        Action("Check stylus tip", "divot stylus"),
        Action("Count background", "background"),
    )
    if state.work.background_risen:
        return (*found, Action("Background explained by", "explain {by}"))
    return found


def _registration(state: ViewState) -> tuple[Action, ...]:
    work = state.work
    left = [name for name, touched in work.landmarks if not touched]
    found: list[Action] = []
    if left:
        found.append(Action(f"Touch {left[0]}", f"landmark {_named(left[0])}", primary=True))
    elif work.landmarks:
        found.append(Action("Register", "register {by}", primary=True))
    if work.registration_state != "none":
        found += [Action(f"Check {name}", f"check-point {_named(name)}") for name, _ in work.landmarks[:3]]
        if work.registration_state.startswith(UNSURE):
            found.append(Action("Confirm: three points checked", "confirm"))
        found.append(Action("Undo registration", "undo {by}", twice=True))
    if work.shift_proposed:
        found.append(Action("Accept proposed shift", "accept-shift {by}", twice=True))
    return tuple(found)


def _scan(state: ViewState) -> tuple[Action, ...]:
    if state.mode in (SCAN, *TOUCHING):
        discard = (Action("Discard last 10 s", "discard"),) if state.mode == SCAN else ()
        return (_stop(state), *discard)
    return (
        Action("Touch surface", "surface"),
        Action("Start scan", "scan", primary=True, why_not=_refusal("scan", state)),
    )


def _navigate(state: ViewState) -> tuple[Action, ...]:
    foci = [Action(f"To focus {s.id}", f"go focus {s.id}") for s in state.spots[:3]]
    listed = [
        Action(f"To {t.name}", f"go target {_named(t.name)}")
        for t in state.work.targets
        if t.placed and t.outcome == "open"
    ]
    return (*listed[:3], *foci, Action("To nothing", "go nowhere"))


def _resect(state: ViewState) -> tuple[Action, ...]:
    found = [Action("Count specimen", "count specimen", primary=True)]
    for target in [t for t in state.work.targets if t.outcome == "open"][:3]:
        name = _named(target.name)
        found.append(
            Action(f"{target.name}: removed", f"target end {name} removed {{by}} 'taken out'", twice=True)
        )
    return tuple(found)


def _check_bed(state: ViewState) -> tuple[Action, ...]:
    if state.mode in (SCAN, *TOUCHING):
        discard = (Action("Discard last 10 s", "discard"),) if state.mode == SCAN else ()
        return (_stop(state), *discard)
    outlined = state.work.bed_points > 0
    return (
        Action("Outline bed (stylus)", "bed", primary=not outlined),
        Action("Paint bed (probe)", "bed probe"),
        Action("Aim at", "aim {kbq}"),
        Action("Scan bed", "scan", primary=outlined, why_not=_refusal("check-bed", state)),
        Action("Check bed at", "check {kbq}", why_not="" if outlined else "the bed is not outlined"),
    )


def _report(state: ViewState) -> tuple[Action, ...]:
    why_not = "stop the scan first" if state.mode == SCAN else ""
    return (
        Action("Note all alarms", "acknowledge {by}"),
        Action("End the case", "quit", twice=True, why_not=why_not),
    )


_OF_STEP: dict[str, Callable[[ViewState], tuple[Action, ...]]] = {
    "study": _study,
    "devices": _devices,
    "calibration": _calibration,
    "registration": _registration,
    "scan": _scan,
    "navigate": _navigate,
    "resect": _resect,
    "check-bed": _check_bed,
    "report": _report,
}
