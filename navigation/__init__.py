"""From counts and poses to a map, spots and a statement on the bed; simulator, views and commands."""

from navigation import _guard

_guard.check()
