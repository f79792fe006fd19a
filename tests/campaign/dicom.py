"""Damaged DICOM files by the million: `python -m tests.campaign.dicom --n 1000000`.

Each comes with sound neighbours into a folder that is imported as the command imports it; the reader imports it or
refuses it, within five seconds and a gibibyte. A worker that hangs or dies is replaced, and told.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import SynchronizedArray
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from tests.navigation.io import dicom_maker as maker
from tracking.errors import InputError

# A file may take so much of a processor, and so long on a busy machine where it waits for one.
HANG_S, LOST_S = 5.0, 120.0
LARGEST_BYTES = 1 << 30
_KEPT_EXAMPLES = 10
# Files that one worker reads: a fresh one has no memory of those before.
_BATCH = 250
_POLL_S = 0.05
_MOST_CHANGES = 5
_EDGES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_REPRESENTATIONS = (
    b"US",
    b"SS",
    b"UL",
    b"DS",
    b"IS",
    b"SQ",
    b"UN",
    b"OB",
    b"OW",
    b"UI",
    b"FD",
    b"AT",
    b"PN",
    b"ZZ",
)
_TAGS = (
    *(
        (0x0028, 0x0010),
        (0x0028, 0x0011),
        (0x0028, 0x0008),
        (0x0028, 0x0030),
        (0x0028, 0x0100),
        (0x0028, 0x0101),
    ),
    *(
        (0x0020, 0x0032),
        (0x0020, 0x0037),
        (0x0028, 0x1053),
        (0x7FE0, 0x0010),
        (0x0008, 0x1140),
        (0xFFFE, 0xE000),
    ),
    *(
        (0x5200, 0x9229),
        (0x5200, 0x9230),
        (0x0054, 0x0022),
        (0x3006, 0x0050),
        (0x0062, 0x0002),
        (0x0002, 0x0010),
    ),
)
_REAL = (
    *(f"dcm_compressed/compressed_{codec}/*/*" for codec in ("j2k", "jpeg", "jpegls", "rle")),
    *(
        "dcm_enhanced/emri_small.dcm",
        "petct_sts001/PET/dicom/image/*.dcm",
        "petct_sts001/PET/dicom/mask/*.dcm",
    ),
    "dcm_compressed/NM1*.dcm",
)


@dataclass
class Findings:
    """What a run has seen."""

    inputs: int = 0
    imported: int = 0
    refused: int = 0
    faults: int = 0
    hangs: int = 0
    deaths: int = 0
    slowest_s: float = 0.0
    peak_bytes: int = 0
    elapsed_s: float = 0.0
    examples: list[str] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Nothing uncaught, nothing hung, nobody died, memory within its bound."""
        return not (self.faults or self.hangs or self.deaths) and self.peak_bytes <= LARGEST_BYTES

    def show(self, text: str) -> None:
        if len(self.examples) < _KEPT_EXAMPLES:
            self.examples.append(text)

    def __str__(self) -> str:
        rate = self.inputs / max(self.elapsed_s, 1e-9)
        first = (
            f"{self.inputs} files, {rate:.0f}/s, {self.imported} imported, {self.refused} refused,"
            f" {self.faults} faults, {self.hangs} hangs, {self.deaths} deaths, slowest {self.slowest_s:.2f} s,"
            f" peak {self.peak_bytes / (1 << 20):.0f} MiB"
        )
        return "\n".join([first, *self.examples])


def _bytes_of(ds: Dataset, folder: Path) -> bytes:
    return (maker.save([ds], folder) / "s000.dcm").read_bytes()


def _plan() -> Dataset:
    plan = maker.structure_set(["one", "two", "three"])
    square = np.array([[11.0, -19.0, 32.0], [14.0, -19.0, 32.0], [14.0, -16.0, 32.0], [11.0, -16.0, 32.0]])
    maker.contours(plan, 1, [square, square + [0.0, 0.0, 2.0]])
    maker.contours(plan, 2, [square], "OPEN_PLANAR")
    maker.contours(plan, 3, [square[:1]], "POINT")
    return plan


def _segments() -> Dataset:
    mask = np.zeros((6, 7), dtype=np.uint8)
    mask[2:4, 2:5] = 1
    return maker.segmentation([mask, mask], [np.array([10.0, -20.0, z]) for z in (30.0, 34.0)], [1, 2])


def _written(syntax: str) -> Dataset:
    ds = maker.stack(maker.ramp())[2]
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        ds.PixelData = np.frombuffer(ds.PixelData, "<i2").byteswap().tobytes()
        ds["PixelData"].VR = "OW"
    return ds


