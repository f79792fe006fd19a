"""Views of the checkerboard: from a folder, or taken live; a folder of live views can be calibrated again.

`views.csv` has a row for each picture: `picture`, and `m00` to `m23`, the upper three rows of T_reference_marker in mm.
"""

from __future__ import annotations

import csv
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from navigation.ui.camera.frames import Frame, Frames, first_frame
from navigation.ui.camera.solve import (
    CELLS,
    FEWEST_VIEWS,
    Board,
    BoardView,
    filled,
    find_corners,
    missing,
    turn_deg,
)
from tracking.errors import InputError, SurroundingsError, WireError
from tracking.igtl import Client, LinkState, Message, TransformContent, decode, names
from tracking.poses import rotation_angles
from tracking.sample import PoseStatus
from tracking.transform import rigidity_fault

Array = NDArray[np.float64]

FILE = "views.csv"
COLUMNS = tuple(f"m{i}{j}" for i in range(3) for j in range(4))
# A view is taken when the camera has been as still as that for so long: picture and pose are then of one place.
STILL_S, STILL_MM, STILL_DEG = 0.6, 0.5, 0.2
# A new view differs from all others by one of these.
OTHER_MM, OTHER_DEG = 25.0, 8.0
LOOK_S, LOST_S, CONNECT_S = 0.1, 5.0, 15.0
MOST_VIEWS = 40


def read_views(folder: Path, board: Board) -> tuple[list[BoardView], tuple[int, int], list[str]]:
    """Views of a folder, the size of its pictures, and the names of those in which the board is not seen whole.

    Raises InputError naming the file and the row.
    """
    file = folder / FILE
    views: list[BoardView] = []
    lost: list[str] = []
    size: tuple[int, int] | None = None
    for number, (name, pose) in enumerate(_rows(file), 2):
        grey = cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE)
        if grey is None:
            raise InputError(f"{file}, row {number}: {name} is no picture")
        found = (grey.shape[1], grey.shape[0])
        if size is not None and found != size:
            raise InputError(
                f"{file}, row {number}: {name} has {found[0]} x {found[1]} pixels, others {size}"
            )
        size = found
        corners = find_corners(np.asarray(grey, dtype=np.uint8), board)
        if corners is None:
            lost.append(name)
        else:
            views.append(BoardView(corners, pose, name))
    if size is None:
        raise InputError(f"{file}: holds no view")
    return views, size, lost


