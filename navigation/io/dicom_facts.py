"""Facts of a DICOM image beside its geometry: corrections, tracer, side, and how its values were packed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from navigation.io.dicom_times import Times, times_of

_SIMULATION = "SIMULATION"
# Transfer syntaxes that may lose something: JPEG baseline and extended, near-lossless JPEG-LS, JPEG 2000, HTJ2K.
_LOSSY_SYNTAXES = tuple(f"1.2.840.10008.1.2.4.{n}" for n in ("50", "51", "81", "91", "203"))
# Philips keeps the way from counts to activity in a private group: its name, and the factor in Bq/mL per count.
_PHILIPS, _PHILIPS_GROUP, _PHILIPS_BQML = "Philips PET Private Group", 0x7053, 0x09


@dataclass(frozen=True, slots=True)
class Facts:
    """What a reader of the values has to know; None where the header does not say.

    `decay_correction` is DICOM's START, ADMIN or NONE; DECY where only the fact of a correction is stated.
    `bqml_per_count` is a maker's own scale of counts; `laterality` L, R, B or U.
    """

    decay_correction: str | None
    corrections: tuple[str, ...]
    suv_type: str | None
    nuclide: str | None
    injected_mbq: float | None
    half_life_s: float | None
    weight_kg: float | None
    bqml_per_count: float | None
    laterality: str | None
    lossy: bool
    simulated: bool
    times: Times

    @property
    def injection_to_acquisition_s(self) -> float | None:
        """Seconds from the injection to the acquisition of this file."""
        started = self.times.acquired_s if self.times.acquired_s is not None else self.times.series_s
        if started is None or self.times.injected_s is None:
            return None
        return started - self.times.injected_s

    def as_json(self) -> dict[str, Any]:
        """Keys of a series in study.json."""
        return {
            "decay_correction": self.decay_correction,
            "corrections": list(self.corrections),
            "suv_type": self.suv_type,
            "radiopharmaceutical": {
                "nuclide": self.nuclide,
                "injected_mbq": self.injected_mbq,
                "half_life_s": self.half_life_s,
                "injection_to_acquisition_s": self.injection_to_acquisition_s,
            },
            "weight_kg": self.weight_kg,
            "bqml_per_count": self.bqml_per_count,
            "laterality": self.laterality,
            "lossy_compression": self.lossy,
            "simulated": self.simulated,
        }


def facts_of(ds: Dataset) -> Facts:
    """Corrections and tracer of a file."""
    corrected = ds.get("CorrectedImage")
    corrections = (corrected,) if isinstance(corrected, str) else tuple(str(v) for v in corrected or ())
    decay = str(ds.get("DecayCorrection", "") or "") or ("DECY" if "DECY" in corrections else None)
    items = ds.get("RadiopharmaceuticalInformationSequence")
    tracer = items[0] if items else Dataset()
    codes = tracer.get("RadionuclideCodeSequence")
    makers = (str(ds.get(name, "") or "") for name in ("Manufacturer", "InstitutionName"))
    return Facts(
        decay_correction=decay,
        corrections=corrections,
        suv_type=str(ds.get("SUVType", "") or "") or None,
        nuclide=_code(codes[0]) if codes else None,
        injected_mbq=_injected_mbq(ds, tracer),
        half_life_s=_positive(tracer, "RadionuclideHalfLife"),
        weight_kg=_positive(ds, "PatientWeight"),
        bqml_per_count=_bqml_per_count(ds),
        laterality=_laterality(ds),
        lossy=_lossy(ds),
        simulated=any(_SIMULATION in text for text in makers),
        times=times_of(ds),
    )


def _positive(ds: Dataset, name: str) -> float | None:
    """A number above zero: zero is how scanners write "not entered"."""
    value = ds.get(name)
    if value is None or value == "" or not float(value) > 0.0:
        return None
    return float(value)


def _injected_mbq(ds: Dataset, tracer: Dataset) -> float | None:
    """PET states becquerel, NM megabecquerel."""
    dose = _positive(tracer, "RadionuclideTotalDose")
    return None if dose is None else dose / 1e6 if str(ds.get("Modality")) == "PT" else dose


def _code(item: Dataset) -> str | None:
    """The nuclide in words, or else by its code."""
    return str(item.get("CodeMeaning", "") or "") or str(item.get("CodeValue", "") or "") or None


def _laterality(ds: Dataset) -> str | None:
    """The side a paired part was imaged on, if that is stated in DICOM's own letters."""
    value = str(ds.get("ImageLaterality", "") or ds.get("Laterality", "") or "").strip().upper()
    return value if value in ("L", "R", "B", "U") else None


def _lossy(ds: Dataset) -> bool:
    meta = getattr(ds, "file_meta", None) or Dataset()
    syntax = str(meta.get("TransferSyntaxUID", "") or "")
    return str(ds.get("LossyImageCompression", "") or "") == "01" or syntax in _LOSSY_SYNTAXES


def _bqml_per_count(ds: Dataset) -> float | None:
    """Philips' activity concentration scale factor; only under its own name."""
    if str(ds.get("Modality", "")) != "PT" or (_PHILIPS_GROUP, 0x0010) not in ds:
        return None
    try:
        block = ds.private_block(_PHILIPS_GROUP, _PHILIPS)
        value = block[_PHILIPS_BQML].value
    except KeyError:
        return None
    scale = float(value.decode("ascii") if isinstance(value, bytes) else value)
    return scale if scale > 0.0 else None
