# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings, from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

#: The shortest password that Neo4j takes.
SHORTEST = 8


class SettingsError(Exception):
    """A variable of the environment cannot be used."""


@dataclass(frozen=True)
class Settings:
    """The settings. auth is the first user and password, or None for no authentication."""

    auth: tuple[str, str] | None
    data: Path = Path("/data")
    runtime: Path = Path("/run/pantheon-neo4j")
    host: str = "0.0.0.0"
    bolt_port: int = 7687
    http_port: int = 7474
    redis_server: str = "redis-server"
    module: str = "/usr/lib/falkordb/falkordb.so"
    threads: int = 2
    transaction_seconds: float = 120.0
    lock_seconds: float = 30.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Return the settings of the environment.

        Raises:
            SettingsError: A value cannot be used.
        """
        variables = os.environ if environment is None else environment
        return cls(
            auth=_auth(variables.get("NEO4J_AUTH", "")),
            data=Path(variables.get("PANTHEON_NEO4J_DATA", str(cls.data))),
            runtime=Path(variables.get("PANTHEON_NEO4J_RUNTIME", str(cls.runtime))),
            host=variables.get("PANTHEON_NEO4J_HOST", cls.host),
            bolt_port=_number(variables, "PANTHEON_NEO4J_BOLT_PORT", cls.bolt_port),
            http_port=_number(variables, "PANTHEON_NEO4J_HTTP_PORT", cls.http_port),
            redis_server=variables.get("PANTHEON_NEO4J_REDIS_SERVER", cls.redis_server),
            module=variables.get("PANTHEON_NEO4J_MODULE", cls.module),
            threads=_number(variables, "PANTHEON_NEO4J_THREADS", cls.threads),
            transaction_seconds=float(
                _number(variables, "PANTHEON_NEO4J_TRANSACTION_SECONDS", int(cls.transaction_seconds))
            ),
        )


def _number(variables: Mapping[str, str], name: str, default: int) -> int:
    value = variables.get(name, str(default))
    if not re.fullmatch(r"[0-9]{1,6}", value):
        raise SettingsError(f"{name} is {value!r}; give it a whole number.")
    return int(value)


def _auth(value: str) -> tuple[str, str] | None:
    """Read NEO4J_AUTH as the image of Neo4j does; the value itself is never shown."""
    if value == "none":
        return None
    found = re.fullmatch(r"([^/]+)/([^/]+)(/[tT][rR][uU][eE])?", value)
    if not found:
        raise SettingsError("NEO4J_AUTH has to be neo4j/<password>, or none for a server without authentication.")
    user, password, change = found.groups()
    if user != "neo4j":
        raise SettingsError(f"NEO4J_AUTH names the user {user!r}; it has to be neo4j.")
    if change:
        raise SettingsError(
            "NEO4J_AUTH asks for a change of password at the first login, which this stand-in does not have."
        )
    if password == "neo4j" or len(password) < SHORTEST:
        raise SettingsError(
            f"The password in NEO4J_AUTH has to have {SHORTEST} characters and must not be the default."
        )
    return user, password
