"""The nine steps of a case by key and title."""

from __future__ import annotations

STUDY, DEVICES, CALIBRATION = "study", "devices", "calibration"
REGISTRATION, SCAN, NAVIGATE = "registration", "scan", "navigate"
RESECT, CHECK_BED, REPORT = "resect", "check-bed", "report"
TITLES = {
    STUDY: "Patient and study",
    DEVICES: "Devices",
    CALIBRATION: "Calibration check",
    REGISTRATION: "Registration",
    SCAN: "Scan",
    NAVIGATE: "Navigate",
    RESECT: "Resect",
    CHECK_BED: "Check bed",
    REPORT: "Report",
}
