"""The camera: calibrated from rendered views of a board, its overlay against rendered balls at known places."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PyQt5.QtCore import QRectF
from PyQt5.QtGui import QImage, QPainter
from scipy.ndimage import center_of_mass

from navigation.cli.camera import command
from navigation.cli.main import run
from navigation.ui.camera.frames import Frame, IgtlFrames, open_frames
from navigation.ui.camera.model import CameraModel, read_camera, write_camera
from navigation.ui.camera.overlay import overlay_of, refusal
from navigation.ui.camera.overlayview import draw_camera
from navigation.ui.camera.solve import BoardView, calibrate, find_corners, parse_board
from navigation.ui.camera.track import CameraTrack, Video
from navigation.ui.camera.views import write_views
from navigation.ui.state import VideoState, ViewState
from tests.navigation.ui.camera_scene import (
    DISTORTION,
    MATRIX,
    SIZE,
    T_MARKER_CAMERA,
    T_REFERENCE_BOARD,
    Rays,
    balls_picture,
    board_picture,
    camera_poses,
    jittered,
    looking_at,
    pose,
)
from tests.navigation.ui.scene import FOCUS_MM, model_of, snapshot, spot
from tracking.errors import GateRefusedError, InputError
from tracking.igtl import ImageContent, Server, decode, encode, transform_message
from tracking.igtl.messages import message
from tracking.transform import invert_rigid

BOARD = parse_board("9x6", 20.0)
MIDDLE = (T_REFERENCE_BOARD @ [80.0, 50.0, 0.0, 1.0])[:3]
# A tracker's error on the camera's marker: 0.15 mm an axis and 0.05 degrees.
JITTER = (0.15, 0.05)
TRUE = CameraModel(MATRIX, DISTORTION, SIZE, T_MARKER_CAMERA, 0.1, 0.5, 15)


@pytest.fixture(scope="module")
def rays() -> Rays:
    return Rays.of()


def picture_from(rays: Rays, T_reference_camera: np.ndarray) -> np.ndarray:
    return board_picture(rays, invert_rigid(T_reference_camera) @ T_REFERENCE_BOARD, (9, 6), 20.0)


@pytest.fixture(scope="module")
def taken(rays: Rays) -> tuple[list[BoardView], list[np.ndarray]]:
    rng = np.random.default_rng(5)
    views, pictures = [], []
    for i, T in enumerate(camera_poses(rng, 16, MIDDLE)):
        picture = picture_from(rays, T)
        corners = find_corners(picture, BOARD)
        if corners is not None:
            marker = jittered(T @ invert_rigid(T_MARKER_CAMERA), rng, *JITTER)
            views.append(BoardView(corners, marker, f"view-{i:02d}.png"))
            pictures.append(picture)
    assert len(views) >= 12
    return views, pictures


@pytest.fixture(scope="module")
def camera(taken: tuple[list[BoardView], list[np.ndarray]]) -> CameraModel:
    return calibrate(taken[0], BOARD, SIZE)


def with_video(
    state: ViewState, known: CameraModel | None, marker: np.ndarray | None, **changes: object
) -> ViewState:
    pixels = np.full((SIZE[1], SIZE[0], 3), 90, dtype=np.uint8)
    video = VideoState(known, Frame(pixels, 0.0, 1), 0.05, marker, False)
    return replace(state, video=replace(video, **changes))  # type: ignore[arg-type]


def misses_px(camera: CameraModel, rays: Rays, seed: int, whole: bool = True) -> np.ndarray:
    """Distances between the overlay's middles of four foci and the balls seen in pictures from new places."""
    rng = np.random.default_rng(seed)
    balls = FOCUS_MM + np.array([[0, 0, 0], [40, 20, -10], [-50, 30, 5], [20, -40, -20.0]])
    spots = tuple(spot(i + 1, place) for i, place in enumerate(balls))
    state = model_of(snapshot(spots=spots)).state(0.05)
    found = []
    for T in camera_poses(rng, 6, FOCUS_MM):
        marker = jittered(T @ invert_rigid(T_MARKER_CAMERA), rng, *JITTER)
        shapes = overlay_of(with_video(state, camera, marker)).foci
        assert not whole or len(shapes) == len(balls)
        for shape in shapes:
            ball = balls[shape.number - 1]
            seen = balls_picture(rays, invert_rigid(T), ball[None], 4.0)
            if seen[[0, -1]].any() or seen[:, [0, -1]].any() or not seen.any():
                continue  # cut by the edge: its middle is not seen
            found.append(np.linalg.norm(np.array(center_of_mass(seen)[::-1]) - shape.middle))
    assert not whole or len(found) >= 12
    return np.array(found) if found else np.array([np.inf])