def _packed() -> Dataset:
    ds = maker.stack(maker.ramp())[2]
    ds.compress(RLELossless)
    return ds


@dataclass(frozen=True)
class Seed:
    """A sound file that is damaged, and its sound neighbours of one series."""

    raw: bytes
    beside: tuple[bytes, ...] = ()


def seeds(data: Path | None) -> list[Seed]:
    """Sound files of every kind that the reader knows; with those of a folder of real ones if there is one."""
    makers: list[Callable[[], Dataset]] = [
        lambda: maker.stack(maker.ramp())[2],
        lambda: maker.spect(maker.ramp((4, 5, 6)), -2.0),
        lambda: maker.enhanced_ct(maker.ramp((4, 5, 6)), 3.0),
        _plan,
        _segments,
        _packed,
        lambda: _written(ImplicitVRLittleEndian),
        lambda: _written(ExplicitVRBigEndian),
        lambda: _written(DeflatedExplicitVRLittleEndian),
    ]
    with tempfile.TemporaryDirectory() as name:
        ct = tuple(_bytes_of(ds, Path(name) / f"ct{n}") for n, ds in enumerate(maker.stack(maker.ramp())[:2]))
        pet = [
            _bytes_of(ds, Path(name) / f"pt{n}")
            for n, ds in enumerate(maker.stack(maker.ramp(), modality="PT"))
        ]
        found = [Seed(_bytes_of(make(), Path(name) / str(n)), ct) for n, make in enumerate(makers)]
    found.append(Seed(pet[2], (*pet[:2], *pet[3:])))
    for pattern in _REAL if data is not None else ():
        raws = [p.read_bytes() for p in sorted(data.glob(pattern)) if p.is_file()][:3]
        found += [Seed(raws[0], tuple(raws[1:]))] if raws else []
    return found


def mutated(raw: bytes, source: random.Random) -> bytes:
    """A file with some of its bytes changed, mostly where its header is."""
    data = bytearray(raw)
    for _ in range(1 + int(source.random() * _MOST_CHANGES)):
        source.choice(_CHANGES)(data, source)
        if len(data) < 140:
            break
    return bytes(data)


def _at(data: bytearray, source: random.Random) -> int:
    """A place, twice as often within the first two kilobytes."""
    most = len(data) if source.random() < 0.33 else min(len(data), 2048)
    return min(int(132 + source.random() * max(most - 132, 1)), max(len(data) - 1, 0))


def _set(data: bytearray, source: random.Random) -> None:
    if data:
        data[_at(data, source)] = int(source.random() * 256)


def _flip(data: bytearray, source: random.Random) -> None:
    if data:
        data[_at(data, source)] ^= 1 << int(source.random() * 8)


def _edge(data: bytearray, source: random.Random) -> None:
    size = source.choice((1, 2, 4))
    at = _at(data, source)
    data[at : at + size] = (source.choice(_EDGES) & (1 << 8 * size) - 1).to_bytes(size, "little")


def _field(data: bytearray, source: random.Random) -> None:
    """Length, representation or value of a field that matters."""
    group, element = source.choice(_TAGS)
    at = data.find(group.to_bytes(2, "little") + element.to_bytes(2, "little"))
    if at < 0 or at + 16 > len(data):
        return
    which = source.random()
    if which < 0.3:
        data[at + 4 : at + 6] = source.choice(_REPRESENTATIONS)
    elif which < 0.7:
        size, offset = source.choice(((2, 6), (4, 8), (4, 4)))
        value = source.choice(_EDGES) & (1 << 8 * size) - 1
        data[at + offset : at + offset + size] = value.to_bytes(size, "little")
    else:
        data[at + 8 : at + 12] = source.choice((b"nan\\", b"1e99", b"-1\\-", b"inf ", b"\xff" * 4, b"\0" * 4))


def _cut(data: bytearray, source: random.Random) -> None:
    at = _at(data, source)
    del data[at : at + 1 + int(source.random() * 64)]


def _end(data: bytearray, source: random.Random) -> None:
    del data[_at(data, source) :]


def _double(data: bytearray, source: random.Random) -> None:
    at = _at(data, source)
    data[at:at] = data[at : at + 1 + int(source.random() * 64)]


def _nest(data: bytearray, source: random.Random) -> None:
    """Sequences in one another, never closed."""
    item = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    at = data.find(b"\x08\x00\x60\x00CS")
    data[max(at, 0) : max(at, 0)] = item * (1 + int(source.random() * 500))


_CHANGES = [_set, _set, _flip, _edge, _edge, _field, _field, _field, _cut, _end, _double, _nest]


