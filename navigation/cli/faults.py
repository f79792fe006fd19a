"""Words for what no command handles itself: OS errors, faults of ours and their log."""

from __future__ import annotations

import os
import traceback
from datetime import UTC, datetime
from pathlib import Path

# A log that only holds faults never needs more; beyond it the file starts anew.
LARGEST_LOG_BYTES = 5_000_000


def one_line(error: OSError) -> str:
    """`file: what is wrong`, as shells say it."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def log_path() -> Path:
    """Where tracebacks of our own faults go (XDG state folder)."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "gammanav" / "gammanav.log"


def log_fault(error: BaseException) -> str:
    """Write the traceback to the log, or where that fails into the line for the user, which is returned."""
    text = "".join(traceback.format_exception(error))
    line = f"fault in gammanav: {type(error).__name__}: {' '.join(str(error).split())}"
    path = log_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.exists() and path.stat().st_size > LARGEST_LOG_BYTES
        with path.open("w" if fresh else "a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC).isoformat()} {text}\n")
    except OSError:
        return f"{line}\n{text}"
    return f"{line} (traceback in {path})"
