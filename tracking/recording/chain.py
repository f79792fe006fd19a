"""The hash chain over a record's rows and the seal at its end.

chain_0 = H(head) and chain_n = H(chain_{n-1}, row n) with H = SHA-256 (FIPS 180-4) over a canonical encoding; the
seal holds the number of rows, chain_n and the time of closing, and with a key their HMAC-SHA256 (RFC 2104).

What the chain shows without a key: any change, loss, exchange or insertion of a row by somebody who does not
compute the whole rest of the chain anew, and any cut of a sealed record. What it does not show: a record that
somebody rewrote from the changed row to the seal, since the algorithm is public, or an open record that ends
earlier than it did. Against the first help a key that the forger does not have, or chain_n noted elsewhere.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from pathlib import Path

from tracking.errors import InputError
from tracking.recording import schema

DIGEST_BYTES = 32
# NIST SP 800-107 asks for 112 bits at least.
LEAST_KEY_BYTES = 16
# Big-endian: row id, arrival in s, lengths in bytes of source, kind and payload.
_ROW = struct.Struct(">qdIIQ")
# Big-endian: number of rows, time of closing in s.
_SEAL = struct.Struct(">qd")
_HEAD_LABEL, _SEAL_LABEL = b"gammanav record head\n", b"gammanav record seal\n"


def head_digest(meta: str) -> bytes:
    """chain_0: application id, version and the head's JSON text."""
    fixed = struct.pack(">II", schema.APPLICATION_ID, schema.VERSION)
    return hashlib.sha256(_HEAD_LABEL + fixed + meta.encode()).digest()


def link(before: bytes, number: int, arrival_s: float, source: str, kind: str, payload: bytes) -> bytes:
    """chain_n from chain_{n-1} and row n."""
    source_bytes, kind_bytes = source.encode(), kind.encode()
    fixed = _ROW.pack(number, arrival_s, len(source_bytes), len(kind_bytes), len(payload))
    digest = hashlib.sha256(b"".join((before, fixed, source_bytes, kind_bytes)))
    digest.update(payload)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Seal:
    """How a record ended: number of rows, chain_n, time of closing (Unix s), HMAC where a key was given."""

    rows: int
    chain: bytes
    closed_s: float
    signature: bytes | None = None

    def signed_with(self, key: bytes) -> bool:
        """True when the signature is there and was made with `key`."""
        return self.signature is not None and hmac.compare_digest(self.signature, self._hmac(key))

    def _hmac(self, key: bytes) -> bytes:
        fixed = _SEAL.pack(self.rows, self.closed_s)
        return hmac.digest(key, _SEAL_LABEL + fixed + self.chain, "sha256")


def sealed(rows: int, chain: bytes, closed_s: float, key: bytes | None) -> Seal:
    """The seal of a record, signed where there is a key."""
    seal = Seal(rows, chain, closed_s)
    return seal if key is None else Seal(rows, chain, closed_s, seal._hmac(key))


def read_key(path: Path) -> bytes:
    """The key in a file, all its bytes as they are. Raises InputError when it is missing or shorter than 16."""
    try:
        key = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: no key can be read there ({error.strerror})") from None
    if len(key) < LEAST_KEY_BYTES:
        raise InputError(f"{path}: a key of {len(key)} bytes; at least {LEAST_KEY_BYTES} are needed")
    return key