def _worker(
    first: int, last: int, seed: int, data: str | None, state: SynchronizedArray, out: SimpleQueue
) -> None:  # type: ignore[type-arg]
    """Import the mutated files first..last; `state` holds the current number and when it began."""
    from navigation.io import dicom_identity, dicom_import

    dicom_identity.HASH_ROUNDS = 1
    dicom_import.restrict()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    sound = seeds(Path(data) if data else None)
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        folder = Path(name)
        for number in range(first, last):
            source = random.Random(f"{seed}:{number}")
            _lay_out(folder, source.choice(sound), source)
            began = time.process_time()
            state[0], state[1], state[2] = float(number), began, time.monotonic()
            kind, text = _outcome(dicom_import.import_folder, folder)
            out.put((number, kind, text, time.process_time() - began, _peak_bytes()))
    state[0] = float(last)


def _peak_bytes() -> int:
    """Largest resident size of this process; `ru_maxrss` would be that of whoever started it, if that was larger."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM:")).split()[1]) * 1024


def _lay_out(folder: Path, seed: Seed, source: random.Random) -> None:
    """The damaged file among its neighbours, and an empty place for the study."""
    for name in ("d", "out"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir()
    for number, raw in enumerate((mutated(seed.raw, source), *seed.beside)):
        (folder / "d" / f"{number}.dcm").write_bytes(raw)


def _outcome(import_folder: Callable[..., object], folder: Path) -> tuple[str, str]:
    from navigation.io.dicom_import import Options

    try:
        import_folder(Options(str(folder / "d"), str(folder / "out"), leave_out_defective=True))
    except (InputError, MemoryError) as fault:
        return ("refused", "") if "\n" not in str(fault) else ("fault", f"several lines: {fault}")
    except Exception as fault:  # noqa: BLE001 - what a campaign is for: whatever else comes is told
        return "fault", f"{type(fault).__name__}: {fault}"
    return "imported", ""


def run(n: int, seed: int, data: Path | None = None, longest_s: float = float("inf")) -> Findings:
    """n mutated files, or as many as there is time for; the same seed gives the same ones."""
    findings = Findings()
    start_s = time.monotonic()
    context = multiprocessing.get_context("spawn")
    number = 0
    while number < n and time.monotonic() - start_s < longest_s:
        number = _batch(context, number, min(n, number + _BATCH), seed, data, findings)
    findings.elapsed_s = time.monotonic() - start_s
    return findings


def _batch(
    context: multiprocessing.context.SpawnContext,
    first: int,
    last: int,
    seed: int,
    data: Path | None,
    findings: Findings,
) -> int:
    """One worker until it is done, hangs or dies; returns the number to go on with."""
    state = context.Array("d", [-1.0, 0.0, time.monotonic()])
    out = context.SimpleQueue()
    worker = context.Process(
        target=_worker, args=(first, last, seed, None if data is None else str(data), state, out)
    )
    worker.start()
    while True:
        worker.join(_POLL_S)
        while not out.empty():
            _book(findings, *out.get())
        current, used_s = int(state[0]), _cpu_s(worker.pid) - state[1]
        if current == last:
            worker.join()
            break
        if not worker.is_alive() and current < 0:
            raise RuntimeError(f"the worker did not start: it ended with {worker.exitcode}")
        if not worker.is_alive():
            findings.deaths += 1
            findings.show(f"file {current}: the reader ended with {worker.exitcode}")
            break
        if time.monotonic() - state[2] > LOST_S or (current >= 0 and used_s > HANG_S):
            findings.hangs += 1
            findings.show(f"file {current}: more than {HANG_S:.0f} s")
            worker.kill()
            worker.join()
            break
    while not out.empty():
        _book(findings, *out.get())
    return last if current == last else max(current, first) + 1


def _cpu_s(pid: int | None) -> float:
    """Processor time of a running process, 0 once it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _book(findings: Findings, number: int, kind: str, text: str, took_s: float, peak: int) -> None:
    findings.inputs += 1
    findings.imported += kind == "imported"
    findings.refused += kind == "refused"
    findings.faults += kind == "fault"
    findings.slowest_s = max(findings.slowest_s, took_s)
    findings.peak_bytes = max(findings.peak_bytes, peak)
    if kind == "fault":
        findings.show(f"file {number}: {text}")


def main() -> None:
    """Run and tell; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="folder of real files to damage too")
    parser.add_argument("--hours", type=float, default=1e3, help="stop after so long")
    given = parser.parse_args()
    findings = run(given.n, given.seed, given.data, 3600.0 * given.hours)
    print(findings)
    sys.exit(0 if findings.clean else 1)


if __name__ == "__main__":
    main()
