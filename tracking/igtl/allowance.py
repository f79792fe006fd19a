"""How much one client may ask for: a token bucket, so that a flood waits in the client's own buffers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Allowance:
    """`rate` tokens a second, of which at most `burst` are saved; what is taken beyond them is owed."""

    rate: float
    burst: float
    _left: float = 0.0
    _seen_s: float = float("-inf")

    def take(self, amount: float, now_s: float) -> None:
        """Spend tokens; the balance may fall below zero."""
        self._left = self._balance(now_s) - amount
        self._seen_s = now_s

    def wait_s(self, now_s: float) -> float:
        """How long until nothing is owed any more; 0 when nothing is."""
        return max(0.0, -self._balance(now_s) / self.rate)

    def _balance(self, now_s: float) -> float:
        return min(self.burst, self._left + (now_s - self._seen_s) * self.rate)
