# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings from the environment: Qdrant's own variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: Features of Qdrant that a wrong answer would hide: whoever switches one on is told that it is not here.
_REFUSED = {
    "QDRANT__CLUSTER__ENABLED": "there is no cluster mode",
    "QDRANT__SERVICE__ENABLE_TLS": "there is no TLS",
    "QDRANT__SERVICE__JWT_RBAC": "there are no tokens, only the two keys",
}


class SettingsError(ValueError):
    """An environment variable has a value that cannot be used."""


@dataclass(frozen=True)
class Settings:
    """What the server runs with.

    Attributes:
        host: address to listen on (QDRANT__SERVICE__HOST).
        port: port to listen on (QDRANT__SERVICE__HTTP_PORT).
        storage: directory of the collections (QDRANT__STORAGE__STORAGE_PATH).
        snapshots: directory of the snapshots (QDRANT__STORAGE__SNAPSHOTS_PATH).
        api_key: key that may do everything; without one nobody is asked for a key (QDRANT__SERVICE__API_KEY).
        read_only_key: key that may read (QDRANT__SERVICE__READ_ONLY_API_KEY).
        largest_request: bytes of a request, snapshots excepted (QDRANT__SERVICE__MAX_REQUEST_SIZE_MB).
        level: level of the log (QDRANT__LOG_LEVEL).
    """

    host: str = "0.0.0.0"
    port: int = 6333
    storage: Path = Path("/qdrant/storage")
    snapshots: Path = Path("/qdrant/snapshots")
    api_key: str = ""
    read_only_key: str = ""
    largest_request: int = 32 << 20
    level: str = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read the settings.

        Args:
            environment: the variables.

        Raises:
            SettingsError: A value cannot be used, or asks for what is not here.
        """
        for name, why in _REFUSED.items():
            value = environment.get(name, "").lower()
            if value not in ("", "false"):
                raise SettingsError(
                    f"{name} is {value}, but {why} in the lab's stand-in: leave it out or run Qdrant itself"
                )
        level = environment.get("QDRANT__LOG_LEVEL", cls.level).split(",")[0].upper()
        if level not in ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "OFF"):
            raise SettingsError(f"QDRANT__LOG_LEVEL is {level}: use TRACE, DEBUG, INFO, WARN, ERROR or OFF")
        return cls(
            host=environment.get("QDRANT__SERVICE__HOST") or cls.host,
            port=_number(environment, "QDRANT__SERVICE__HTTP_PORT", cls.port, 65535),
            storage=Path(environment.get("QDRANT__STORAGE__STORAGE_PATH") or cls.storage),
            snapshots=Path(environment.get("QDRANT__STORAGE__SNAPSHOTS_PATH") or cls.snapshots),
            api_key=environment.get("QDRANT__SERVICE__API_KEY", ""),
            read_only_key=environment.get("QDRANT__SERVICE__READ_ONLY_API_KEY", ""),
            largest_request=_number(environment, "QDRANT__SERVICE__MAX_REQUEST_SIZE_MB", 32, 4096) << 20,
            level=level,
        )


def _number(environment: Mapping[str, str], name: str, default: int, largest: int) -> int:
    text = environment.get(name, "")
    if not text:
        return default
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= largest:
        raise SettingsError(f"{name} is {text!r}: use a number from 1 to {largest}")
    return int(text)
