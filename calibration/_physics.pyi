from typing import Annotated

import numpy
from numpy.typing import NDArray


def collimated(bore: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], x: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], y: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], weight: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], depth: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], depth_weight: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], r: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)], z: Annotated[NDArray[numpy.float64], dict(shape=(None,), order='C', device='cpu', writable=False)]) -> Annotated[NDArray[numpy.float64], dict(shape=(None,))]:
    """
    Mean over the crystal of visibility / distance^2 (n,), 1/mm2, of points at r, z (n,) before the face.

    bore (7,): aperture, crystal radius, recess (mm), rim (1/mm), thickness (mm), stopping (1/mm), wall (mm);
    x, y, weight (k,) over the crystal's disc; depth, depth_weight (m,) as shares of its thickness.
    """