def test_overlay_lies_on_what_is_seen(camera: CameraModel, rays: Rays) -> None:
    found = misses_px(camera, rays, 3)
    assert found.mean() <= 2.0, found
    # What it says of itself is what it does, within a factor of two.
    assert 0.5 * camera.error_px < np.sqrt(np.mean(found**2)) < 2.0 * camera.error_px


@pytest.mark.parametrize("spoiled", ["lens", "hand-eye", "turned"])
def test_overlay_of_a_wrong_camera_is_off(camera: CameraModel, rays: Rays, spoiled: str) -> None:
    wrong = {
        "lens": replace(camera, distortion=-3.0 * camera.distortion),
        "hand-eye": replace(camera, T_marker_camera=invert_rigid(camera.T_marker_camera)),
        "turned": replace(camera, T_marker_camera=camera.T_marker_camera @ pose((0, 0.5, 0), (0, 0, 0))),
    }[spoiled]
    assert misses_px(wrong, rays, 3, whole=False).mean() > 2.0


def test_calibration_finds_the_true_camera(camera: CameraModel) -> None:
    assert camera.lens_rms_px < 0.2
    np.testing.assert_allclose(camera.matrix, MATRIX, rtol=0.01, atol=3.0)
    np.testing.assert_allclose(camera.T_marker_camera[:3, 3], T_MARKER_CAMERA[:3, 3], atol=3.0)
    turn = camera.T_marker_camera[:3, :3].T @ T_MARKER_CAMERA[:3, :3]
    assert np.rad2deg(np.arccos((np.trace(turn) - 1.0) / 2.0)) < 0.4


@pytest.mark.parametrize("roll", [0.0, 90.0, 180.0, 270.0])
def test_board_is_read_from_the_same_end(rays: Rays, roll: float) -> None:
    T = looking_at(MIDDLE + [30.0, -20.0, 380.0], MIDDLE, roll)
    corners = find_corners(picture_from(rays, T), BOARD)
    assert corners is not None
    places = BOARD.points_mm() @ T_REFERENCE_BOARD[:3, :3].T + T_REFERENCE_BOARD[:3, 3]
    pixels, _ = TRUE.from_reference(places, T @ invert_rigid(T_MARKER_CAMERA))
    # Seen from the side on which it is printed: rows run downwards there, its own y upwards.
    expected = pixels.reshape(6, 9, 2)[::-1].reshape(-1, 2)
    assert np.linalg.norm(corners - expected, axis=1).max() < 0.5


def test_too_little_to_calibrate_is_refused(taken: tuple[list[BoardView], list[np.ndarray]]) -> None:
    views = taken[0]
    with pytest.raises(InputError, match="at least 8"):
        calibrate(views[:7], BOARD, SIZE)
    small = [replace(v, corners_px=v.corners_px * 0.2) for v in views]
    with pytest.raises(InputError, match="a part of the picture"):
        calibrate(small, BOARD, SIZE)
    still = [
        replace(v, T_reference_marker=pose((0, 0, 6.0 * i), (10.0 * i, 0, 0))) for i, v in enumerate(views)
    ]
    with pytest.raises(InputError, match="tilt it"):
        calibrate(still, BOARD, SIZE)


