"""Guidance for the hand, from the counts: where to scan next, how fast and how near, what should be counted here."""
