"""A record as a sequence file of PLUS: every tool's transforms with their status, the counts as frame fields.

Streams the record: what is held in memory does not grow with its length.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from tracking.errors import InputError
from tracking.recording import sequence_head
from tracking.recording.frames import Frame, frames_of
from tracking.recording.phases import Phase, Source, inputs_of
from tracking.sample import CountSample
from tracking.sequence import SequenceWriter


def write_sequence(
    source: Source, path: Path, phases: Mapping[str, Phase], stretch: Phase | None = None
) -> int:
    """Write a record, or one stretch of it, to `path` (.mha or .nrrd); returns the number of frames.

    `phases` go into the header. Raises InputError when there is neither pose nor count, or as `Source.events`.
    """
    frames = frames_of(source.events("raw"), stretch, inputs_of(source))
    first = next(frames, None)
    if first is None:
        raise InputError(f"{source.path}: holds neither poses nor counts to export")
    zero_s = float(np.floor(first.t_s))
    with SequenceWriter(path, sequence_head.fields_of(source.meta, zero_s, phases)) as writer:
        _add(writer, first, zero_s)
        for frame in frames:
            _add(writer, frame, zero_s)
    return writer.frames


def _add(writer: SequenceWriter, frame: Frame, zero_s: float) -> None:
    transforms = {name: (tool.matrix, tool.status) for name, tool in frame.tools.items()}
    fields = {} if frame.counts is None else _count_fields(frame.counts, zero_s)
    writer.add(frame.t_s - zero_s, transforms, fields)


def _count_fields(counts: CountSample, zero_s: float) -> dict[str, str]:
    return {
        "Counts": _plain(counts.counts),
        "IntervalS": repr(counts.interval_s),
        "CountTimestamp": repr(counts.t_s - zero_s),
        "Seq": str(counts.seq),
        "CountsTotal": _plain(counts.counts_total),
        "LiveTimeS": repr(counts.live_time_s),
    }


def _plain(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
