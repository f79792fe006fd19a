"""What waits for the disk: a queue that is bounded in events and bytes, and counts what it had to refuse."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

from tracking.recording.store import Row, recorder_row

# Ten minutes of 200 messages a second: beyond that the disk is not coming back.
MOST_WAITING = 120_000
# Half a minute of 200 messages and two maps of 1 MiB a second.
MOST_WAITING_BYTES = 64 << 20
# A commit holds at most this many events and bytes, so that the tail a crash can take stays short.
MOST_PER_COMMIT = 1000
MOST_BYTES_PER_COMMIT = 8 << 20
# What a row costs beside its texts and payload: link, id, time, its share of the pages.
ROW_BYTES = 128


def size_of(row: Row) -> int:
    """Bytes that a row takes, about."""
    return ROW_BYTES + len(row[1]) + len(row[2]) + len(row[3])


@dataclass(slots=True)
class Gap:
    """Events in a row that were refused: arrival of the first and the last, the clock at the first.

    `stopped`: because the disk failed, not because too much waited.
    """

    from_s: float
    to_s: float
    since: float
    stopped: bool
    lost: int = 0

    def row(self) -> Row:
        """The recorder's own row in their place."""
        content: dict[str, Any] = {"lost": self.lost, "from_s": self.from_s, "to_s": self.to_s}
        return recorder_row(self.to_s, "lost", **content, since=self.since, until=time.time())


class Backlog:
    """Rows between those who append and the one thread that commits.

    `refusing` (set by the latter) keeps everything out; `allowed_bytes` is how much may wait.
    """

    def __init__(self) -> None:
        self.refusing = False
        self.allowed_bytes = MOST_WAITING_BYTES
        self.appended = self.committed = self.dropped = self.lost = 0
        self.written_bytes = 0
        self.newest_s = 0.0
        self.gap: Gap | None = None
        self._waiting_bytes = 0
        self._closed = False
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[Row | None] = queue.SimpleQueue()

    @property
    def behind(self) -> bool:
        """True while rows are refused because too much waits."""
        gap = self.gap
        return gap is not None and not gap.stopped

    @property
    def waiting(self) -> int:
        """Rows taken but neither committed nor dropped."""
        return self.appended - self.committed - self.dropped

    def fit(self, room: int) -> None:
        """Let no more wait than half of `room` bytes takes: the log is written before the database is."""
        self.allowed_bytes = min(MOST_WAITING_BYTES, room // 2)

    def offer(self, row: Row) -> bool:
        """Take a row; False when it is refused. What was refused before is noted in its place."""
        size = size_of(row)
        with self._lock:
            if not self._fits(size):
                self._miss(row[0])
                return False
            self._close_gap()
            self._put(row)
        return True

    def note(self, event: str, **content: Any) -> None:
        """A row of the recorder's own, at the time of arrival of the newest; nobody waits for it."""
        with self._lock:
            if not self._closed:
                self._put(recorder_row(self.newest_s, event, **content))

    def close(self) -> bool:
        """Take no more rows; False when that was so already."""
        with self._lock:
            first, self._closed = not self._closed, True
            if first:
                self._close_gap()
                self._queue.put(None)
        return first

    def drain(self) -> tuple[list[Row], bool]:
        """What is queued now, waiting for at least one entry; whether the end was among it."""
        rows: list[Row] = []
        size = 0
        entry = self._queue.get()
        while entry is not None:
            rows.append(entry)
            size += size_of(entry)
            if len(rows) >= MOST_PER_COMMIT or size >= MOST_BYTES_PER_COMMIT or self._queue.empty():
                return rows, False
            entry = self._queue.get()
        return rows, True

    def done(self, rows: list[Row], kept: bool) -> None:
        """These rows are committed, or given up."""
        size = sum(map(size_of, rows))
        with self._lock:
            self._waiting_bytes -= size
            if kept:
                self.committed += len(rows)
                self.written_bytes += size
            else:
                self.dropped += len(rows)
                self.lost += len(rows)

    def _fits(self, size: int) -> bool:
        if self._closed or self.refusing or self.waiting >= MOST_WAITING:
            return False
        return self._waiting_bytes + size <= self.allowed_bytes

    def _miss(self, arrival_s: float) -> None:
        self.lost += 1
        if self._closed:
            return
        if self.gap is None:
            self.gap = Gap(arrival_s, arrival_s, time.time(), self.refusing)
        self.gap.lost += 1
        self.gap.to_s = arrival_s

    def _close_gap(self) -> None:
        gap, self.gap = self.gap, None
        if gap is not None:
            self._put(gap.row())

    def _put(self, row: Row) -> None:
        self.appended += 1
        self._waiting_bytes += size_of(row)
        self.newest_s = row[0]
        self._queue.put(row)
