"""The daily check of a probe, its history, and the background."""
