"""A network of its own with an Orthanc in it: run under `unshare --user --map-root-user --net`, led by JSON lines.

Orthanc listens on all addresses; here the only one is the loopback of this namespace, which nobody else sees.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

PORT = 4242
AET = "ORTHANC"
CALLING = "GAMMANAV"
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
PR_SET_PDEATHSIG = 1
READY_WITHIN_S = 20.0


def loopback_up() -> None:
    """A new network namespace has a loopback device that is down (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def configuration(folder: Path) -> dict[str, Any]:
    """Orthanc without HTTP, plug-ins or writing to anybody; it answers one calling AE title alone."""
    modality = {"AET": CALLING, "Host": "127.0.0.1", "Port": 104, "AllowGet": True, "AllowStore": True}
    return {
        "Name": "test",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [],
        "DicomServerEnabled": True,
        "DicomAet": AET,
        "DicomPort": PORT,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowEcho": False,
        "DicomAlwaysAllowStore": False,
        "DicomModalities": {"gammanav": modality},
    }


def start(program: str, folder: Path) -> subprocess.Popen[bytes]:
    file = folder / "orthanc.json"
    file.write_text(json.dumps(configuration(folder)), encoding="utf-8")
    log = (folder / "orthanc.log").open("wb")
    orthanc = subprocess.Popen([program, str(file)], stdout=log, stderr=log, preexec_fn=die_with_parent)
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end and orthanc.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", PORT), 1.0):
            return orthanc
        time.sleep(0.02)
    raise SystemExit(f"Orthanc did not start: {(folder / 'orthanc.log').read_text()[-500:]}")


def store(folder: str) -> int:
    """C-STORE of all files below a folder, each in its own transfer syntax; how many were taken."""
    import pydicom
    from pynetdicom import AE, evt

    def at_once(event: evt.Event) -> None:
        event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    files = [pydicom.dcmread(path) for path in sorted(Path(folder).rglob("*.dcm"))]
    entity = AE(ae_title=CALLING)
    for pair in sorted({(str(f.SOPClassUID), str(f.file_meta.TransferSyntaxUID)) for f in files}):
        entity.add_requested_context(*pair)
    association = entity.associate(
        "127.0.0.1", PORT, ae_title=AET, evt_handlers=[(evt.EVT_CONN_OPEN, at_once)]
    )
    try:
        return sum(association.send_c_store(f).Status == 0 for f in files)
    finally:
        association.release()


def gammanav(arguments: list[str]) -> dict[str, Any]:
    """One command line, its exit code and what it said."""
    from navigation.cli.main import run

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}


def main() -> None:
    die_with_parent()
    loopback_up()
    program, folder = sys.argv[1], Path(sys.argv[2])
    orthanc = start(program, folder)
    try:
        print(json.dumps({"listening": PORT}), flush=True)
        for line in sys.stdin:
            order = json.loads(line)
            answer = gammanav(order["run"]) if "run" in order else {"stored": store(order["store"])}
            print(json.dumps(answer), flush=True)
    finally:
        orthanc.send_signal(signal.SIGTERM)
        orthanc.wait(10)


if __name__ == "__main__":
    os.umask(0o077)
    main()
