"""Calibration records: identity, seal, approval, store, and whether they belong to what they are used on."""