def test_a_board_that_moved_is_refused(taken: tuple[list[BoardView], list[np.ndarray]]) -> None:
    views = list(taken[0])
    shift = pose((0, 0, 0), (15.0, 0, 0))
    moved = [replace(v, T_reference_marker=shift @ v.T_reference_marker) for v in views[len(views) // 2 :]]
    with pytest.raises(GateRefusedError, match="moved"):
        calibrate([*views[: len(views) // 2], *moved], BOARD, SIZE)


@pytest.mark.parametrize("text", ["9", "9x7", "2x5", "x", "ax6"])
def test_boards_that_cannot_be_told_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--board"):
        parse_board(text, 20.0)


def test_file_keeps_the_camera(tmp_path: Path) -> None:
    file = tmp_path / "camera.json"
    write_camera(file, TRUE)
    found = read_camera(file)
    assert found.size == SIZE and np.array_equal(found.T_marker_camera, T_MARKER_CAMERA)
    content = json.loads(file.read_text())
    content["error_px"] = 0.01
    file.write_text(json.dumps(content))
    with pytest.raises(GateRefusedError, match="altered"):
        read_camera(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"frame": None, "fault": "no video from x"}, "NO VIDEO FROM X"),
        ({"age_s": 0.26}, "VIDEO IS OLD"),
        ({"camera": None}, "NOT CALIBRATED"),
        ({"T_reference_marker": None}, "CAMERA NOT SEEN"),
        ({"moving": True}, "CAMERA MOVES"),
        ({"camera": replace(TRUE, size=(320, 240))}, "CALIBRATED AT 320 x 240"),
    ],
)
def test_nothing_is_drawn_into_what_cannot_be_placed(change: dict[str, object], words: str) -> None:
    marker = looking_at(FOCUS_MM + [0, 30, 380.0], FOCUS_MM, 0) @ invert_rigid(T_MARKER_CAMERA)
    state = model_of(snapshot()).state(0.05)
    good = with_video(state, TRUE, marker)
    assert refusal(good.video) == "" and overlay_of(good).foci and overlay_of(good).ray is not None
    bad = with_video(state, TRUE, marker, **change)
    assert words in refusal(bad.video)
    shapes = overlay_of(bad)
    assert not shapes.foci and shapes.ray is None and not shapes.bed


def test_old_foci_are_not_drawn(qapp: object) -> None:
    marker = looking_at(FOCUS_MM + [0, 30, 380.0], FOCUS_MM, 0) @ invert_rigid(T_MARKER_CAMERA)
    model = model_of(snapshot())
    silent = with_video(model.state(2.0), TRUE, marker)
    assert not silent.engine_alive
    shapes = overlay_of(silent)
    assert not shapes.foci and shapes.ray is None and "SILENT" in shapes.remarks[0]


def test_what_lies_behind_the_camera_is_not_drawn() -> None:
    T = looking_at(FOCUS_MM + [0, 0, -380.0], FOCUS_MM + [0, 0, -700.0], 0)
    state = with_video(model_of(snapshot()).state(0.05), TRUE, T @ invert_rigid(T_MARKER_CAMERA))
    shapes = overlay_of(state)
    assert not shapes.foci and shapes.ray is None and shapes.shaft is None


def test_pose_of_a_frame_lies_between_two(rays: Rays) -> None:
    track = CameraTrack()
    for i in range(5):
        track.take(10.0 + 0.05 * i, pose((0, 0, 0.2 * i), (1.0 * i, 0, 0)))
    found, moving = track.at(10.125)
    assert found is not None and found[0, 3] == pytest.approx(2.5) and not moving
    assert track.at(10.3)[0] is not None  # the newest, not expired
    assert track.at(10.46)[0] is None
    track.take(10.5, None)
    assert track.at(10.51)[0] is None
    track.take(10.9, pose((0, 0, 0), (0, 0, 0)))
    track.take(11.2, pose((0, 0, 0), (0, 0, 0)))
    assert track.at(11.0)[0] is None  # too far apart


def test_a_camera_that_moves_fast_is_told() -> None:
    track = CameraTrack()
    for i in range(10):
        track.take(0.05 * i, pose((0, 0, 0), (10.0 * i, 0, 0)))
    assert track.at(0.4)[1]
    turning = CameraTrack()
    for i in range(10):
        turning.take(0.05 * i, pose((0, 2.0 * i, 0), (0, 0, 0)))
    assert turning.at(0.4)[1]


def test_a_camera_that_is_lost_is_so_at_once() -> None:
    """The age of a lost tool is that of its last sight: it must not hide that it is lost."""
    frames = open_frames("opencv:none")
    model = model_of(snapshot())
    model.video = Video(frames, TRUE)
    seen = decode(
        encode(transform_message("CameraToReference", pose((0, 0, 0), (1, 2, 3)), 1.0, {"AgeMs": "20"}, 2))
    )
    lost = {"TransformValid": "0", "TransformStatus": "OUT_OF_VIEW", "AgeMs": "70"}
    gone = decode(encode(transform_message("CameraToReference", pose((0, 0, 0), (1, 2, 3)), 1.0, lost, 2)))
    model.receive(seen, 10.0)
    assert model.video.track.at(10.0)[0] is not None
    model.receive(gone, 10.05)
    assert model.video.track.at(10.03)[0] is None
    assert model.video.track.at(10.1)[0] is None


def image(pixels: np.ndarray) -> bytes:
    body = ImageContent(pixels[None], np.eye(4), (pixels.shape[1], pixels.shape[0], 1))
    return encode(message("Image_Camera", body, "IMAGE", 1.0, None, 1))


def test_frames_come_over_openigtlink(rays: Rays, camera: CameraModel, tmp_path: Path, qapp: object) -> None:
    T = looking_at(FOCUS_MM + [20.0, 60.0, 360.0], FOCUS_MM, 12.0)
    balls = balls_picture(rays, invert_rigid(T), FOCUS_MM[None], 6.0)
    pixels = np.repeat((60.0 + 0.5 * balls)[..., None], 3, axis=-1).astype(np.uint8)
    server = Server(0)
    server.start()
    frames = open_frames(f"openigtlink:127.0.0.1:{server.port}/Image_Camera")
    assert isinstance(frames, IgtlFrames)
    frames.start()
    server.publish(image(pixels), image(pixels), ("IMAGE", "Image_Camera"), True)
    model = model_of(snapshot())
    model.video = Video(frames, camera)
    end = time.monotonic() + 10.0
    while frames.newest() is None and time.monotonic() < end:
        time.sleep(0.02)
    frame = frames.newest()
    assert frame is not None and np.array_equal(frame.pixels, pixels)
    for ago in (0.1, 0.0):
        sent = transform_message("CameraToReference", T @ invert_rigid(T_MARKER_CAMERA), 1.0)
        model.receive(decode(encode(sent)), frame.arrival_s - ago)
    state = replace(model.state(frame.arrival_s + 0.05), engine_alive=True, map_fresh=True)
    state = replace(state, T_reference_probe=model_of(snapshot()).state(0.05).T_reference_probe)
    canvas = QImage(640, 508, QImage.Format.Format_RGB888)
    painter = QPainter(canvas)
    draw_camera(painter, QRectF(0, 0, 640, 508), state)
    painter.end()
    canvas.save(str(tmp_path / "camera.png"))
    shape = overlay_of(state).foci[0]
    assert np.linalg.norm(shape.middle - center_of_mass(balls)[::-1]) < 3.0
    # The outline goes round the ball and is painted: bright where it runs, the ball unhidden in its middle.
    on = [canvas.pixelColor(round(x), round(y) + 28).lightness() for x, y in shape.outline + 0.5]
    assert np.mean(np.array(on) > 150) > 0.7
    frames.stop()
    server.stop()


def test_what_is_no_video_is_told() -> None:
    server = Server(0)
    server.start()
    frames = open_frames(f"openigtlink:127.0.0.1:{server.port}")
    frames.start()
    volume = ImageContent(np.zeros((4, 5, 6), dtype=np.float32), np.eye(4), (6, 5, 4))
    raw = encode(message("Activity_Reference", volume, "IMAGE", 1.0, None, 1))
    server.publish(raw, raw, ("IMAGE", "Activity_Reference"), True)
    end = time.monotonic() + 10.0
    while "is no video" not in frames.fault and time.monotonic() < end:
        time.sleep(0.02)
    assert "Activity_Reference" in frames.fault and frames.newest() is None
    frames.stop()
    server.stop()


def test_a_file_is_a_camera(tmp_path: Path) -> None:
    import cv2

    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 48))
    for _ in range(5):
        writer.write(np.dstack([np.full((48, 64), v, dtype=np.uint8) for v in (10, 20, 200)]))
    writer.release()
    frames = open_frames(f"opencv:{film}")
    frames.start()
    end = time.monotonic() + 10.0
    while frames.newest() is None and time.monotonic() < end:
        time.sleep(0.02)
    frames.stop()
    found = frames.newest()
    assert found is not None and found.size == (64, 48)
    assert abs(int(found.pixels[20, 20, 0]) - 200) < 12  # red first


