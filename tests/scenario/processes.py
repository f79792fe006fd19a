"""The console command as a user starts it, and what the process table says afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ANSWER_S = 60.0
COMMAND = (sys.executable, "-m", "navigation.cli.main")


def start(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """The command in a session of its own, so that everything it leaves behind can be found."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2]), "DISPLAY": ""}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    )


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def members(session: int) -> list[int]:
    """Processes (not zombies) that still belong to the session of a command."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        # After the command: state, parent, group, session.
        if fields[0] != "Z" and int(fields[3]) == session:
            found.append(int(entry.name))
    return found


def left_behind(session: int, timeout_s: float) -> list[int]:
    """Members of a session that are still there at the deadline; returns as soon as there are none."""
    deadline = time.monotonic() + timeout_s
    while (rest := members(session)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return rest


def wait_for_child(session: int, timeout_s: float = 30.0) -> int:
    """The first child of a command, once it exists."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        others = [pid for pid in members(session) if pid != session]
        if others:
            return others[0]
        time.sleep(0.05)
    raise AssertionError("the command started no child")


class Conversation:
    """`gammanav run` on `folder`/setup/case.toml with its lines; what it leaves goes to `folder`/case."""

    def __init__(self, folder: Path, *more: str) -> None:
        (port,) = free_ports(1)
        where = [str(folder / "setup" / "case.toml"), "--headless", "--out", str(folder / "case")]
        self.process = subprocess.Popen(
            [*COMMAND, "run", *where, "--port", str(port), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,
        )

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, words: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()
        return self.hear()

    def until(self, words: str, wanted: str) -> str:
        deadline = time.monotonic() + ANSWER_S
        while wanted not in (answer := self.say(words)):
            assert time.monotonic() < deadline, answer
        return answer

    def end(self) -> tuple[str, str]:
        assert self.process.stdin is not None
        self.process.stdin.write("quit\n")
        return self.process.communicate(timeout=ANSWER_S)
