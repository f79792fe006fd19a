"""The field as it lies in the patient, rendered by VTK without a window: skin, bones, foci, probe and its way.

Parallel projection, everything in Reference millimetres; what is drawn is one ViewState. `python -m
navigation.ui.scene3d` renders one picture and ends with 0 where OpenGL works: a driver that crashes takes that process
with it and not the window.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import vtkmodules.vtkRenderingOpenGL2  # noqa: F401 - registers the renderer
from numpy.typing import NDArray
from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray, vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkPoints
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
from vtkmodules.vtkCommonMath import vtkMatrix4x4
from vtkmodules.vtkFiltersSources import vtkConeSource, vtkCylinderSource, vtkLineSource, vtkSphereSource
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from navigation.ui.state import ViewState
from navigation.windowsettings import PROBES, ProbeShape
from tracking.errors import InputError
from tracking.transform import invert_rigid

if TYPE_CHECKING:
    from navigation.anatomy.skin import Mesh

Array = NDArray[np.float64]
Picture = NDArray[np.uint8]

# Half of what is seen on the shorter side: a field and a hand's breadth round it.
HALF_MM = 90.0
# 95 % of a focus's place lies within this many standard deviations: sqrt(7.815), chi2 of three.
REGION_SD = 2.795
LEAST_RADIUS_MM = 3.0
# The cone of view is drawn so far: half of what a collimated probe counts comes from within its angle.
CONE_MM = 40.0
# The markers sit about so far behind the face; the line to the tracker is drawn for so long.
MARKER_MM, SIGHT_MM = 90.0, 400.0
SIGHT, SIGHT_OPACITY = (0.66, 0.70, 0.75), 0.6
SKIN, BONE, FOCUS, CHOSEN = (0.78, 0.62, 0.55), (0.93, 0.90, 0.80), (0.95, 0.95, 0.97), (1.0, 0.71, 0.33)
PROBE, WAY = (0.50, 0.83, 1.0), (1.0, 0.71, 0.33)
BACKGROUND = (16 / 255, 19 / 255, 23 / 255)
SKIN_OPACITY, CONE_OPACITY = 0.28, 0.18
MOST_TRIANGLES = 30_000
RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# A driver that has not rendered one picture by then never will.
TRY_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Anatomy:
    """Points (n, 3) in the study's LPS mm and triangles (m, 3) of skin and bones; None where there is none."""

    skin: tuple[Array, NDArray[np.int64]] | None
    bones: tuple[Array, NDArray[np.int64]] | None


@dataclass(frozen=True, slots=True)
class Turn:
    """From where one looks: degrees round the patient's long axis from the front, to the left; and from above."""

    azimuth_deg: float = 35.0
    elevation_deg: float = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """The middle of the picture (3,) in Reference, and unit directions (3,) right, down and into the picture."""

    middle_mm: Array
    right: Array
    down: Array
    into: Array

    def pixel(self, place_mm: Array, size: tuple[int, int]) -> tuple[float, float]:
        """Where a place (3,) falls in a picture of width x height pixels."""
        scale = min(size) / (2.0 * HALF_MM)
        offset = place_mm - self.middle_mm
        return (
            size[0] / 2.0 + float(offset @ self.right) * scale,
            size[1] / 2.0 + float(offset @ self.down) * scale,
        )


def opengl_works() -> bool:
    """Whether a picture can be rendered here, tried in a process of its own."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "navigation.ui.scene3d"], capture_output=True, timeout=TRY_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def anatomy_of(folder: Path) -> Anatomy:
    """Skin and bones of a study folder's CT; takes seconds. What the CT does not show is None. Raises InputError."""
    from navigation.anatomy.bones import bone_surface, bones_of
    from navigation.anatomy.skin import skin_surface
    from navigation.io.study import load_study

    ct = load_study(folder).ct
    if ct is None or not ct.usable:
        return Anatomy(None, None)
    volume = ct.volume()
    return Anatomy(
        _made(lambda: skin_surface(volume, ct.grid, MOST_TRIANGLES)),
        _made(lambda: bone_surface(bones_of(volume, ct.grid), MOST_TRIANGLES)),
    )


def _made(make: Callable[[], Mesh]) -> tuple[Array, NDArray[np.int64]] | None:
    """None of what the CT does not show."""
    try:
        mesh = make()
    except InputError:
        return None
    return np.asarray(mesh.points_mm), np.asarray(mesh.triangles, dtype=np.int64)


