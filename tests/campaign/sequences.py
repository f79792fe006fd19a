"""Sequence files with bytes changed, lines lost or told twice, and ends cut off: read rightly or refused by name.

What was INVALID stays out: its matrices lie 500 mm away from all others, and no scan may hold such a pose.
Run: python -m tests.campaign.sequences --n 10000
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from tracking.errors import InputError
from tracking.recording.export import export_scan, phases_of
from tracking.recording.sequence_import import ImportOptions, SequenceRecord
from tracking.sample import PoseStatus
from tracking.sequence import SequenceWriter

FRAMES, INVALID_EVERY, FAR_MM, NEAR_MM = 60, 7, 500.0, 200.0


def whole(path: Path) -> bytes:
    """Sixty frames at 50 Hz, every seventh INVALID with a plausible matrix far off, a count in every fifth."""
    with SequenceWriter(path, {"GammaNuclide": "Tc-99m"}) as writer:
        for i in range(FRAMES):
            matrix, bad = np.eye(4), i % INVALID_EVERY == 3
            matrix[:3, 3] = (FAR_MM if bad else i * 0.5, 3.0, 5.0)
            status = PoseStatus.INVALID if bad else PoseStatus.OK
            counts = {"Counts": str(i), "IntervalS": "0.1"} if i % 5 == 4 else {}
            writer.add(10.0 + 0.02 * i, {"ProbeToReference": (matrix, status)}, counts)
    return path.read_bytes()


def altered(content: bytes, chance: random.Random) -> bytes:
    """One fault of the kinds that disks, editors and transfers make."""
    kind = chance.randrange(5)
    at = chance.randrange(len(content))
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    lines = content.split(b"\n")
    row = chance.randrange(len(lines))
    if kind == 2:
        return b"\n".join(lines[:row] + lines[row + 1 :])
    if kind == 3:
        return b"\n".join([*lines[:row], lines[row], *lines[row:]])
    other = chance.randrange(len(lines))
    lines[row], lines[other] = lines[other], lines[row]
    return b"\n".join(lines)


def judged(path: Path) -> str:
    """What came of a file: refused, or read; raises AssertionError where a pose of an INVALID frame came out."""
    try:
        source = SequenceRecord(path, ImportOptions(nuclide="Tc-99m"))
        scan = export_scan(source, next(iter(phases_of(source))))
    except InputError as error:
        return "refused" if "\n" not in str(error) else f"FAULT more than one line: {error}"
    seen = scan.poses.matrices[scan.poses.visible]
    # A changed digit may move a good pose; only the first of three places tells the far ones.
    far = np.abs(seen[:, 0, 3] - FAR_MM) < NEAR_MM
    assert not (far & (np.abs(seen[:, 1, 3] - 3.0) < 1e-6)).any(), "an INVALID pose was used"
    return "read"


def main() -> int:
    """0 when nothing went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, tally, began = random.Random(options.seed), Counter[str](), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("a.mha", "a.nrrd")]
        contents = [whole(file) for file in files]
        for i in range(options.n):
            file, content = files[i % 2], altered(contents[i % 2], chance)
            file.write_bytes(content)
            try:
                tally[judged(file)] += 1
            except Exception as error:  # noqa: BLE001 - whatever is not an InputError is the finding
                tally[f"FAULT {type(error).__name__}: {error}"] += 1
    print(f"{options.n} files in {time.monotonic() - began:.0f} s: {dict(tally)}")
    return 1 if any(word.startswith("FAULT") for word in tally) else 0


if __name__ == "__main__":
    sys.exit(main())
