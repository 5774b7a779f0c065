# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases of the server, for Bolt and for HTTP: the graph, and the one that answers questions about the server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from . import DATABASE, SYSTEM, schema
from .auth import Users
from .errors import Neo4jError
from .store import Store
from .values import Result


class OpenTransaction(Protocol):
    """An explicit transaction."""

    async def run(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        """Run a statement in it."""

    async def commit(self) -> None:
        """Make it last."""

    async def rollback(self) -> None:
        """Forget it; nothing happens where it is over."""


class Service:
    """What clients are let into."""

    def __init__(self, store: Store, users: Users) -> None:
        self.store = store
        self.users = users

    @property
    def bookmark(self) -> str:
        """A mark of what is committed."""
        return self.store.bookmark

    async def run(
        self, database: str, statement: str, parameters: Mapping[str, Any], read_only: bool = False, seconds: float = 0
    ) -> Result:
        """Run a statement in a transaction of its own."""
        if _known(database) == SYSTEM:
            transaction = self.begin(database, read_only, seconds)
            result = await transaction.run(statement, parameters)
            await transaction.commit()
            return result
        return await self.store.run(statement, parameters, read_only, seconds)

    def begin(self, database: str, read_only: bool = False, seconds: float = 0) -> OpenTransaction:
        """Begin an explicit transaction."""
        if _known(database) == SYSTEM:
            return _SystemTransaction(self)
        return self.store.begin(read_only, seconds)


def _known(database: str) -> str:
    wanted = (database or DATABASE).lower()
    if wanted not in (DATABASE, SYSTEM):
        raise Neo4jError(
            "Neo.ClientError.Database.DatabaseNotFound",
            f"Unable to get a routing table for database {database!r} because this database does not exist",
        )
    return wanted


class _SystemTransaction:
    """A transaction on the database system: questions are answered, a new password counts from the commit on."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._changes: list[tuple[str, Mapping[str, Any]]] = []

    async def run(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        question = schema.parse(statement)
        if isinstance(question, schema.Show) and question.table in ("databases", "components"):
            return await schema.show(self._service.store, DATABASE, question)
        if self._service.users.alters(statement, parameters):
            self._changes.append((statement, parameters))
            return Result(kind="s", counters={"system-updates": 1})
        raise Neo4jError(
            "Neo.ClientError.Statement.NotSystemDatabaseError",
            "On the database system this stand-in knows SHOW DATABASES, dbms.components and ALTER CURRENT USER SET PASSWORD.",
        )

    async def commit(self) -> None:
        changes, self._changes = self._changes, []
        for statement, parameters in changes:
            self._service.users.alter(statement, parameters)

    async def rollback(self) -> None:
        self._changes = []


def counters(result: Result) -> dict[str, int | bool]:
    """Return what a statement changed, in the words of Bolt; nothing when it changed nothing."""
    found: dict[str, int | bool] = dict(result.counters)
    if "system-updates" in found:
        found["contains-system-updates"] = True
    elif any(result.counters.values()):
        found["contains-updates"] = True
    return found
