"""A probe's response: physics, fits to grids and sweeps, what becomes of it in tissue and behind a sheath."""
