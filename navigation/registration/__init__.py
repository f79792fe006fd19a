"""Registration: from matched points to a transform that says how far it can be trusted."""
