# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server's half of SCRAM (RFC 5802) with SHA-512, and the channel binding to its certificate (RFC 5929)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from dataclasses import dataclass

NONCE = 32
BINDING = "tls-server-end-point"


class ScramError(Exception):
    """The client's message or proof is wrong."""


@dataclass(frozen=True)
class Verifier:
    """What the server keeps of a key."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha512")


def verifier(key: str, salt: bytes, iterations: int) -> Verifier:
    """Return what the server keeps of a key."""
    salted = hashlib.pbkdf2_hmac("sha512", key.encode(), salt, iterations)
    stored = hashlib.sha512(_hmac(salted, b"Client Key")).digest()
    return Verifier(salt, iterations, stored, _hmac(salted, b"Server Key"))


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ScramError("not base64") from None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass(frozen=True)
class ClientFirst:
    """The client's first message: who it is and whether it binds to the channel."""

    header: str
    bare: str
    username: str
    key_id: int
    nonce: bytes


def parse_first(text: str) -> ClientFirst:
    """Read the client's first message."""
    header, comma, bare = text.partition(",,")
    flag, equals, binding = header.partition("=")
    if not comma or flag not in ("n", "p") or (flag == "p") != bool(equals) or (equals and binding != BINDING):
        # A client that says y believes that the server cannot bind; it can, so someone in between has lied.
        raise ScramError("channel binding flag not acceptable")
    attributes = dict(part.split("=", 1) for part in bare.split(",") if "=" in part)
    name, colon, number = attributes.get("n", "").rpartition(":")
    nonce = _decode(attributes.get("r", ""))
    if not colon or not number.isdigit() or len(nonce) != NONCE:
        raise ScramError("malformed first message")
    return ClientFirst(header, bare, name.replace("=2C", ",").replace("=3D", "="), int(number), nonce)


class Exchange:
    """One login in progress, from the client's first message on."""

    def __init__(self, first: ClientFirst, known: Verifier, certificate_hash: bytes | None) -> None:
        self.first, self.known, self.certificate_hash = first, known, certificate_hash
        self.nonce = _encode(first.nonce + secrets.token_bytes(NONCE))
        self.server_first = f"r={self.nonce},s={_encode(known.salt)},i={known.iterations}"

    def finish(self, text: str) -> str:
        """Check the client's proof; return the server's."""
        parts = dict(part.split("=", 1) for part in text.split(",") if "=" in part)
        without_proof, _, proof_text = text.rpartition(",p=")
        binding = f"{self.first.header},,".encode()
        if self.first.header.startswith("p"):
            if self.certificate_hash is None:
                raise ScramError("channel binding without TLS")
            binding += self.certificate_hash
        if not hmac.compare_digest(_decode(parts.get("c", "")), binding):
            raise ScramError("channel binding differs")
        if parts.get("r") != self.nonce:
            raise ScramError("nonce differs")
        message = f"{self.first.bare},{self.server_first},{without_proof}".encode()
        signature = _hmac(self.known.stored_key, message)
        proof = _decode(proof_text)
        if len(proof) != len(signature):
            raise ScramError("proof has the wrong length")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha512(client_key).digest(), self.known.stored_key):
            raise ScramError("proof is wrong")
        return f"v={_encode(_hmac(self.known.server_key, message))}"
