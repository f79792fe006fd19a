"""Every error the project raises on purpose, and what it means to the user.

::

    GammanavError
    ├── InputError (ValueError)         a file, option or value from outside is wrong: exit 2
    │   └── DamagedRecordError          rows of a record are not what was written (`tracking.recording`)
    ├── SurroundingsError (OSError)     port in use, peer gone, no display, disk full: exit 2
    ├── GateRefusedError                a quality gate refuses the use of a result: exit 3
    ├── FrameMismatchError (ValueError) two transforms do not meet in the same frame: our fault, exit 1
    ├── PoseError (ValueError)          a matrix is no rigid transform
    ├── TransformTimeError (LookupError)
    │   ├── NotYetError                 the pose is not there yet; waiting helps
    │   └── GoneError                   the pose will never be there; waiting does not help
    └── WireError (ValueError)          an OpenIGTLink message that cannot be trusted
"""

from __future__ import annotations


class GammanavError(Exception):
    """Base of all errors raised on purpose."""


class InputError(GammanavError, ValueError):
    """Bad input from outside: the message names file, row or tag in one line (exit 2)."""


class SurroundingsError(GammanavError, OSError):
    """The surroundings do not allow it: port in use, peer gone, no display, full disk (exit 2)."""


class GateRefusedError(GammanavError):
    """A quality gate refuses the use of a result; the result says why (exit 3)."""


class FrameMismatchError(GammanavError, ValueError):
    """Transforms that do not share the frame in between were chained."""


class PoseError(GammanavError, ValueError):
    """The matrix is not a proper rigid transform (not finite, scaled, sheared, mirrored)."""


class TransformTimeError(GammanavError, LookupError):
    """No valid pose at the time asked for."""


class NotYetError(TransformTimeError):
    """Newer poses are needed and may still arrive."""


class GoneError(TransformTimeError):
    """The time lies in a gap or before the first pose: it will never be known."""


class WireError(GammanavError, ValueError):
    """A message is malformed, too large or fails its CRC."""
