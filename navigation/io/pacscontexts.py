"""What may come from a PACS: storage classes and transfer syntaxes, and the contexts proposed for them.

One presentation context lets the peer choose one syntax, so that each compressed one has a context of its own
and images travel as they are stored (DICOM PS3.8 9.3.2.2; at most 128 contexts in an association).
"""

from __future__ import annotations

from collections.abc import Iterator

MOST_CONTEXTS = 128
VERIFICATION = "1.2.840.10008.1.1"
# Query and retrieve in the study root model (DICOM PS3.4 C.6.2).
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
# JPEG lossless (selection value 1), JPEG-LS lossless, JPEG 2000 lossless, RLE: those that the import decodes
# bit by bit. Deflated is left out, as a few bytes of it may hold gigabytes.
COMPRESSED = (
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.5",
)
_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Storage classes by the modality of the series that hold them: plain, enhanced, legacy converted enhanced.
CLASSES = {
    "CT": (f"{_STORAGE}2", f"{_STORAGE}2.1", f"{_STORAGE}2.2"),
    "NM": (f"{_STORAGE}20",),
    "PT": (f"{_STORAGE}128", f"{_STORAGE}130", f"{_STORAGE}128.1"),
    "MR": (f"{_STORAGE}4", f"{_STORAGE}4.1", f"{_STORAGE}4.4"),
    "RTSTRUCT": (f"{_STORAGE}481.3",),
    "SEG": (f"{_STORAGE}66.4",),
}
# Pages of doses and captures travel as series of CT or NM: taken, so that such a study is whole; not imported.
COMPANIONS = (f"{_STORAGE}7", f"{_STORAGE}7.2", f"{_STORAGE}7.3", f"{_STORAGE}7.4")
RAW_DATA = f"{_STORAGE}66"
_WITHOUT_PIXELS = (*CLASSES["RTSTRUCT"], RAW_DATA)
MODALITIES = tuple(CLASSES)


def storage_classes(modalities: tuple[str, ...] = MODALITIES) -> tuple[str, ...]:
    """Storage classes in which series of these modalities may come."""
    return (*(uid for name in modalities for uid in CLASSES[name]), *COMPANIONS, RAW_DATA)


def storage_contexts(modalities: tuple[str, ...] = MODALITIES) -> Iterator[tuple[str, tuple[str, ...]]]:
    """(storage class, transfer syntaxes) of each context to propose, uncompressed first."""
    for uid in storage_classes(modalities):
        yield uid, (EXPLICIT, IMPLICIT)
        if uid not in _WITHOUT_PIXELS:
            yield from ((uid, (syntax,)) for syntax in COMPRESSED)
