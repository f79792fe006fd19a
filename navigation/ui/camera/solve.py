"""A camera's calibration from pictures of a checkerboard that lies still while the tracked camera moves round it.

The lens comes from the pictures alone (Zhang 2000, doi:10.1109/34.888718, as OpenCV solves it). Where the lens sits on
its marker comes from the poses as well: Park and Martin 1994, doi:10.1109/70.326576, as a start, then the least sum of
squared pixels over T_marker_camera and T_reference_board. Its error is that of views which the fit did not know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from navigation.ui.camera.model import COEFFICIENTS, CameraModel
from tracking.errors import GateRefusedError, InputError
from tracking.transform import invert_rigid

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

FEWEST_VIEWS = 8
# Below that the axes of the camera's turns determine no hand-eye: rotations about one axis leave a slide along it.
LEAST_TURN_DEG = 15.0
# The views' corners fill at least this share of a grid of so many cells across and down; else the lens is guessed.
CELLS, LEAST_FILLED = (4, 3), 0.6
LARGEST_LENS_PX, LARGEST_ERROR_PX = 1.0, 3.0
FEWEST_CORNERS = 3


@dataclass(frozen=True, slots=True)
class Board:
    """Inner corners across and down, and the side of a square in mm."""

    columns: int
    rows: int
    square_mm: float

    def points_mm(self) -> Array:
        """(n, 3) in the board's frame, row by row."""
        x, y = np.meshgrid(np.arange(self.columns), np.arange(self.rows))
        return np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]).astype(np.float64) * self.square_mm


@dataclass(frozen=True, slots=True, eq=False)
class BoardView:
    """Corners (n, 2) in pixels of a picture, in the board's order, and where the camera's marker stood then."""

    corners_px: Array
    T_reference_marker: Array
    name: str


def parse_board(text: str, square_mm: float) -> Board:
    """`9x6`: inner corners across and down. Raises InputError.

    A board with an even number in one direction and an odd one in the other looks the same from no two sides.
    """
    across, by, down = text.lower().partition("x")
    if not (by and across.isdigit() and down.isdigit()) or min(int(across), int(down)) < FEWEST_CORNERS:
        raise InputError(f"--board {text}: must be like 9x6, inner corners across and down, at least 3 each")
    if (int(across) + int(down)) % 2 == 0:
        raise InputError(
            f"--board {text}: looks the same when turned by half; take one number even and one odd, as 9x6"
        )
    return Board(int(across), int(down), square_mm)


def find_corners(picture: Picture, board: Board) -> Array | None:
    """Corners (n, 2) of the whole board in an RGB or grey picture; None where it is not seen whole."""
    flat = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    grey = np.asarray(flat, dtype=np.uint8)
    found, corners = cv2.findChessboardCornersSB(
        grey, (board.columns, board.rows), flags=cv2.CALIB_CB_EXHAUSTIVE | cv2.CALIB_CB_ACCURACY
    )
    if not found:
        return None
    return _from_dark(grey, np.asarray(corners, dtype=np.float64).reshape(-1, 2), board)


def _from_dark(grey: Picture, corners: Array, board: Board) -> Array:
    """The corners from the end whose square is dark: the same ones come first however the camera is rolled."""
    grid = corners.reshape(board.rows, board.columns, 2)
    first = grid[:2, :2].mean(axis=(0, 1))
    second = grid[:2, 1:3].mean(axis=(0, 1))
    light, lighter = (float(grey[round(y), round(x)]) for x, y in (first.tolist(), second.tolist()))
    return corners if light < lighter else corners[::-1].copy()


def filled_share(views: Sequence[BoardView], size: tuple[int, int]) -> float:
    """Share of the picture's cells in which some view has a corner."""
    return float(filled(views, size).mean())


def filled(views: Sequence[BoardView], size: tuple[int, int]) -> NDArray[np.bool_]:
    """(down, across): which cells of the picture hold a corner of some view."""
    cells = np.zeros((CELLS[1], CELLS[0]), dtype=bool)
    for view in views:
        column = np.clip(view.corners_px[:, 0] / size[0] * CELLS[0], 0, CELLS[0] - 1).astype(int)
        row = np.clip(view.corners_px[:, 1] / size[1] * CELLS[1], 0, CELLS[1] - 1).astype(int)
        cells[row, column] = True
    return cells


def turn_deg(views: Sequence[BoardView]) -> float:
    """How far the camera was turned about the second of the axes it was turned about, degrees.

    From the rotations against the first view: the second singular value, root mean square.
    """
    if len(views) < 2:
        return 0.0
    rotations = np.stack([v.T_reference_marker[:3, :3] for v in views])
    vectors = Rotation.from_matrix(np.swapaxes(rotations[:1], 1, 2) @ rotations).as_rotvec()
    spread = vectors - vectors.mean(axis=0)
    singular = np.linalg.svd(spread, compute_uv=False)
    return float(np.rad2deg(singular[1] / np.sqrt(len(views))) * 2.0)


def missing(views: Sequence[BoardView], size: tuple[int, int], fewest: int = FEWEST_VIEWS) -> str:
    """What the views still lack, in words; empty when there is enough to calibrate."""
    if len(views) < fewest:
        return f"{len(views)} views of the board, at least {fewest} are needed"
    if filled_share(views, size) < LEAST_FILLED:
        return "the board was seen in a part of the picture only: bring it to the corners too"
    if turn_deg(views) < LEAST_TURN_DEG:
        return "the camera was hardly turned: tilt it to all sides and roll it"
    return ""


