"""Benchmarks: one command each, peers and us in one run, medians with the machine named."""
