"""What is written reads back to the bit, opens in ITK, and keeps to what PLUS can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scipy.spatial.transform import Rotation

from tracking.errors import InputError
from tracking.sample import PoseStatus
from tracking.sequence import SequenceWriter, read_sequence
from tracking.sequence.writer import LONGEST_LINE


def poses(n: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    matrices = np.tile(np.eye(4), (n, 1, 1))
    matrices[:, :3, :3] = Rotation.random(n, random_state=5).as_matrix()
    matrices[:, :3, 3] = rng.normal(0.0, 1000.0, (n, 3))
    return matrices


def written(path: Path, n: int) -> np.ndarray:
    matrices = poses(n)
    with SequenceWriter(path, {"GammaNuclide": "Tc-99m"}) as writer:
        for i, matrix in enumerate(matrices):
            status = PoseStatus.INVALID if i == 3 else PoseStatus.OK
            writer.add(i / 60.0, {"ProbeToTracker": (matrix, status)}, {"Counts": str(i)} if i % 2 else {})
    return matrices


@pytest.mark.parametrize("name", ["a.igs.mha", "a.seq.nrrd"])
def test_every_bit_comes_back(tmp_path: Path, name: str) -> None:
    matrices = written(tmp_path / name, 7)
    sequence = read_sequence(tmp_path / name)
    track = sequence.transforms["ProbeToTracker"]
    assert np.array_equal(track.matrices, matrices)
    assert track.words == ("OK", "OK", "OK", "INVALID", "OK", "OK", "OK")
    assert [sequence.times[i] for i in range(7)] == [i / 60.0 for i in range(7)]
    assert {i: found["Counts"] for i, found in sequence.counts.items()} == {1: 1.0, 3: 3.0, 5: 5.0}
    assert sequence.fields["GammaNuclide"] == "Tc-99m"
    assert sequence.missing == 0


def test_itk_opens_both(tmp_path: Path) -> None:
    written(tmp_path / "a.mha", 7)
    image = SimpleITK.ReadImage(str(tmp_path / "a.mha"))
    assert image.GetSize() == (1, 1, 7)
    assert not SimpleITK.GetArrayFromImage(image).any()
    written(tmp_path / "a.nrrd", 7)
    image = SimpleITK.ReadImage(str(tmp_path / "a.nrrd"))
    # ITK takes the list axis for the components of a pixel.
    assert (image.GetSize(), image.GetNumberOfComponentsPerPixel()) == ((1, 1), 7)
    assert image.GetMetaData("Seq_Frame0003_ProbeToTrackerTransformStatus") == "INVALID"


def test_one_pixel_for_each_frame(tmp_path: Path) -> None:
    """PLUS seeks each frame's pixels: a file without them does not open there."""
    written(tmp_path / "a.mha", 7)
    head, _, pixels = (tmp_path / "a.mha").read_bytes().partition(b"ElementDataFile = LOCAL\n")
    assert pixels == bytes(7)
    assert head.startswith(b"ObjectType = Image\nNDims = 3\n")  # by the first line PLUS knows the format
    assert max(len(line) for line in head.split(b"\n")) <= LONGEST_LINE


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    for value in ("x" * 2000, "two\nlines", "\N{BULLET}"):
        with (
            pytest.raises(InputError, match="field Note does not fit"),
            SequenceWriter(tmp_path / "a.mha", {"Note": value}),
        ):
            pass
    with pytest.raises(InputError, match="no frame to write"), SequenceWriter(tmp_path / "b.mha", {}):
        pass