def camera_of(state: ViewState, turn: Turn) -> Camera | None:
    """Towards what is gone for, else the probe; as the patient lies where that is known, else as Reference does."""
    pose = state.T_reference_probe if state.T_reference_probe is not None else state.last_T_reference_probe
    if state.target is not None:
        middle = state.target.spot.position_mm
    elif pose is not None:
        middle = pose[:3, 3]
    else:
        return None
    ras = np.eye(3) if state.T_ras_reference is None else state.T_ras_reference[:3, :3]
    a, e = np.deg2rad(turn.azimuth_deg), np.deg2rad(turn.elevation_deg)
    # In RAS: the eye stands in front of the patient, turned to their left (-x) and raised to the head.
    eye = np.array([-np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), np.sin(e)])
    into = ras.T @ -eye
    up = ras.T @ np.array([0.0, 0.0, 1.0])
    right = np.cross(into, up)
    right /= np.linalg.norm(right)
    return Camera(np.array(middle), right, np.cross(into, right), into)


class Scene3D:
    """Renders states; belongs to the thread that made it."""

    def __init__(self, shape: ProbeShape = PROBES["handheld"]) -> None:
        self._shape = shape
        self._renderer = vtkRenderer()
        self._renderer.SetBackground(*BACKGROUND)
        self._window = vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._body: list[vtkActor] = []
        self._moving: list[vtkActor] = []
        self._anatomy: Anatomy | None = None

    def show_anatomy(self, anatomy: Anatomy) -> None:
        """Take skin and bones."""
        if anatomy is self._anatomy:
            return
        self._anatomy = anatomy
        for actor in self._body:
            self._renderer.RemoveActor(actor)
        self._body = []
        for mesh, colour, opacity in ((anatomy.bones, BONE, 1.0), (anatomy.skin, SKIN, SKIN_OPACITY)):
            if mesh is not None and len(mesh[1]):
                self._body.append(_actor(_mesh(*mesh), colour, opacity))
                self._renderer.AddActor(self._body[-1])

    def render(self, state: ViewState, camera: Camera, size: tuple[int, int]) -> Picture:
        """RGB (height, width, 3). What has expired is not drawn: foci and way only while the state is live."""
        self._place_body(state)
        for actor in self._moving:
            self._renderer.RemoveActor(actor)
        self._moving = [*_foci(state), *_probe(state, self._shape), *_sight(state)]
        for actor in self._moving:
            self._renderer.AddActor(actor)
        self._look(camera, HALF_MM * size[1] / min(size))
        self._window.SetSize(*size)
        self._window.Render()
        grab = vtkWindowToImageFilter()
        grab.SetInput(self._window)
        grab.SetInputBufferTypeToRGB()
        grab.ReadFrontBufferOff()
        grab.Update()
        image = grab.GetOutput()
        width, height, _ = image.GetDimensions()
        pixels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, 3)
        return np.ascontiguousarray(pixels[::-1])

    def _place_body(self, state: ViewState) -> None:
        """Skin and bones lie where the registration says; without one they are not shown."""
        T = state.T_ras_reference
        for actor in self._body:
            actor.SetVisibility(T is not None)
            if T is not None:
                actor.SetUserMatrix(_matrix(invert_rigid(RAS_FROM_LPS @ T)))

    def _look(self, camera: Camera, half_height_mm: float) -> None:
        eye = self._renderer.GetActiveCamera()
        eye.ParallelProjectionOn()
        eye.SetParallelScale(half_height_mm)
        eye.SetFocalPoint(*camera.middle_mm)
        eye.SetPosition(*(camera.middle_mm - 500.0 * camera.into))
        eye.SetViewUp(*(-camera.down))
        self._renderer.ResetCameraClippingRange()


def _foci(state: ViewState) -> list[vtkActor]:
    if not state.live:
        return []
    chosen = None if state.target is None else state.target.spot.id
    found = []
    for spot in state.spots:
        values, vectors = np.linalg.eigh(spot.covariance_mm2)
        radii = np.maximum(REGION_SD * np.sqrt(np.maximum(values, 0.0)), LEAST_RADIUS_MM)
        T = np.eye(4)
        T[:3, :3], T[:3, 3] = vectors * radii, spot.position_mm
        ball = vtkSphereSource()
        ball.SetRadius(1.0)
        ball.SetThetaResolution(24)
        ball.SetPhiResolution(16)
        ball.Update()
        actor = _actor(ball.GetOutput(), CHOSEN if spot.id == chosen else FOCUS, 1.0)
        actor.SetUserMatrix(_matrix(T))
        found.append(actor)
    return found


