"""What is known of the instruments: detector response, pivot, latency, nuclide physics and their gates."""
