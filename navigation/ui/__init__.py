"""The window of a live case: a process of its own that reads the published stream and changes nothing."""
