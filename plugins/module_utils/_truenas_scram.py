# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM-SHA-512 (RFC 5802) as TrueNAS 26 uses it for API keys (private to the collection).

The key never leaves this machine: both sides prove that they know it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import typing as t

LEAST_ROUNDS, MOST_ROUNDS = 50000, 5000000

SIGNATURE_HASHES = {
    "1.2.840.113549.1.1.4": "sha256",
    "1.2.840.113549.1.1.5": "sha256",
    "1.2.840.113549.1.1.14": "sha224",
    "1.2.840.113549.1.1.11": "sha256",
    "1.2.840.113549.1.1.12": "sha384",
    "1.2.840.113549.1.1.13": "sha512",
    "1.2.840.10045.4.1": "sha256",
    "1.2.840.10045.4.3.1": "sha224",
    "1.2.840.10045.4.3.2": "sha256",
    "1.2.840.10045.4.3.3": "sha384",
    "1.2.840.10045.4.3.4": "sha512",
}
"""Hash of RFC 5929 for a signature algorithm; MD5 and SHA-1 are replaced by SHA-256 there."""


class ScramError(Exception):
    """The other side breaks the protocol or does not know the key."""


class Scram:
    """One exchange: first(), final(answer), verify(answer)."""

    def __init__(
        self, username: str, api_key: str, binding: bytes = b"", random: t.Callable[[int], bytes] = os.urandom
    ):
        number, separator, secret = api_key.partition("-")
        if not separator or not number.isdigit() or not secret:
            raise ScramError("the API key is not of the form NUMBER-SECRET")
        if "," in username or "=" in username:
            raise ScramError(f"username {username!r} has a character that SCRAM cannot carry")
        self.secret = secret
        self.nonce = base64.b64encode(random(32)).decode("ascii")
        self.flag = "p=tls-server-end-point,," if binding else "n,,"
        self.binding = base64.b64encode(self.flag.encode("ascii") + binding).decode("ascii")
        self.bare = f"n={username}:{number},r={self.nonce}"
        self.server_signature = b""

    def first(self) -> str:
        """Return the first message."""
        return self.flag + self.bare

    def final(self, answer: str) -> str:
        """Return the proof for the challenge of the server."""
        fields = parse(answer)
        try:
            nonce, salt, rounds = fields["r"], base64.b64decode(fields["s"], validate=True), int(fields["i"])
        except (KeyError, ValueError) as error:
            raise ScramError("the challenge of the server is incomplete") from error
        if not continues(nonce, self.nonce):
            raise ScramError("the challenge of the server is not for this login")
        if not LEAST_ROUNDS <= rounds <= MOST_ROUNDS:
            raise ScramError(f"the server asks for {rounds} rounds, outside of {LEAST_ROUNDS} to {MOST_ROUNDS}")
        salted = hashlib.pbkdf2_hmac("sha512", self.secret.encode("utf-8"), salt, rounds)
        client_key = digest(salted, b"Client Key")
        unproven = f"c={self.binding},r={nonce}"
        message = f"{self.bare},{answer},{unproven}".encode("utf-8")
        signature = digest(hashlib.sha512(client_key).digest(), message)
        proof = (int.from_bytes(client_key, "big") ^ int.from_bytes(signature, "big")).to_bytes(len(signature), "big")
        self.server_signature = digest(digest(salted, b"Server Key"), message)
        return f"{unproven},p={base64.b64encode(proof).decode('ascii')}"

    def verify(self, answer: str) -> None:
        """Check that the server knows the key too."""
        try:
            given = base64.b64decode(parse(answer)["v"], validate=True)
        except (KeyError, ValueError) as error:
            raise ScramError("the server gives no proof") from error
        if not self.server_signature or not hmac.compare_digest(given, self.server_signature):
            raise ScramError("the server does not know the key: this is not the NAS that issued it")


def continues(nonce: str, own: str) -> bool:
    """Whether the nonce of the server starts with ours, as text or (as TrueNAS joins them) before the encoding."""
    if nonce.startswith(own):
        return len(nonce) > len(own)
    try:
        whole, part = base64.b64decode(nonce, validate=True), base64.b64decode(own)
    except ValueError:
        return False
    return whole.startswith(part) and len(whole) > len(part)


def digest(key: bytes, message: bytes) -> bytes:
    """Return the HMAC with SHA-512."""
    return hmac.new(key, message, hashlib.sha512).digest()


def parse(message: str) -> t.Dict[str, str]:
    """Return the fields of a message."""
    return {part[:1]: part[2:] for part in message.split(",") if part[1:2] == "="}


def end_point(certificate: t.Optional[bytes]) -> bytes:
    """Return the channel binding tls-server-end-point of a certificate; empty where it is not defined."""
    if not certificate:
        return b""
    try:
        start = element(certificate, 0)[1]
        after = element(certificate, start)[2]
        algorithm = element(certificate, after)
        oid = element(certificate, algorithm[1])
        name = SIGNATURE_HASHES.get(identifier(certificate[oid[1] : oid[2]]))
    except (IndexError, ValueError):
        return b""
    return hashlib.new(name, certificate).digest() if name else b""


def element(data: bytes, offset: int) -> t.Tuple[int, int, int]:
    """Return tag, start and end of the content of a DER element."""
    tag, size, start = data[offset], data[offset + 1], offset + 2
    if size & 0x80:
        count = size & 0x7F
        size, start = int.from_bytes(data[start : start + count], "big"), start + count
    if start + size > len(data):
        raise ValueError("cut off")
    return tag, start, start + size


def identifier(data: bytes) -> str:
    """Return an object identifier in its usual form."""
    parts, value = [data[0] // 40, data[0] % 40], 0
    for byte in data[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            parts.append(value)
            value = 0
    return ".".join(str(part) for part in parts)
