"""A sequence file read like a record: its frames as the messages that tracker and counter would have sent.

An INVALID pose is handed on as INVALID with an identity matrix, never with the plausible one of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracking.errors import InputError
from tracking.igtl.codec import encode
from tracking.igtl.counts import counts_string_message
from tracking.igtl.poses import pose_message
from tracking.recording import sequence_head
from tracking.recording.phases import Phase, name_of
from tracking.recording.reader import Event
from tracking.recording.sequence_tools import choose_tools
from tracking.sample import CountSample, PoseSample, PoseStatus
from tracking.scanfolder import CountTable
from tracking.sequence import read_sequence

SOURCE = "import"
# Stamps on the wire are unsigned seconds of 32 bits.
LATEST_STAMP_S = float(1 << 32)
# Stamps from the year 2001 on are taken for Unix time; PLUS's own start with the computer or the program.
EARLIEST_UNIX_S = 1e9
NO_POSE = np.eye(4)
# Totals are sums in float64 of counts that need not be whole: some thousand roundings of 1e-16.
TOTAL_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the user says of a sequence beside what it says itself.

    `probe` and `reference` name transforms; `counts` come from elsewhere, their stamps plus
    `counts_offset_s` being the sequence's; `tip` holds keys of tip.json. With `as_marker` poses of the tip
    travel as those of a marker in the tip, which is how the engine takes them.
    """

    probe: str | None = None
    reference: str | None = None
    counts: CountTable | None = None
    counts_offset_s: float = 0.0
    nuclide: str | None = None
    tip: Mapping[str, Any] | None = None
    as_marker: bool = False


