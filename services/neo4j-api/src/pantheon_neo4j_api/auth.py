# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in: one user, whose password is kept as Neo4j keeps it: as a hash, made at the first start.

As with Neo4j, NEO4J_AUTH counts only as long as there is no user yet; later the password is changed by a statement.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import Neo4jError
from .settings import SHORTEST

_ATTEMPTS = 3
_WAIT_SECONDS = 5.0
_COST = {"n": 2**14, "r": 8, "p": 1}
_VALUE = r"""(?:\$(?P<{0}_parameter>\w+)|'(?P<{0}_single>[^'\\]*)'|"(?P<{0}_double>[^"\\]*)")"""
_ALTER = re.compile(
    rf"\s*ALTER\s+CURRENT\s+USER\s+SET\s+PASSWORD\s+FROM\s+{_VALUE.format('old')}\s+TO\s+{_VALUE.format('new')}\s*;?\s*\Z",
    re.IGNORECASE,
)


def _hash(password: str, salt: bytes) -> str:
    digest = hashlib.scrypt(password.encode("utf-8", "surrogateescape"), salt=salt, dklen=32, **_COST)
    return base64.b64encode(digest).decode()


class Users:
    """The one user. file is None for a server without authentication."""

    def __init__(self, file: Path | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._user = ""
        self._salt = b""
        self._digest = ""
        self._failures: list[float] = []
        # What was right once need not be computed again for every request; the key never leaves this process.
        self._key = secrets.token_bytes(32)
        self._right: set[bytes] = set()

    @property
    def required(self) -> bool:
        """Whether anybody has to show a password."""
        return self._file is not None

    def prepare(self, first: tuple[str, str] | None) -> bool:
        """Read the user, or make it of the first user and password. Return whether it was made."""
        if self._file is None:
            return False
        if self._file.exists():
            entry = json.loads(self._file.read_text(encoding="utf-8"))
            self._user, self._salt, self._digest = entry["user"], base64.b64decode(entry["salt"]), entry["digest"]
            return False
        if first is None:
            raise ValueError("a first user and password are needed")
        self._set(*first)
        return True

    def _set(self, user: str, password: str) -> None:
        assert self._file is not None
        salt = secrets.token_bytes(16)
        entry = {"user": user, "salt": base64.b64encode(salt).decode(), "digest": _hash(password, salt)}
        temporary = self._file.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump(entry, stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(self._file)
        self._user, self._salt, self._digest = user, salt, entry["digest"]
        self._right.clear()

    def check(self, user: str, password: str) -> None:
        """Let a user in, or say why not.

        Raises:
            Neo4jError: The password is wrong, or there were too many wrong ones.
        """
        if not self.required:
            return
        mark = hmac.digest(self._key, json.dumps([user, password]).encode(), "sha256")
        if mark in self._right:
            return
        now = self._clock()
        self._failures = [moment for moment in self._failures if now - moment < _WAIT_SECONDS]
        if len(self._failures) >= _ATTEMPTS:
            raise Neo4jError(
                "Neo.ClientError.Security.AuthenticationRateLimit",
                "The client has provided incorrect authentication details too many times in a row.",
            )
        right = hmac.compare_digest(_hash(password, self._salt).encode(), self._digest.encode())
        if not right or not hmac.compare_digest(user.encode(), self._user.encode()):
            self._failures.append(now)
            raise Neo4jError(
                "Neo.ClientError.Security.Unauthorized", "The client is unauthorized due to authentication failure."
            )
        self._failures.clear()
        self._right = {mark}

    def check_token(self, token: Mapping[str, Any]) -> None:
        """Let in whoever holds this token of Bolt."""
        if not self.required:
            return
        if token.get("scheme") != "basic":
            raise Neo4jError(
                "Neo.ClientError.Security.Unauthorized",
                f"The scheme {token.get('scheme')!r} is not supported: use basic authentication.",
            )
        self.check(str(token.get("principal", "")), str(token.get("credentials", "")))

    def check_header(self, header: str | None) -> None:
        """Let in whoever sends this header of HTTP."""
        if not self.required:
            return
        if not header:
            raise Neo4jError("Neo.ClientError.Security.Unauthorized", "No authentication header supplied.")
        scheme, _space, content = header.partition(" ")
        try:
            decoded = base64.b64decode(content, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            decoded = ""
        user, colon, password = decoded.partition(":")
        if scheme.lower() != "basic" or not colon:
            raise Neo4jError("Neo.ClientError.Security.Unauthorized", "Invalid authentication header.")
        self.check(user, password)

    def alters(self, statement: str, parameters: Mapping[str, Any]) -> bool:
        """Return whether this is the statement that changes the password.

        Raises:
            Neo4jError: It is, and it cannot be done.
        """
        found = _ALTER.match(statement)
        if found is not None:
            self._passwords(found, parameters)
        return found is not None

    def alter(self, statement: str, parameters: Mapping[str, Any]) -> None:
        """Change the password."""
        found = _ALTER.match(statement)
        assert found is not None
        self._set(self._user, self._passwords(found, parameters))

    def _passwords(self, found: re.Match[str], parameters: Mapping[str, Any]) -> str:
        if not self.required:
            raise Neo4jError("Neo.ClientError.Statement.ArgumentError", "This server has no authentication.")
        old, new = (_value(found, part, parameters) for part in ("old", "new"))
        if not hmac.compare_digest(_hash(old, self._salt), self._digest):
            raise Neo4jError("Neo.ClientError.Statement.ArgumentError", "The old password is not the present one.")
        if len(new) < SHORTEST or new == old:
            raise Neo4jError(
                "Neo.ClientError.Statement.ArgumentError",
                f"The new password has to have {SHORTEST} characters and must not be the old one.",
            )
        return new


def _value(found: re.Match[str], part: str, parameters: Mapping[str, Any]) -> str:
    parameter = found[f"{part}_parameter"]
    value = parameters.get(parameter) if parameter else found[f"{part}_single"] or found[f"{part}_double"] or ""
    if not isinstance(value, str):
        raise Neo4jError("Neo.ClientError.Statement.ParameterMissing", f"The parameter {parameter} has to be a text.")
    return value