@pytest.mark.parametrize("text", ["", "opencv:", "openigtlink:x", "openigtlink:127.0.0.1:0", "usb:0"])
def test_unknown_video_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="video"):
        open_frames(text)


def test_command_calibrates_a_folder(
    taken: tuple[list[BoardView], list[np.ndarray]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views, pictures = taken
    folder, out = tmp_path / "views", tmp_path / "camera.json"
    folder.mkdir()
    blank = BoardView(views[0].corners_px, views[0].T_reference_marker, "blank.png")
    write_views(folder, [*pictures, np.full_like(pictures[0], 128)], [*views, blank])
    words = ["calibrate", "camera", str(folder), "--square-mm", "20", "--out", str(out)]
    assert run(words) == 0
    told = capsys.readouterr()
    assert "blank.png: left out" in told.err and f"{len(views)} views" in told.out
    assert read_camera(out).error_px < 2.5
    assert run(words) == 2  # it is there already
    assert run(["calibrate", "camera", "--square-mm", "20", "--out", str(tmp_path / "b.json")]) == 2
    (folder / "views.csv").write_text("picture,m00\nx.png,1\n")
    assert run([*words, "--force"]) == 2
    assert "row 2" in capsys.readouterr().err


def test_command_takes_views_live(rays: Rays, tmp_path: Path) -> None:
    """A hand that goes from rest to rest; pictures and poses come from two servers."""
    import threading

    rng = np.random.default_rng(9)
    stops = [(T, picture_from(rays, T)) for T in camera_poses(rng, 12, MIDDLE)]
    stops = [(T, p) for T, p in stops if find_corners(p, BOARD) is not None]
    video, tracker, ended = Server(0), Server(0), threading.Event()
    video.start()
    tracker.start()

    def move() -> None:
        number = 0
        while not ended.is_set():
            T, picture = stops[(number // 40) % len(stops)]
            marker = T @ invert_rigid(T_MARKER_CAMERA)
            if number % 40 < 4:
                marker = marker @ pose((0, 0, 0), (5.0 * (4 - number % 40), 0, 0))  # on its way
            sent = encode(transform_message("CameraToReference", marker, 1.0))
            tracker.publish(sent, sent, ("TRANSFORM", "CameraToReference"), True)
            if number % 4 == 0:
                video.publish(image(picture), image(picture), ("IMAGE", "Image_Camera"), True)
            number += 1
            ended.wait(0.04)

    thread = threading.Thread(target=move)
    thread.start()
    out = tmp_path / "camera.json"
    words = ["--video", f"openigtlink:127.0.0.1:{video.port}", "--live", f"127.0.0.1:{tracker.port}"]
    result = CliRunner().invoke(
        command,
        [*words, "--square-mm", "20", "--wanted", "8", "--seconds", "60", "--out", str(out)],
        standalone_mode=False,
    )
    ended.set()
    thread.join()
    video.stop()
    tracker.stop()
    assert result.exception is None, result.exception
    assert read_camera(out).error_px < 1.0  # no jitter here
    assert (tmp_path / "camera-views" / "views.csv").is_file()
