"""Foreign peers: programs built on the OpenIGTLink C++ library, compiled once for each test run."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import missing

INCLUDE = Path("/usr/include/openigtlink")
EXAMPLES = Path("/usr/share/doc/openigtlink-examples/examples")
PACKAGES = "g++ libopenigtlink-dev openigtlink-examples"


def compiled(source: Path, folder: Path) -> Path:
    """The program built from one C++ file; a missing compiler, library or file is told, not passed over."""
    if shutil.which("g++") is None or not INCLUDE.is_dir() or not source.is_file():
        missing(f"{source.name} cannot be built: install {PACKAGES}")
    program = folder / source.stem
    command = ["g++", "-std=c++17", "-O1", "-w", f"-I{INCLUDE}", str(source), "-o", str(program)]
    subprocess.run([*command, "-lOpenIGTLink", "-lpthread"], check=True, capture_output=True, timeout=120)
    return program


@pytest.fixture(scope="session")
def cpp_peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`peer.cxx`: reads messages as JSON lines, or serves one of each type."""
    return compiled(Path(__file__).parent / "peer.cxx", tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="session")
def cpp_types(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`types.cxx`: the types beyond those of the peer, from and to pipes."""
    return compiled(Path(__file__).parent / "types.cxx", tmp_path_factory.mktemp("types"))


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Builds one of the library's own example programs, named such as Receiver/ReceiveClient."""
    return lambda name: compiled(EXAMPLES / f"{name}.cxx", tmp_path_factory.mktemp("example"))


@pytest.fixture
def free_port() -> int:
    """A port that was free a moment ago, for peers that cannot choose one themselves."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
