"""Digests of two runs side by side: was every map and every focus the same, bit for bit?"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, Any]
# What an entry says beside the result: which one it is, and how long it took.
NO_RESULT = ("job", "scan", "tick", "seconds")


@dataclass(slots=True)
class Comparison:
    """Digests of the recorded and of the replayed results, by job, scan and tick."""

    recorded: dict[Key, dict[str, Any]] = field(default_factory=dict)
    replayed: dict[Key, dict[str, Any]] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """How many results both have."""
        return len(self.recorded.keys() & self.replayed.keys())

    @property
    def differing(self) -> list[Key]:
        """Results that are not the same in every bit."""
        both = self.recorded.keys() & self.replayed.keys()
        return sorted((k for k in both if self.recorded[k] != self.replayed[k]), key=str)


def key_of(content: dict[str, Any]) -> Key:
    """What tells a result from the others."""
    return content["job"], content["scan"], content["tick"]
