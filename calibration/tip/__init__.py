"""Where a tool's tip lies and which way it looks: pivot, spin, checks of tip and tracker, poses for them."""
