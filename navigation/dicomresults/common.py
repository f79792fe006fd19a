"""What all objects share: the patient and study they belong to, how they are described, dates and UIDs.

An object's UID is derived from its content, so that the same results give the same object, and others never do.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from navigation.dicomresults import codes
from navigation.dicomresults.identity import Identity
from navigation.dicomresults.place import Placement, apart
from navigation.dicomresults.uids import derived_uid

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAKER = "gammanav"
SIMULATION = "SIMULATION"
OFFSET = "TimezoneOffsetFromUTC"
# Stands where the standard wants a date and none may be told; nobody takes it for the day of an operation.
NO_DATE, NO_TIME = "19000101", "000000"
# An object is built under this UID; `settle` puts the derived one in its place.
UNSETTLED = "2.25.0"
# VR LO holds 64 characters (DICOM PS3.5 6.2).
LONGEST_LINE = 64
# What of a scan's name a description has room for.
LONGEST_NAME = 10
# Numbers of our series, beyond those that a scanner gives; those of the n-th scan lie 10 n higher.
SERIES_NUMBERS = {"activity": 9001, "mda": 9002, "regions": 9003, "findings": 9004, "report": 9005}
PET_IMAGE = "1.2.840.10008.5.1.4.1.1.128"
METHOD = ("gammanav: written without identity", "pseudonym from a salted hash; frame of reference kept")


@dataclass(frozen=True, slots=True, eq=False)
class Context:
    """One case: whose it is, where it lies, whether it is a simulation, and when it was measured (Unix s).

    Scans named in `elsewhere` lie in frames of their own: see `at`.
    """

    identity: Identity
    place: Placement
    simulated: bool
    version: str
    measured_s: float | None = None
    elsewhere: frozenset[str] = frozenset()

    def at(self, scan: str) -> Context:
        """The same for one scan, which may have been made before the reference moved."""
        if scan not in self.elsewhere:
            return self
        return replace(self, place=apart(self.identity.key, scan))

    @property
    def maker(self) -> str:
        """Manufacturer as the objects name it."""
        return f"{MAKER} {SIMULATION}" if self.simulated else MAKER

    def description(self, what: str, scan: str = "") -> str:
        """Series description: what it is, of which scan, and the warnings that belong to it."""
        name = self.identity.text(scan)[:LONGEST_NAME].replace("-", " ")
        words = f"{what} {name}".strip()
        parts = [words, *([] if self.place.registered else ["NOT REGISTERED"]), "research use"]
        line = ", ".join(parts)
        return f"{SIMULATION} {line}" if self.simulated else line

    @property
    def moment(self) -> tuple[str, str]:
        """Date and time of the content in the study's time zone, else in this machine's; none where not identified."""
        if self.identity.deidentified or self.measured_s is None:
            return NO_DATE, NO_TIME
        told = re.fullmatch(r"([+-])(0\d|1[0-4])([0-5]\d)", dict(self.identity.study).get(OFFSET, ""))
        zone = None
        if told is not None:
            ahead = timedelta(hours=int(told[2]), minutes=int(told[3]))
            zone = timezone(ahead if told[1] == "+" else -ahead)
        at = datetime.fromtimestamp(self.measured_s, zone)
        return f"{at:%Y%m%d}", f"{at:%H%M%S}"


def template(context: Context) -> Dataset:
    """An image that the libraries take patient, study and frame from; no object refers to it."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = UID(PET_IMAGE), UNSETTLED
    ds.SeriesInstanceUID, ds.Modality = UNSETTLED, "OT"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = context.place.frame_uid, ""
    ds.Rows = ds.Columns = 1
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.PixelSpacing, ds.SliceThickness = [1, 1], 1
    _put_identity(ds, context)
    return ds


def _put_identity(ds: Dataset, context: Context) -> None:
    """Patient and study modules; what is not known is empty."""
    who = context.identity
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = who.patient_name, who.patient_id, who.birth_date
    ds.PatientSex, ds.StudyInstanceUID, ds.StudyDate, ds.StudyTime = "", who.study_uid, who.study_date, ""
    ds.StudyID, ds.AccessionNumber, ds.ReferringPhysicianName = "", "", ""
    for keyword, value in who.study:
        if value or keyword != OFFSET:
            setattr(ds, keyword, value)


def equipment(context: Context) -> dict[str, Any]:
    """Equipment as the libraries' constructors take it."""
    return {
        "manufacturer": context.maker,
        "manufacturer_model_name": MAKER,
        "software_versions": context.version,
        "device_serial_number": "none",
    }


def settle(ds: Dataset, context: Context, kind: str, description: str, scan: int = 0) -> Dataset:
    """Give a finished object its descriptions, dates and UIDs; returns it.

    Raises ValueError for a description that is too long.
    """
    if len(description) > LONGEST_LINE:
        raise ValueError(f"{description!r} is longer than {LONGEST_LINE} characters")
    ds.SeriesDescription, ds.SeriesNumber = description, SERIES_NUMBERS[kind] + 10 * scan
    _put_identity(ds, context)
    _put_moment(ds, context)
    _put_provenance(ds, context)
    _leave_out_template(ds)
    uid = derived_uid(kind, encoded(ds))
    _replace_uids(ds, uid)
    return ds


def _put_moment(ds: Dataset, context: Context) -> None:
    """One moment, that of the measurement: when the files were written is no property of the results."""
    ds.ContentDate, ds.ContentTime = context.moment
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in ds:
            delattr(ds, keyword)
    for item in ds.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            del item.ContributionDateTime


def _put_provenance(ds: Dataset, context: Context) -> None:
    ds.CodingSchemeIdentificationSequence = codes.scheme_items()
    worded = "ContentSequence" in ds or "EncapsulatedDocument" in ds
    if context.identity.deidentified:
        ds.PatientIdentityRemoved = "YES"
        ds.DeidentificationMethod = list(METHOD)
        if not worded:  # sentences name calibrations, and those their days
            ds.LongitudinalTemporalInformationModified = "REMOVED"
    if context.simulated:
        ds.QualityControlSubject = "YES"


def _leave_out_template(ds: Dataset) -> None:
    """Strike every reference to the image that never was."""

    def unreal(item: Dataset) -> bool:
        return UNSETTLED in (item.get("ReferencedSOPInstanceUID"), item.get("SeriesInstanceUID"))

    for keyword in ("SourceImageSequence", "ReferencedSeriesSequence"):
        if keyword in ds:
            setattr(ds, keyword, [item for item in ds[keyword].value if not unreal(item)])
            if not ds[keyword].value:
                delattr(ds, keyword)
    for frame in ds.get("PerFrameFunctionalGroupsSequence", ()):
        if "DerivationImageSequence" in frame and not frame.DerivationImageSequence:
            del frame.DerivationImageSequence


def _replace_uids(ds: Dataset, uid: str) -> None:
    from pydicom.uid import UID

    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(uid)
    ds.SeriesInstanceUID = derived_uid("series", uid)
    dimensions = derived_uid("dimensions", uid)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in ds.get(keyword, ()):
            item.DimensionOrganizationUID = dimensions


def encoded(ds: Dataset) -> bytes:
    """The object as a DICOM file, its random UIDs levelled where it is not settled yet."""
    if ds.SOPInstanceUID == UNSETTLED:
        _level(ds)
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _level(ds: Dataset) -> None:
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in ds.get(keyword, ()):
            item.DimensionOrganizationUID = UNSETTLED
