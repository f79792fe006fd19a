"""Timed counts: the everyday practice, with exact statistics; needs neither tracker nor map."""