class SequenceRecord:
    """A sequence file with the face of a record: `path`, `meta`, `events`.

    `notes` says in words what was left out or assumed. Raises InputError as `read_sequence`, and when probe
    or reference are not told, a stamp is missing, or the counts have no nuclide or no overlap with the poses.
    """

    def __init__(self, path: Path, options: ImportOptions | None = None) -> None:
        self.path = path
        self._options = options or ImportOptions()
        self._sequence = read_sequence(path)
        fields = self._sequence.fields
        self._zero_s = sequence_head.time_zero_s(fields, path)
        self._tools = choose_tools(
            self._sequence, self._options.probe, self._options.reference, self._options.as_marker
        )
        self._times = {name: self._stamps(track.frame) for name, track in self._tools.tracks.items()}
        self._faults = {name: track.faults for name, track in self._tools.tracks.items()}
        self._samples = self._counts()
        self.meta = self._head()
        self._require_overlap()

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user."""
        said = list(self._tools.notes)
        for name, track in self._tools.tracks.items():
            told = ", ".join(f"{n} {cause}" for cause, n in track.causes.items())
            said += [f"{track.name}: {told} of {len(track.frame)} frames not used"] if told else []
            again = len(track.frame) - len(np.unique(self._times[name]))
            said += [f"{track.name}: {again} frames repeat the time of another"] if again else []
        said += (
            [f"{self._sequence.missing} frames are announced but missing"] if self._sequence.missing else []
        )
        return (*said, *(() if self._samples else ("no counts: --counts adds them",)))

    def events(self, *kinds: str) -> Iterator[Event]:
        """Phases and raw messages in order of time, all or those of the given kinds."""
        starts, stops = sequence_head.phase_marks(self._phases())
        columns = [*self._times.values(), np.array([s.t_s for s in self._samples])]
        parts = [np.array([t for t, _ in starts]), *columns, np.array([t for t, _ in stops])]
        rank = [-1, *([0] * len(columns)), 1]  # at the same stamp a phase starts before and stops after
        which = np.concatenate([np.full(len(part), i) for i, part in enumerate(parts)])
        row = np.concatenate([np.arange(len(part)) for part in parts])
        stamp = np.concatenate(parts)
        for number, i in enumerate(np.lexsort((np.array(rank)[which], stamp)), start=1):
            kind = "raw" if rank[which[i]] == 0 else "phase"
            if kinds and kind not in kinds:
                continue
            n = int(row[i])
            if kind == "phase":
                payload = (starts if rank[which[i]] < 0 else stops)[n][1]
            else:
                payload = self._message(int(which[i]) - 1, n)
            yield Event(number, float(stamp[i]), SOURCE, kind, payload)

    def _message(self, column: int, row: int) -> bytes:
        """The bytes of a pose, by the column of its transform, or in the last column of counts."""
        if column == len(self._times):
            return encode(counts_string_message(self._samples[row], version=2))
        name = list(self._times)[column]
        track, t_s = self._tools.tracks[name], float(self._times[name][row])
        status = track.status(row)
        good = not self._faults[name][row]
        if not good and status.usable:
            status = PoseStatus.INVALID
        matrix = track.matrices[row] if good else NO_POSE
        return encode(pose_message(PoseSample(name, t_s, matrix, status), version=2))

    def _stamps(self, frames: NDArray[np.int64]) -> NDArray[np.float64]:
        """Stamps (m,) of frames (m,). Raises InputError for one that the wire cannot carry."""
        t_s = self._zero_s + self._sequence.times_of(frames)
        bad = np.flatnonzero((t_s < 0.0) | (t_s >= LATEST_STAMP_S))
        if len(bad):
            frame = int(frames[bad[0]])
            raise InputError(
                f"{self.path}: Seq_Frame{frame:04d}_Timestamp is {t_s[bad[0]]:g} s, negative or beyond any clock"
            )
        return t_s

    def _counts(self) -> list[CountSample]:
        options, inside = self._options, self._sequence.counts
        nuclide = options.nuclide or self._sequence.fields.get(sequence_head.NUCLIDE)
        if options.counts is not None and inside:
            raise InputError(
                f"{self.path}: holds counts already; with others beside them they would be told twice"
            )
        if options.counts is None and not inside:
            return []
        if nuclide is None:
            raise InputError(f"{self.path}: names no nuclide for its counts: --nuclide does")
        if options.counts is not None:
            samples = _samples_of(options.counts, self._zero_s + options.counts_offset_s, nuclide)
        else:
            samples = _totalled([self._sample(frame, nuclide) for frame in sorted(inside)])
        wild = [s.t_s for s in samples if not 0.0 <= s.t_s < LATEST_STAMP_S]
        if wild:
            hint = "" if inside else ": --counts-offset-s moves them"
            raise InputError(f"{self.path}: counts at {wild[0]:g} s, negative or beyond any clock{hint}")
        return sorted(samples, key=lambda s: s.t_s)

    def _sample(self, frame: int, nuclide: str) -> CountSample:
        found = self._sequence.counts[frame]
        for key in ("Counts", "IntervalS"):
            if key not in found:
                raise InputError(f"{self.path}: Seq_Frame{frame:04d}_{key} is missing")
        for key, value in found.items():
            if key != "CountTimestamp" and (value < 0.0 or (key == "IntervalS" and value == 0.0)):
                raise InputError(f"{self.path}: Seq_Frame{frame:04d}_{key} is {value:g}")
        if "CountTimestamp" in found:
            t_s = self._zero_s + found["CountTimestamp"]
        else:
            t_s = float(self._stamps(np.array([frame]))[0])
        total, live = found.get("CountsTotal", np.nan), found.get("LiveTimeS", np.nan)
        seq = int(found.get("Seq", -1))
        return CountSample(t_s, seq, found["Counts"], found["IntervalS"], total, live, nuclide)

    def _head(self) -> dict[str, Any]:
        head = sequence_head.meta_of(self._sequence.fields, self.path)
        first = min((float(t.min()) for t in self._times.values() if len(t)), default=self._zero_s)
        head.setdefault("epoch_s", float(np.floor(first)))
        head.setdefault("unix_time", head["epoch_s"] >= EARLIEST_UNIX_S)
        head["imported_from"] = name_of(self.path)
        if self._samples:
            head["nuclide"] = self._samples[0].nuclide
        elif self._options.nuclide is not None:
            head["nuclide"] = self._options.nuclide
        if self._options.tip is not None:
            head.pop("T_probe_probetip", None)
            head["tip"] = dict(self._options.tip)
        elif self._tools.T_probe_probetip is not None:
            head["T_probe_probetip"] = self._tools.T_probe_probetip.tolist()
        return head

    def _phases(self) -> list[Phase]:
        """The phases that the header tells, else one over everything, named as the file."""
        told = sequence_head.phases_in(self._sequence.fields, self._zero_s, self.path)
        if told:
            return told
        starts = [s.t_s - s.interval_s for s in self._samples]
        stamps = [*self._times.values(), np.array(starts), np.array([s.t_s for s in self._samples])]
        every = np.concatenate(stamps)
        name = name_of(self.path).partition(".")[0] or "scan"
        return [Phase(name, max(0.0, float(every.min())), float(every.max()))]

    def _require_overlap(self) -> None:
        """Raise InputError where counts from elsewhere and poses have no moment in common."""
        poses = self._times[self._tools.probe]
        if self._options.counts is None or not len(poses):
            return
        first, last = self._samples[0].t_s - self._samples[0].interval_s, self._samples[-1].t_s
        low, high = float(poses.min()), float(poses.max())
        if last < low or first > high:
            raise InputError(
                f"{self.path}: its poses ({low:.3f} to {high:.3f} s) and the counts ({first:.3f} to {last:.3f} s)"
                " do not overlap in time: --counts-offset-s moves the counts"
            )


def _samples_of(counts: CountTable, offset_s: float, nuclide: str) -> list[CountSample]:
    """A table of counts as samples, its stamps plus `offset_s`."""
    rows = zip(counts.t_s.tolist(), counts.counts.tolist(), counts.window_s.tolist(), strict=True)
    return _totalled([CountSample(t + offset_s, -1, n, w, np.nan, np.nan, nuclide) for t, n, w in rows])


def _totalled(samples: list[CountSample]) -> list[CountSample]:
    """With numbers and totals, the samples' own where they add up."""
    ordered = sorted(samples, key=lambda s: s.t_s)
    if _adds_up(ordered):
        return ordered
    totals = np.cumsum([s.counts for s in ordered]).tolist()
    live = np.cumsum([s.interval_s for s in ordered]).tolist()
    return [replace(s, seq=i + 1, counts_total=totals[i], live_time_s=live[i]) for i, s in enumerate(ordered)]


def _adds_up(samples: list[CountSample]) -> bool:
    """Whether numbers and totals rise as the counts say: else whoever reads the messages would drop some."""
    rows = [(s.seq, s.counts, s.counts_total, s.live_time_s) for s in samples]
    seq, counts, total, live = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    if not np.isfinite(total + live).all() or (seq < 0).any() or (total < counts).any():
        return False
    steps, gained, told = np.diff(seq), np.diff(total), counts[1:]
    agree = np.abs(gained - told) <= TOTAL_ROUNDING * total[1:]
    agree |= (steps > 1) & (gained > told)
    return bool((steps >= 1).all() and (np.diff(live) > 0.0).all() and agree.all())
