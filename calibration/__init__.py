"""What is known of the instruments: detector response, pivot, latency, nuclide physics, each with its gate."""
