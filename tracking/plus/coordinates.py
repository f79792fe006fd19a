"""`CoordinateDefinitions` of PLUS configuration files: transforms with the error and date of a calibration.

Read strictly and without ever resolving an entity; written back by replacing one element's bytes, so that
everything else in somebody's file stays as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracking.errors import InputError, PoseError
from tracking.jsonfile import write_text
from tracking.transform import RigidTransform

# The largest configurations in use have some 100 kB.
LARGEST_BYTES = 4 << 20
DEEPEST = 64
ROOT, GROUP, ELEMENT = "PlusConfiguration", "CoordinateDefinitions", "Transform"
DATE_FORMAT = "%Y.%m.%d %X"  # as PLUS writes it
_FRAME = re.compile(r"(?:(?!To[A-Z0-9])[A-Za-z0-9_])+")
_OURS = ("From", "To", "Matrix", "Error", "Date")


@dataclass(frozen=True, slots=True, eq=False)
class CoordinateDefinition:
    """`source`To`target`: (4, 4) in mm, not necessarily rigid (an image's is scaled); error and date if told."""

    source: str
    target: str
    matrix: NDArray[np.float64]
    error_mm: float | None = None
    date: str | None = None

    @property
    def name(self) -> str:
        """Its name on the wire."""
        return f"{self.source}To{self.target}"

    def rigid(self) -> RigidTransform:
        """The same as a rigid transform. Raises InputError when it is scaled, sheared or mirrored."""
        try:
            return RigidTransform(self.target, self.source, self.matrix)
        except PoseError as error:
            raise InputError(str(error)) from None


@dataclass(slots=True)
class _Element:
    """An element in the file: bytes [start, end), attributes, line."""

    start: int
    line: int
    attributes: dict[str, str]
    end: int = 0


class _Layout:
    """Where things are in a file: the Transform elements, their group, the start of the root's end tag.

    Raises ExpatError, and InputError beginning with what follows the file's name.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.elements: list[_Element] = []
        self.group: _Element | None = None
        self.root_end = 0
        self._path: list[str] = []
        self._parser = expat.ParserCreate("utf-8")  # whatever it declares, which may be no encoding at all
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.EntityDeclHandler = self._refuse
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.Parse(data, True)

    def _refuse(self, *_: object) -> None:
        line = self._parser.CurrentLineNumber
        raise InputError(f", line {line}: document type declarations are not accepted")

    def _begin(self, name: str, attributes: dict[str, str]) -> None:
        if not self._path and name != ROOT:
            raise InputError(f": is no PLUS configuration but <{name}>")
        line = self._parser.CurrentLineNumber
        if len(self._path) >= DEEPEST:
            raise InputError(f", line {line}: nested too deeply")
        self._path.append(name)
        element = _Element(self._parser.CurrentByteIndex, line, dict(attributes))
        if self._path == [ROOT, GROUP]:
            if self.group is not None:
                raise InputError(f", line {line}: a second {GROUP}")
            self.group = element
        elif self._path == [ROOT, GROUP, ELEMENT]:
            self.elements.append(element)

    def _end(self, name: str) -> None:
        at = self._parser.CurrentByteIndex  # of the end tag, or behind an element that is its own end
        closing = self.data.startswith(f"</{name}".encode(), at)
        behind = self.data.index(b">", at) + 1 if closing else at
        if self._path == [ROOT, GROUP, ELEMENT]:
            self.elements[-1].end = behind
        elif self._path == [ROOT, GROUP] and self.group is not None:
            self.group.end = behind
        elif self._path == [ROOT]:
            self.root_end = at
            if not closing:
                raise InputError(": holds an empty PLUS configuration")
        self._path.pop()


def read_coordinate_definitions(path: Path) -> dict[str, CoordinateDefinition]:
    """All definitions in a PLUS configuration, by wire name.

    Raises InputError naming the file, the line and the element: no PLUS configuration, a document type
    declaration, a matrix that is not 16 finite numbers with last row 0 0 0 1, a name given twice.
    """
    found: dict[str, CoordinateDefinition] = {}
    for element in _layout(path).elements:
        definition = _definition(path, element)
        if definition.name in found:
            raise InputError(f"{path}, line {element.line}: {definition.name} is defined twice")
        found[definition.name] = definition
    return found


def write_coordinate_definition(
    path: Path,
    source: str,
    target: str,
    matrix: ArrayLike,
    error_mm: float | None = None,
    date: str | None = None,
) -> None:
    """Put `source`To`target` (4, 4) into an existing PLUS configuration, in place of an older one if there is.

    Everything else stays byte for byte; the file is replaced as a whole or not at all. The date defaults to
    now. Raises InputError as the reader does, and for a matrix or frame name that is none.
    """
    layout = _layout(path)
    old = [
        e for e in layout.elements if (e.attributes.get("From"), e.attributes.get("To")) == (source, target)
    ]
    if len(old) > 1:
        raise InputError(f"{path}, line {old[1].line}: {source}To{target} is defined twice")
    kept = {k: v for k, v in old[0].attributes.items() if k not in _OURS} if old else {}
    stamp = date if date is not None else datetime.now().strftime(DATE_FORMAT)
    text = _element_text(source, target, matrix, error_mm, stamp, kept)
    _definition(path, _Element(0, 0, _parsed_attributes(text)))
    write_text(path, _with_element(layout, old[0] if old else None, text).decode("utf-8"))


def _with_element(layout: _Layout, old: _Element | None, text: bytes) -> bytes:
    """The file's bytes with `text` in place of `old`, or at the end of the group, made if there is none."""
    data, group = layout.data, layout.group
    if old is not None:
        return data[: old.start] + text + data[old.end :]
    if group is not None and data[: group.end].endswith(b"/>"):
        return data[: group.end - 2] + b">\n    " + text + f"\n  </{GROUP}>".encode() + data[group.end :]
    if group is not None:
        at = data.rindex(b"</", 0, group.end)
        return data[:at] + b"  " + text + b"\n  " + data[at:]
    whole = f"  <{GROUP}>\n    ".encode() + text + f"\n  </{GROUP}>\n".encode()
    return data[: layout.root_end] + whole + data[layout.root_end :]


def _layout(path: Path) -> _Layout:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if len(data) > LARGEST_BYTES:
        raise InputError(f"{path}: more than {LARGEST_BYTES} bytes are no PLUS configuration")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text") from None
    try:
        return _Layout(data)
    except expat.ExpatError as error:
        raise InputError(f"{path}, line {error.lineno}: not XML ({expat.ErrorString(error.code)})") from None
    except InputError as error:
        raise InputError(f"{path}{error}") from None


def _definition(path: Path, element: _Element) -> CoordinateDefinition:
    where = f"{path}, line {element.line}"
    attributes = element.attributes
    source, target = (attributes.get(key, "") for key in ("From", "To"))
    for key, value in (("From", source), ("To", target)):
        if not _FRAME.fullmatch(value):
            raise InputError(f"{where}, Transform {key}={value!r}: is no name of a frame")
    where = f"{where}, {source}To{target}"
    numbers = _numbers(attributes.get("Matrix", ""), f"{where}, Matrix")
    if len(numbers) != 16:
        raise InputError(f"{where}, Matrix: has {len(numbers)} numbers, not 16")
    matrix = numbers.reshape(4, 4)
    if tuple(matrix[3]) != (0.0, 0.0, 0.0, 1.0):
        raise InputError(f"{where}, Matrix: last row is not 0 0 0 1")
    matrix.setflags(write=False)
    error = _numbers(attributes.get("Error", ""), f"{where}, Error")
    if len(error) > 1 or (error < 0).any():
        raise InputError(f"{where}, Error: {attributes['Error']!r} is no error in mm")
    return CoordinateDefinition(
        source, target, matrix, float(error[0]) if len(error) else None, attributes.get("Date")
    )


def _numbers(text: str, where: str) -> NDArray[np.float64]:
    try:
        numbers = np.array([float(word) for word in text.split()])
    except ValueError:
        raise InputError(f"{where}: {text.strip()[:40]!r} are no numbers") from None
    if not np.isfinite(numbers).all():
        raise InputError(f"{where}: a number is not finite")
    return numbers


def _element_text(
    source: str,
    target: str,
    matrix: ArrayLike,
    error_mm: float | None,
    date: str,
    kept: Mapping[str, str],
) -> bytes:
    rows = np.asarray(matrix, dtype=np.float64).reshape(-1, 4)
    numbers = "\n        ".join(" ".join(repr(float(x)) for x in row) for row in rows)
    attributes = {"From": source, "To": target, "Matrix": f"\n        {numbers}"}
    if error_mm is not None:
        attributes["Error"] = repr(float(error_mm))
    attributes = {**attributes, "Date": date, **kept}
    words = " ".join(f"{k}={_quoted(v)}" for k, v in attributes.items())
    return f"<{ELEMENT} {words} />".encode()


def _quoted(value: str) -> str:
    """A quoted attribute; line breaks are kept as they are, for whoever reads the file."""
    return quoteattr(value).replace("&#10;", "\n")


def _parsed_attributes(text: bytes) -> dict[str, str]:
    """The attributes of one element, as a reader will find them."""
    found: dict[str, str] = {}
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: found.update(attributes)
    parser.Parse(text, True)
    return found
