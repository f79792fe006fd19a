"""A PACS made of pynetdicom that answers as a test wants it to, well or badly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from navigation.io.pacscontexts import CLASSES, FIND, GET, VERIFICATION

TITLE = "PEER"
STUDY, SERIES, OTHER = "1.2.3", "1.2.3.1", "1.2.4"
PENDING, SUCCESS = 0xFF00, 0x0000
CT = CLASSES["CT"][0]
# A class that is stored nowhere here: a sub-operation that must fail at the peer.
WAVEFORM = "1.2.840.10008.5.1.4.1.1.9.1.1"


def image(instance: str, series: str = SERIES, study: str = STUDY, sop_class: str = CT) -> Dataset:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class, instance
    ds.Modality, ds.PatientID = "CT", "P1"
    put(ds, "StudyInstanceUID", study)
    put(ds, "SeriesInstanceUID", series)
    ds.Rows, ds.Columns, ds.BitsAllocated = 64, 64, 16
    ds.PixelData = bytes(2 * 64 * 64)
    return ds


def entry(**values: Any) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        put(ds, keyword, value)
    return ds


def put(ds: Dataset, keyword: str, value: Any) -> None:
    """Set an element, allowed or not."""
    tag = Tag(keyword)
    ds[tag] = DataElement(tag, dictionary_VR(tag), value, validation_mode=IGNORE)


def series_entry(count: int | None, series: str = SERIES) -> Dataset:
    ds = entry(StudyInstanceUID=STUDY, SeriesInstanceUID=series, Modality="CT", SeriesNumber="7")
    if count is not None:
        ds.NumberOfSeriesRelatedInstances = count
    return ds


def finding(*found: Dataset) -> Any:
    """A handler of C-FIND that gives these answers whatever is asked."""

    def handle(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for ds in found:
            yield PENDING, ds

    return evt.EVT_C_FIND, handle


def getting(images: Sequence[Dataset], promised: int | None = None) -> Any:
    """A handler of C-GET that sends these images and says before that it sends `promised`."""

    def handle(event: evt.Event) -> Iterator[Any]:
        yield len(images) if promised is None else promised
        for ds in images:
            yield PENDING, ds

    return evt.EVT_C_GET, handle


@contextmanager
def served(*handlers: Any, roles: bool = True, tls: Any = None) -> Iterator[int]:
    """The port of a PACS with these handlers; without `roles` it sends nothing."""
    entity = AE(ae_title=TITLE)
    entity.require_called_aet = True
    entity.network_timeout = entity.acse_timeout = entity.dimse_timeout = 20.0
    for uid in (VERIFICATION, FIND, GET):
        entity.add_supported_context(uid)
    entity.add_supported_context(CT, scu_role=roles, scp_role=roles)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=list(handlers), ssl_context=tls)
    assert server is not None
    try:
        yield int(server.socket.getsockname()[1])
    finally:
        server.shutdown()
