"""Guided steps of a calibration: samples in, hints and progress out."""
