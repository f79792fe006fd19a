"""The report's PDF as an Encapsulated PDF object (DICOM PS3.3 A.45.1), word for word the file that people read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from navigation.dicomresults import codes
from navigation.dicomresults.common import SIMULATION, UNSETTLED, Context, settle

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def encapsulated_pdf(pdf: bytes, context: Context) -> Dataset:
    """The object that holds these bytes."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = UID(ENCAPSULATED_PDF)
    ds.SOPClassUID, ds.SOPInstanceUID = UID(ENCAPSULATED_PDF), UID(UNSETTLED)
    ds.Modality, ds.ConversionType, ds.InstanceNumber = "DOC", "WSD", 1
    ds.Manufacturer, ds.ManufacturerModelName = context.maker, "gammanav"
    ds.SoftwareVersions = context.version
    # Its pages name the case and those who took part; the patient's name and number never stand in them.
    ds.BurnedInAnnotation = "NO"
    title = "Gamma probe navigation: scan report"
    ds.DocumentTitle = f"{SIMULATION} {title}" if context.simulated else title
    ds.ConceptNameCodeSequence = [codes.dcm("121144", "Document Title")]
    ds.MIMETypeOfEncapsulatedDocument = "application/pdf"
    ds.AcquisitionDateTime = ""
    ds.EncapsulatedDocumentLength = len(pdf)
    ds.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return settle(ds, context, "report", context.description("report"))