def _rows(file: Path) -> list[tuple[str, Array]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as fault:
        raise InputError(f"{file}: cannot be read ({fault})") from None
    found = []
    for number, row in enumerate(rows, 2):
        name = row.get("picture") or ""
        if not name or Path(name).name != name:
            raise InputError(f"{file}, row {number}: picture {name!r} is no name of a file beside it")
        try:
            upper = np.array([float(row[c]) for c in COLUMNS]).reshape(3, 4)
        except (KeyError, TypeError, ValueError):
            raise InputError(f"{file}, row {number}: m00 to m23 are not twelve numbers") from None
        pose = np.vstack([upper, [0.0, 0.0, 0.0, 1.0]])
        wrong = rigidity_fault(pose)
        if wrong is not None:
            raise InputError(f"{file}, row {number}: no pose ({wrong})")
        found.append((name, pose))
    return found


def write_views(folder: Path, pictures: Sequence[NDArray[np.uint8]], views: Sequence[BoardView]) -> None:
    """Pictures and poses as `read_views` takes them, into an existing folder."""
    with (folder / FILE).open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(("picture", *COLUMNS))
        for picture, view in zip(pictures, views, strict=True):
            if not cv2.imwrite(str(folder / view.name), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
                raise SurroundingsError(f"{folder / view.name}: the picture cannot be written")
            rows.writerow((view.name, *(repr(float(v)) for v in view.T_reference_marker[:3].ravel())))


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    t_s: float
    matrix: Array


class MarkerLink:
    """Poses of the camera's marker from a server of OpenIGTLink; `resting` tells one while the camera is still."""

    def __init__(self, host: str, port: int, device: str = names.CAMERA_TO_REFERENCE) -> None:
        self._device = device
        self._recent: deque[_Seen] = deque(maxlen=400)
        self.connected = False
        self.heard_s: float | None = None
        self._client = Client(host, port, "camera", self._take, self._state)

    def start(self) -> None:
        """Connect."""
        self._client.start()

    def stop(self) -> None:
        """Leave."""
        self._client.stop()

    def _state(self, source: str, state: LinkState, detail: str) -> None:
        self.connected = state is LinkState.CONNECTED

    def _take(self, source: str, arrival_s: float, raw: bytes) -> None:
        try:
            message = decode(raw)
        except WireError:
            return
        if message.device != self._device or not isinstance(message.body, TransformContent):
            return
        self.heard_s = arrival_s
        if _valid(message) and rigidity_fault(message.body.matrix) is None:
            self._recent.append(_Seen(arrival_s, message.body.matrix))
        else:
            self._recent.clear()

    def resting(self, now_s: float) -> tuple[Array, float] | None:
        """The middle one of the poses of a rest that goes on now, and since when; None while the camera moves."""
        seen = [s for s in tuple(self._recent) if now_s - s.t_s <= STILL_S]
        if len(seen) < 3 or now_s - seen[0].t_s < 0.7 * STILL_S or now_s - seen[-1].t_s > 0.5 * STILL_S:
            return None
        places = np.stack([s.matrix[:3, 3] for s in seen])
        turns = rotation_angles(np.stack([s.matrix[:3, :3] for s in seen]), seen[-1].matrix[:3, :3])
        away = np.linalg.norm(places - np.median(places, axis=0), axis=1)
        if float(away.max()) > STILL_MM or float(np.rad2deg(turns.max())) > STILL_DEG:
            return None
        return seen[int(np.argmin(away))].matrix, seen[0].t_s


def _valid(message: Message) -> bool:
    return names.pose_status(message.metadata) in (PoseStatus.OK, PoseStatus.UNKNOWN)


def take_views(
    frames: Frames, marker: MarkerLink, board: Board, wanted: int, wait_s: float, tell: Callable[[str], None]
) -> tuple[list[BoardView], list[NDArray[np.uint8]], tuple[int, int]]:
    """Views taken whenever the camera rests at a new place, until there are enough; `tell` says what to do next.

    Raises SurroundingsError when video or tracker stay away, or the time is over with too few.
    """
    size = first_frame(frames, CONNECT_S).size
    views: list[BoardView] = []
    pictures: list[NDArray[np.uint8]] = []
    end = time.monotonic() + wait_s
    while len(views) < MOST_VIEWS and (len(views) < wanted or missing(views, size)):
        now = time.monotonic()
        if now > end:
            break
        frame, rest = frames.newest(), marker.resting(now)
        if marker.heard_s is None and now > end - wait_s + CONNECT_S:
            raise SurroundingsError("no pose of the camera's marker came")
        view = _view(frame, rest, board, views)
        if view is not None and frame is not None:
            views.append(view)
            pictures.append(frame.pixels)
        tell(next_words(views, size, wanted, frame, rest is not None))
        time.sleep(LOOK_S)
    return views, pictures, size


def _view(
    frame: Frame | None, rest: tuple[Array, float] | None, board: Board, views: Sequence[BoardView]
) -> BoardView | None:
    """A view of the present rest, if picture, pose and place are good and new."""
    if frame is None or rest is None or frame.arrival_s < rest[1] + 0.5 * STILL_S:
        return None
    pose = rest[0]
    if any(_alike(pose, v.T_reference_marker) for v in views):
        return None
    corners = find_corners(frame.pixels, board)
    return None if corners is None else BoardView(corners, pose, f"view-{len(views) + 1:02d}.png")


def _alike(first: Array, second: Array) -> bool:
    shift = float(np.linalg.norm(first[:3, 3] - second[:3, 3]))
    turn = float(np.rad2deg(rotation_angles(first[:3, :3], second[:3, :3])))
    return shift < OTHER_MM and turn < OTHER_DEG


def next_words(
    views: Sequence[BoardView], size: tuple[int, int], wanted: int, frame: Frame | None, resting: bool
) -> str:
    """How far it is, and what the next view should be of."""
    count = f"{len(views)} of {max(wanted, FEWEST_VIEWS)} views"
    if frame is None:
        return f"{count}: no video"
    cells = filled(views, size)
    if views and not cells.all():
        row, column = np.argwhere(~cells)[0]
        down = ("upper", "middle", "lower")[min(int(row) * 3 // CELLS[1], 2)]
        side = "left" if column < CELLS[0] / 2 else "right"
        return f"{count}: bring the board to the {down} {side} of the picture and hold still"
    if views and turn_deg(views) < 20.0:
        return f"{count}: tilt the camera to another side, or roll it, and hold still"
    return f"{count}: {'go to another place' if resting else 'hold still'}"
