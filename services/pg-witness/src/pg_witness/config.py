# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .decision import Rules
from .patroni import NAME, Keys

DEFAULT_PATH = "/etc/witness/witness.json"


class ConfigError(Exception):
    """The configuration cannot be used; the text says why."""


@dataclass(frozen=True)
class Tls:
    """Files of the client certificate, and of the authority that signed the servers'."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True)
class Settings:
    """What the configuration file says."""

    name: str
    scope: str
    endpoints: tuple[str, ...]
    namespace: str = "/service/"
    members: Mapping[str, str] = field(default_factory=dict)
    tls: Tls | None = None
    witnesses: int = 3
    interval: float = 0.5
    timeout: float = 0.5
    misses: int = 3
    status: tuple[str, int] = ("127.0.0.1", 8009)

    @property
    def rules(self) -> Rules:
        """The rules of the decision."""
        return Rules(self.name, self.witnesses, self.misses)

    @property
    def keys(self) -> Keys:
        """Where things lie in etcd."""
        return Keys(self.scope, self.namespace)


def _url(value: object, where: str) -> str:
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        usable = parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        usable = False
    if not usable or not isinstance(value, str):
        raise ConfigError(f"{where} is not an address of the form https://HOST:PORT")
    return value.rstrip("/")


def _number(content: Mapping[str, Any], key: str, default: float, low: float, high: float) -> float:
    value = content.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{key} is not a number")
    if not low <= value <= high:
        raise ConfigError(f"{key} is not between {low:g} and {high:g}")
    return value


def _whole(content: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = _number(content, key, default, low, high)
    if value != int(value):
        raise ConfigError(f"{key} is not a whole number")
    return int(value)


def _name(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ConfigError(f"{key} is missing, or not made of letters, digits and . _ -")
    return value


def parse(content: object) -> Settings:
    """Check the content of the configuration file."""
    if not isinstance(content, dict):
        raise ConfigError("the configuration is not a JSON object")
    known = {
        "name",
        "scope",
        "namespace",
        "etcd",
        "members",
        "tls",
        "witnesses",
        "interval",
        "timeout",
        "misses",
        "status",
    }
    if unknown := sorted(set(content) - known):
        raise ConfigError(f"unknown keys: {', '.join(map(str, unknown))}")
    etcd = content.get("etcd")
    endpoints = etcd.get("endpoints") if isinstance(etcd, dict) else None
    if not isinstance(endpoints, list) or not endpoints:
        raise ConfigError("etcd.endpoints is missing or empty")
    members = content.get("members") or {}
    if not isinstance(members, dict):
        raise ConfigError("members is not an object of names and addresses")
    namespace = content.get("namespace", "/service/")
    if not isinstance(namespace, str) or not namespace.startswith("/"):
        raise ConfigError("namespace does not start with /")
    tls = content.get("tls")
    if tls is not None:
        if not isinstance(tls, dict) or not all(isinstance(tls.get(part), str) for part in ("ca", "cert", "key")):
            raise ConfigError("tls needs ca, cert and key")
        tls = Tls(tls["ca"], tls["cert"], tls["key"])
    host, _, port = str(content.get("status", "127.0.0.1:8009")).rpartition(":")
    if not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise ConfigError("status is not of the form ADDRESS:PORT")
    settings = Settings(
        name=_name(content, "name"),
        scope=_name(content, "scope"),
        endpoints=tuple(_url(value, "an entry of etcd.endpoints") for value in endpoints),
        namespace=namespace,
        members={str(name): _url(url, f"members.{name}") for name, url in members.items()},
        tls=tls,
        witnesses=_whole(content, "witnesses", 3, 1, 99),
        # Below, a busy machine looks dead; far above, the key expires before the witnesses agree.
        interval=_number(content, "interval", 0.5, 0.1, 5),
        timeout=_number(content, "timeout", 0.5, 0.1, 5),
        misses=_whole(content, "misses", 3, 2, 20),
        status=(host.strip("[]"), int(port)),
    )
    if tls is None and any(url.startswith("https:") for url in (*settings.endpoints, *settings.members.values())):
        raise ConfigError("tls is missing, and there are https addresses")
    return settings


def load(path: str) -> Settings:
    """Read the configuration file."""
    try:
        return parse(json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error
