# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The log of calls. It never holds a key, a password or a proof of one."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import ejson

HIDDEN = "********"
KEPT = 20000
_SECRET_KEYS = frozenset(
    {"api_key", "password", "token", "otp_token", "rfc_str", "private_key", "passphrase", "key", "encryption_key"}
)
_WHOLE = ("auth.login", "auth.login_with_api_key", "auth.login_with_token")
_KEY = re.compile(r"\b\d+-[A-Za-z0-9]{64}\b")
_MAX_BYTES = 20 * 1024 * 1024


def redact(method: str, value: Any) -> Any:
    """Return the arguments of a call without secrets."""
    if method in _WHOLE:
        return [HIDDEN for _ in value] if isinstance(value, list) else HIDDEN
    return _redact(value, method)


def _redact(value: Any, method: str) -> Any:
    if isinstance(value, dict):
        result = {}
        for key, item in value.items():
            # The key of a user property is a name, and the private key of a login is the number of an entry.
            secret = key in _SECRET_KEYS and isinstance(item, str) and not (key == "key" and "value" in value)
            secret = secret and not (key == "key" and ":" in item)
            result[key] = HIDDEN if secret else _redact(item, method)
        return result
    if isinstance(value, (list, tuple)):
        return [_redact(item, method) for item in value]
    if isinstance(value, str):
        return _KEY.sub(HIDDEN, value)
    return value


class Log:
    """Calls in the order in which they ended; in memory and in a file that survives a restart."""

    def __init__(self, path: Path, secrets: Callable[[], Iterable[str]]) -> None:
        self.path, self.secrets = path, secrets
        self.entries: deque[dict[str, Any]] = deque(maxlen=KEPT)
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines()[-KEPT:]
            for line in lines:
                try:
                    self.entries.append(json.loads(line))
                except ValueError:  # the last line of a log that was cut off
                    continue
            if path.stat().st_size > _MAX_BYTES:
                path.write_text("".join(f"{json.dumps(entry)}\n" for entry in self.entries), encoding="utf-8")

    def add(self, entry: dict[str, Any]) -> None:
        """Note a call."""
        text = ejson.dumps({"time": round(time.time(), 3), **entry})
        for secret in self.secrets():
            if len(secret) >= 8:
                text = text.replace(json.dumps(secret)[1:-1], HIDDEN)
        text = _KEY.sub(HIDDEN, text)
        self.entries.append(json.loads(text))
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()
        self.path.write_text("", encoding="utf-8")
