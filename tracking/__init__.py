"""Frames, time, samples, devices, the OpenIGTLink wire and the record: what arrives, not yet interpreted."""