def _sight(state: ViewState) -> list[vtkActor]:
    """From the probe's shaft towards the tracker: what a hand or a lamp must not come between."""
    pose, tracker = state.T_reference_probe, state.T_reference_tracker
    if pose is None or tracker is None:
        return []
    start = pose[:3, 3] - MARKER_MM * pose[:3, 2]
    way = tracker[:3, 3] - start
    sight = vtkLineSource()
    sight.SetPoint1(*start)
    sight.SetPoint2(*(start + way * min(1.0, SIGHT_MM / max(float(np.linalg.norm(way)), 1e-9))))
    sight.Update()
    line = _actor(sight.GetOutput(), SIGHT, SIGHT_OPACITY)
    line.GetProperty().SetLineWidth(2.0)
    return [line]


def _probe(state: ViewState, shape: ProbeShape) -> list[vtkActor]:
    """Shaft, cone of view, and the way to what is gone for; of a probe that is not seen nothing."""
    pose = state.T_reference_probe
    if pose is None:
        return []
    shaft = vtkCylinderSource()
    shaft.SetRadius(shape.diameter_mm / 2.0)
    shaft.SetHeight(shape.length_mm)
    shaft.SetResolution(24)
    shaft.SetCenter(0.0, -shape.length_mm / 2.0, 0.0)  # VTK's cylinder lies along y
    shaft.Update()
    along = np.eye(4)
    along[:3, :3] = np.column_stack([pose[:3, 0], pose[:3, 2], -pose[:3, 1]])
    along[:3, 3] = pose[:3, 3]
    body = _actor(shaft.GetOutput(), PROBE, 1.0)
    body.SetUserMatrix(_matrix(along))
    cone = vtkConeSource()
    cone.SetHeight(CONE_MM)
    cone.SetRadius(CONE_MM * float(np.tan(np.deg2rad(shape.cone_deg))))
    cone.SetResolution(24)
    cone.SetDirection(*(-pose[:3, 2]))
    cone.SetCenter(*(pose[:3, 3] + 0.5 * CONE_MM * pose[:3, 2]))
    cone.Update()
    found = [body, _actor(cone.GetOutput(), PROBE, CONE_OPACITY)]
    if state.live and state.target is not None and state.target.distance_mm is not None:
        way = vtkLineSource()
        way.SetPoint1(*pose[:3, 3])
        way.SetPoint2(*state.target.spot.position_mm)
        way.Update()
        line = _actor(way.GetOutput(), WAY, 1.0)
        line.GetProperty().SetLineWidth(4.0)
        found.append(line)
    return found


def _actor(data: vtkPolyData, colour: tuple[float, float, float], opacity: float) -> vtkActor:
    mapper = vtkPolyDataMapper()
    mapper.SetInputData(data)
    actor = vtkActor()
    actor.SetMapper(mapper)
    actor.GetProperty().SetColor(*colour)
    actor.GetProperty().SetOpacity(opacity)
    return actor


def _mesh(points: Array, triangles: NDArray[np.int64]) -> vtkPolyData:
    places = vtkPoints()
    places.SetData(numpy_to_vtk(np.ascontiguousarray(points, dtype=np.float32), deep=1))
    cells = vtkCellArray()
    rows = np.column_stack([np.full(len(triangles), 3, dtype=np.int64), triangles]).ravel()
    cells.ImportLegacyFormat(numpy_to_vtkIdTypeArray(np.ascontiguousarray(rows), deep=1))
    data = vtkPolyData()
    data.SetPoints(places)
    data.SetPolys(cells)
    return data


def _matrix(T: Array) -> vtkMatrix4x4:
    found = vtkMatrix4x4()
    for i in range(4):
        for j in range(4):
            found.SetElement(i, j, float(T[i, j]))
    return found


def _try() -> None:
    """One picture of a ball: it has to be seen."""
    scene = Scene3D()
    ball = vtkSphereSource()
    ball.SetRadius(30.0)
    ball.Update()
    scene._renderer.AddActor(_actor(ball.GetOutput(), FOCUS, 1.0))
    axes = np.diag([1.0, -1.0, -1.0])
    scene._look(Camera(np.zeros(3), *axes), HALF_MM)
    scene._window.SetSize(64, 64)
    scene._window.Render()
    grab = vtkWindowToImageFilter()
    grab.SetInput(scene._window)
    grab.Update()
    seen = vtk_to_numpy(grab.GetOutput().GetPointData().GetScalars()).max()
    sys.exit(0 if seen > 100 else 1)


if __name__ == "__main__":
    _try()
