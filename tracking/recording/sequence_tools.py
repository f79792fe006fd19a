"""Which transform of a sequence is the probe and which the reference, and what they are called on the wire.

Unless told: ProbeTipToReference, ProbeToReference, the probe in a tracker, a stylus, or the only tool there is.
Without a reference the tracker's own frame is the Reference frame, and that is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.igtl.header import NAME_BYTES
from tracking.igtl.names import (
    PROBE_TIP_TO_REFERENCE,
    PROBE_TO_REFERENCE,
    PROBE_TO_TRACKER,
    REFERENCE_TO_TRACKER,
)
from tracking.sequence import Sequence, TransformTrack
from tracking.transform import frames_of

REFERENCE, PROBE, PROBE_TIP, STYLUS = "Reference", "Probe", "ProbeTip", "Stylus"
# Whoever reads a record takes the first of these that is there.
PROBE_NAMES = (PROBE_TIP_TO_REFERENCE, PROBE_TO_REFERENCE, PROBE_TO_TRACKER)


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Transforms by their names on the wire, `probe` being one of them.

    `T_probe_probetip` is the identity where the sequence tracks the tip itself under a marker's name, else
    None. `notes` says what was left out or assumed.
    """

    tracks: Mapping[str, TransformTrack]
    probe: str
    T_probe_probetip: NDArray[np.float64] | None
    notes: tuple[str, ...]


def choose_tools(
    sequence: Sequence, probe: str | None = None, reference: str | None = None, as_marker: bool = False
) -> Chosen:
    """The transforms to hand on; with `as_marker` a tracked tip is always a marker in the tip.

    Raises InputError naming the transforms that the sequence holds when they do not tell.
    """
    frames = dict(_frames(sequence))
    if not frames:
        raise InputError(f"{sequence.path}: holds no transform of the form FromToTo")
    chosen = _found(sequence, frames, probe) if probe else _likely_probe(sequence, frames)
    source, target = frames[chosen]
    beside = _likely_reference(sequence, frames, target, reference)
    wire = {chosen: PROBE_TO_TRACKER if beside else PROBE_TO_REFERENCE}
    if target == REFERENCE and source == PROBE_TIP and not as_marker:
        wire = {chosen: PROBE_TIP_TO_REFERENCE}
    notes = [f"{chosen} is the probe" if beside is None else f"{chosen} is the probe, {beside} the reference"]
    if beside is not None:
        wire[beside] = REFERENCE_TO_TRACKER
    elif target != REFERENCE:
        notes.append(f"there is no reference: {target} stands for it and must not move against the patient")
    others, left = _others(frames, wire)
    notes += [f"{', '.join(left)}: left out"] if left else []
    tracks = {wire.get(name, name): sequence.transforms[name] for name in frames if name in {*wire, *others}}
    tip = np.eye(4) if source == PROBE_TIP and wire[chosen] != PROBE_TIP_TO_REFERENCE else None
    return Chosen(tracks, wire[chosen], tip, tuple(notes))


def _frames(sequence: Sequence) -> Iterator[tuple[str, tuple[str, str]]]:
    for name in sequence.transforms:
        try:
            yield name, frames_of(name)
        except ValueError:
            continue


def _found(sequence: Sequence, frames: Mapping[str, tuple[str, str]], wanted: str) -> str:
    name = wanted.removesuffix("Transform")
    if name not in frames:
        raise InputError(f"{sequence.path}: no transform {wanted}; it holds {_listed(sequence)}")
    return name


def _listed(sequence: Sequence) -> str:
    return ", ".join(sorted(sequence.transforms)) or "none"


def _likely_probe(sequence: Sequence, frames: Mapping[str, tuple[str, str]]) -> str:
    for name in PROBE_NAMES:
        if name in frames:
            return name
    tools = [n for n, (source, _) in frames.items() if source != REFERENCE]
    for wanted in ((PROBE_TIP,), (PROBE,), (STYLUS, f"{STYLUS}Tip")):
        candidates = [n for n in tools if frames[n][0] in wanted]
        if len(candidates) == 1:
            return candidates[0]
    if len(tools) == 1:
        return tools[0]
    raise InputError(
        f"{sequence.path}: which transform is the probe? --probe names one of {_listed(sequence)}"
    )


def _likely_reference(
    sequence: Sequence, frames: Mapping[str, tuple[str, str]], target: str, wanted: str | None
) -> str | None:
    if target == REFERENCE:
        return None
    name = f"{REFERENCE}To{target}" if wanted is None else _found(sequence, frames, wanted)
    if name not in frames:
        return None
    if frames[name][1] != target:
        raise InputError(f"{sequence.path}: {name} and the probe do not meet in {target}")
    return name


def _others(frames: Mapping[str, tuple[str, str]], wire: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Transforms that keep their name, and those that would be taken for the probe or do not fit the wire."""
    used = set(wire.values())
    rank = min(PROBE_NAMES.index(name) for name in used if name in PROBE_NAMES)
    taken = used | set(PROBE_NAMES[:rank])
    rest = [name for name in frames if name not in wire]
    kept = [name for name in rest if name not in taken and len(name.encode()) <= NAME_BYTES]
    return kept, [name for name in rest if name not in kept]
