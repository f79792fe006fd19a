"""A peer in a process of its own, asked for one timed step at a time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
MODULE = "benchmarks.reconstructionpeers"


class Worker:
    """`absent` names the package that is missing; then there is no process."""

    def __init__(self, python: Path, kind: str, name: str, folder: Path) -> None:
        self._process = subprocess.Popen(
            [str(python.absolute()), "-m", MODULE, kind, name, str(folder)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self._answer()
        self.absent: str | None = first.get("absent")
        self.held = int(first.get("held", 0))
        self.peak = self.private = 0
        if self.absent is not None:
            self.end()

    def step(self) -> tuple[float, float]:
        """(wall, CPU) seconds of one step."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        told = self._answer()
        self.peak, self.private = told["peak"], told["private"]
        return told["wall"], told["cpu"]

    def end(self) -> None:
        """Let the process go."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a peer ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
