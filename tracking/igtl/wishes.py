"""What one client wants of the stream: types switched off, types at a slower pace, tracking data in one message."""

from __future__ import annotations

from dataclasses import dataclass, field

IMAGE = "IMAGE"
# Types of which a client's wishes are kept, more than there are: one that asks for invented ones gets no more.
MOST_TYPES = 64


@dataclass(slots=True)
class Wishes:
    """The standing requests of one client; without any it gets everything.

    `images` limits it to images (True) or to all else (False), `muted` holds the types it has stopped,
    `interval_s` the least time between two messages of one type and device.
    """

    images: bool | None = None
    muted: set[str] = field(default_factory=set)
    interval_s: dict[str, float] = field(default_factory=dict)
    tracking: TrackingWish | None = None
    _next_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def start(self, message_type: str, interval_s: float) -> None:
        """Send a type, at most once in `interval_s` for each device (0: all of it)."""
        self.muted.discard(message_type)
        self.interval_s.pop(message_type, None)
        if interval_s > 0.0 and len(self.interval_s) < MOST_TYPES:
            self.interval_s[message_type] = interval_s

    def stop(self, message_type: str) -> None:
        """Send no more of a type."""
        if len(self.muted) < MOST_TYPES:
            self.muted.add(message_type)

    def carries(self, message_type: str) -> bool:
        """Whether messages of that type go over this connection at all."""
        return self.images is None or self.images is (message_type == IMAGE)

    def admit(self, message_type: str, device: str, now_s: float) -> bool:
        """Whether a message that comes now is wanted now."""
        if message_type in self.muted or not self.carries(message_type):
            return False
        interval_s = self.interval_s.get(message_type)
        return interval_s is None or self._due((message_type, device), interval_s, now_s)

    def tracking_due(self, now_s: float) -> bool:
        """Whether a message with the poses of all tools is wanted now."""
        wish = self.tracking
        return wish is not None and (
            wish.interval_s == 0.0 or self._due(("TDATA", ""), wish.interval_s, now_s)
        )

    def _due(self, stream: tuple[str, str], interval_s: float, now_s: float) -> bool:
        """Keep the pace on average: what comes up to half an interval late does not delay what follows."""
        next_s = self._next_s.get(stream, now_s)
        if now_s < next_s:
            return False
        self._next_s[stream] = max(next_s + interval_s, now_s + interval_s / 2)
        return True


@dataclass(frozen=True, slots=True)
class TrackingWish:
    """An STT_TDATA: device name of the answer, target frame of the poses ("": any), least time between two."""

    device: str
    frame: str
    interval_s: float