def calibrate(views: Sequence[BoardView], board: Board, size: tuple[int, int]) -> CameraModel:
    """The camera from its views.

    Raises InputError for views that determine none, GateRefusedError for a result that is too bad to be used.
    """
    lacking = missing(views, size)
    if lacking:
        raise InputError(f"camera: {lacking}")
    matrix, distortion, T_camera_board, lens_rms = _lens(views, board, size)
    markers = np.stack([v.T_reference_marker for v in views])
    X, Z = _refined(views, board, matrix, distortion, *_start(markers, T_camera_board))
    error = _left_out(views, board, matrix, distortion, X, Z)
    model = CameraModel(matrix, distortion, size, X, lens_rms, error, len(views))
    if lens_rms > LARGEST_LENS_PX:
        raise GateRefusedError(
            f"camera: the lens leaves {lens_rms:.2f} px, at most {LARGEST_LENS_PX:g}: blurred, or a bent board"
        )
    if error > LARGEST_ERROR_PX:
        raise GateRefusedError(
            f"camera: a view left out is missed by {error:.1f} px, at most {LARGEST_ERROR_PX:g}: "
            "the board or its reference moved, or pictures and poses are not of the same moment"
        )
    return model


def _lens(
    views: Sequence[BoardView], board: Board, size: tuple[int, int]
) -> tuple[Array, Array, Array, float]:
    """Camera matrix, distortion, T_camera_board (n, 4, 4) of each view, and the error left in pixels."""
    points = [board.points_mm().astype(np.float32)] * len(views)
    pixels = [v.corners_px.astype(np.float32).reshape(-1, 1, 2) for v in views]
    try:
        rms, matrix, distortion, turns, shifts = cv2.calibrateCamera(points, pixels, size, None, None)
    except cv2.error as fault:
        raise InputError(f"camera: the views determine no lens ({fault.err})") from None
    T = np.tile(np.eye(4), (len(views), 1, 1))
    T[:, :3, :3] = Rotation.from_rotvec(np.array(turns).reshape(-1, 3)).as_matrix()
    T[:, :3, 3] = np.array(shifts).reshape(-1, 3)
    coefficients = np.asarray(distortion, dtype=np.float64).ravel()[:COEFFICIENTS]
    return np.asarray(matrix, dtype=np.float64), coefficients, T, float(rms)


def _start(markers: Array, T_camera_board: Array) -> tuple[Array, Array]:
    """T_marker_camera and T_reference_board (4, 4) in closed form: A X = X B over all pairs of views."""
    first, second = np.triu_indices(len(markers), 1)
    A = invert_rigid(markers[second]) @ markers[first]
    B = T_camera_board[second] @ invert_rigid(T_camera_board[first])
    alpha = Rotation.from_matrix(A[:, :3, :3]).as_rotvec()
    beta = Rotation.from_matrix(B[:, :3, :3]).as_rotvec()
    U, _, Vt = np.linalg.svd(alpha.T @ beta)
    X = np.eye(4)
    X[:3, :3] = U @ np.diag([1.0, 1.0, np.linalg.det(U @ Vt)]) @ Vt
    left = (A[:, :3, :3] - np.eye(3)).reshape(-1, 3)
    right = (B[:, :3, 3] @ X[:3, :3].T - A[:, :3, 3]).ravel()
    X[:3, 3] = np.linalg.lstsq(left, right, rcond=None)[0]
    Z = markers @ X @ T_camera_board
    found = np.eye(4)
    found[:3, :3] = Rotation.from_matrix(Z[:, :3, :3]).mean().as_matrix()
    found[:3, 3] = np.median(Z[:, :3, 3], axis=0)
    return X, found


def _refined(
    views: Sequence[BoardView], board: Board, matrix: Array, distortion: Array, X: Array, Z: Array
) -> tuple[Array, Array]:
    """X and Z with the least squared distance in pixels, outlying corners held back (soft L1 beyond a pixel)."""

    def residual(p: Array) -> Array:
        return _misses(views, board, matrix, distortion, X @ _moved(p[:6]), Z @ _moved(p[6:])).ravel()

    scale = np.tile([0.01, 0.01, 0.01, 1.0, 1.0, 1.0], 2)
    found = least_squares(residual, np.zeros(12), x_scale=scale, loss="soft_l1", f_scale=1.0).x
    return X @ _moved(found[:6]), Z @ _moved(found[6:])


def _moved(p: Array) -> Array:
    """A small motion: rotation vector in rad, shift in mm."""
    T = np.eye(4)
    T[:3, :3] = Rotation.from_rotvec(p[:3]).as_matrix()
    T[:3, 3] = p[3:]
    return T


def _misses(
    views: Sequence[BoardView], board: Board, matrix: Array, distortion: Array, X: Array, Z: Array
) -> Array:
    """(views, corners, 2) in pixels: where the corners should be by the poses, minus where they were seen."""
    camera = CameraModel(matrix, distortion, (1, 1), X, 0.0, 0.0, 0)
    places = board.points_mm() @ Z[:3, :3].T + Z[:3, 3]
    return np.stack([camera.from_reference(places, v.T_reference_marker)[0] - v.corners_px for v in views])


def _left_out(
    views: Sequence[BoardView], board: Board, matrix: Array, distortion: Array, X: Array, Z: Array
) -> float:
    """Root mean square in pixels over the views, each against the hand-eye of all others."""
    squared = []
    for i, view in enumerate(views):
        rest = [v for j, v in enumerate(views) if j != i]
        found = _refined(rest, board, matrix, distortion, X, Z)
        squared.append(np.mean(np.sum(_misses([view], board, matrix, distortion, *found) ** 2, axis=-1)))
    return float(np.sqrt(np.mean(squared)))
