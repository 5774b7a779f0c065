# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The graph, with Neo4j's transactions.

FalkorDB runs each query by itself, whole or not at all, and knows no transaction of several queries. An explicit
transaction that changes something therefore works on a copy of the graph, which only it sees, and which takes the graph's
place in one step when it is committed. Meanwhile no one else changes the graph; readers go on reading it as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from . import DATABASE, schema
from .compact import Names, UnknownNameError, to_result
from .cypher import bare, may_write, split_mode, with_parameters
from .engine import FILE
from .errors import Neo4jError, from_engine, unsupported
from .resp import EngineError, Pool
from .values import Result

LOG = logging.getLogger(__name__)

_COPY = "transaction:"
#: How the files begin that are on their way into a backup.
DUMP = "dump-"
_PLAN_INDENT = 4


class Store:
    """The graph behind a socket of the engine."""

    def __init__(self, pool: Pool, lock_seconds: float = 30.0, transaction_seconds: float = 120.0) -> None:
        self.pool = pool
        self.lock_seconds = lock_seconds
        self.transaction_seconds = transaction_seconds
        self._names: dict[str, Names] = {}
        self._writing = asyncio.Lock()
        self._saving = asyncio.Lock()
        self._changes = self._saved = 0
        self._commits = 0
        self._epoch = secrets.token_hex(4)

    async def prepare(self) -> None:
        """Make the graph where there is none, and remove the copies of transactions that never ended."""
        for key in await self._call("GRAPH.LIST"):
            if str(key).startswith(_COPY):
                LOG.warning("a transaction that was open when the server ended is rolled back")
                await self._call("GRAPH.DELETE", str(key))
        for key in await self._call("KEYS", f"{schema.names_of(_COPY)}*"):
            await self._call("DEL", str(key))
        await self._call("GRAPH.QUERY", DATABASE, "RETURN 1")
        await schema.renew_constraints(self, DATABASE)
        await self.save()

    @property
    def bookmark(self) -> str:
        """A mark of what is committed; there is one server, so that whoever holds it always sees that much."""
        return f"{self._epoch}:{self._commits}"

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Keep everyone else from changing the graph."""
        await self._lock()
        try:
            yield
        finally:
            self._writing.release()

    async def _lock(self) -> None:
        try:
            await asyncio.wait_for(self._writing.acquire(), self.lock_seconds)
        except asyncio.TimeoutError:
            raise Neo4jError(
                "Neo.TransientError.Transaction.LockAcquisitionTimeout",
                f"Another transaction has been changing the graph for more than {self.lock_seconds:g} seconds; try again.",
            ) from None

    # -- statements ---------------------------------------------------------------------------------------------------

    async def run(
        self, statement: str, parameters: Mapping[str, Any], read_only: bool = False, seconds: float = 0
    ) -> Result:
        """Run one statement by itself."""
        return await self.execute(DATABASE, statement, parameters, read_only, seconds, self.alone)

    async def execute(
        self,
        key: str,
        statement: str,
        parameters: Mapping[str, Any],
        read_only: bool,
        seconds: float,
        writing: Any,
    ) -> Result:
        """Run a statement on a graph; writing gives the right to change it, and may say that another one is meant."""
        mode, body = split_mode(statement)
        if mode == "PROFILE":
            raise unsupported("PROFILE is not there: FalkorDB returns a profile or the rows, never both")
        if not bare(body).strip():
            raise Neo4jError("Neo.ClientError.Statement.SyntaxError", "The statement is empty.")
        if mode == "EXPLAIN":
            return Result(plan=await self._explain(key, body, parameters))
        change = schema.parse(body)
        if isinstance(change, schema.Show):
            return await schema.show(self, key, change)
        if change is None and not may_write(body):
            try:
                return await self.query(key, body, parameters, True, seconds)
            except Neo4jError as error:
                if error.code != "Neo.ClientError.Statement.AccessMode" or read_only:
                    raise
        if read_only:
            raise Neo4jError("Neo.ClientError.Statement.AccessMode", "Writing in read access mode is not allowed.")
        async with writing() as other:
            if change is not None:
                result = await schema.apply(self, other or key, change)
            else:
                result = await self.query(other or key, body, parameters, False, seconds)
            if other is None:
                self._commits += 1
        if other is None:
            await self.save()
        return result

    async def query(
        self, key: str, statement: str, parameters: Mapping[str, Any], read_only: bool, seconds: float = 0
    ) -> Result:
        """Send a statement to the engine."""
        arguments: list[str | int] = [
            "GRAPH.RO_QUERY" if read_only else "GRAPH.QUERY",
            key,
            with_parameters(statement, parameters),
            "--compact",
        ]
        if seconds > 0:
            arguments += ["TIMEOUT", max(1, round(seconds * 1000))]
        began = time.monotonic()
        answer = await self._call(*arguments)
        names = self._names.get(key)
        if names is None:
            names = self._names[key] = Names(lambda procedure: self.column(key, procedure))
        try:
            try:
                result = to_result(answer, names)
            except UnknownNameError:
                await names.refresh()
                result = to_result(answer, names)
        except EngineError as error:
            raise from_engine(str(error)) from error
        result.milliseconds = round((time.monotonic() - began) * 1000)
        result.kind = "r" if read_only else "rw" if result.fields else "w"
        return result

    async def column(self, key: str, procedure: str) -> list[str]:
        """Return the one column that a procedure yields; not in the compact form, which would need these very names."""
        answer = await self._call("GRAPH.RO_QUERY", key, f"CALL {procedure}")
        return [str(row[0]) for row in answer[1]]

    async def command(self, *arguments: str | int) -> Any:
        """Send a command that is no query."""
        return await self._call(*arguments)

    async def _call(self, *arguments: str | int) -> Any:
        try:
            return await self.pool.call(*arguments)
        except EngineError as error:
            raise from_engine(str(error)) from error
        except OSError as error:
            raise _gone(error) from error

    async def _explain(self, key: str, statement: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        lines = await self._call("GRAPH.EXPLAIN", key, with_parameters(statement, parameters))
        root: dict[str, Any] = {}
        stack: list[tuple[int, dict[str, Any]]] = []
        for line in lines:
            depth = (len(line) - len(line.lstrip())) // _PLAN_INDENT
            operator, _bar, details = line.strip().partition(" | ")
            entry = {"operatorType": operator, "args": {"Details": details}, "identifiers": [], "children": []}
            while stack and stack[-1][0] >= depth:
                stack.pop()
            if stack:
                stack[-1][1]["children"].append(entry)
            elif not root:
                root = entry
            stack.append((depth, entry))
        return root

    # -- transactions -------------------------------------------------------------------------------------------------

    def begin(self, read_only: bool = False, seconds: float = 0) -> Transaction:
        """Begin an explicit transaction."""
        limit = min(seconds, self.transaction_seconds) if seconds > 0 else self.transaction_seconds
        return Transaction(self, read_only, limit)

    async def copy(self) -> str:
        """Take the right to change the graph, and return the key of a copy of it."""
        await self._lock()
        key = f"{_COPY}{secrets.token_hex(8)}"
        try:
            await self._call("GRAPH.COPY", DATABASE, key)
            await self._call("COPY", schema.names_of(DATABASE), schema.names_of(key))
            await schema.renew_constraints(self, key)
        except BaseException:
            with contextlib.suppress(EngineError, OSError):
                await self.pool.call("GRAPH.DELETE", key)
            self._writing.release()
            raise
        return key

    async def put_in_place(self, key: str) -> None:
        """Let a copy take the place of the graph, and give the right to change it back."""
        copied, names = schema.names_of(key), schema.names_of(DATABASE)
        try:
            there = await self._call("EXISTS", copied)
            async with self.pool.lend() as connection:
                await connection.call("MULTI")
                await connection.call("RENAME", key, DATABASE)
                await connection.call(*(("RENAME", copied, names) if there else ("DEL", names)))
                answers = await connection.call("EXEC")
            for answer in answers:
                if isinstance(answer, EngineError):
                    raise from_engine(str(answer))
            self._commits += 1
        except EngineError as error:
            raise from_engine(str(error)) from error
        except OSError as error:
            raise _gone(error) from error
        finally:
            # The names of the copy are those of the graph now.
            self._names.pop(key, None)
            self._names.pop(DATABASE, None)
            self._writing.release()
        await self.save()

    async def discard(self, key: str) -> None:
        """Remove a copy, and give the right to change the graph back."""
        try:
            await self._call("GRAPH.DELETE", key)
            await self._call("DEL", schema.names_of(key))
        finally:
            self._names.pop(key, None)
            self._writing.release()

    async def save(self) -> None:
        """Write the graph to the disk. Changes that come while it is written share the next time."""
        self._changes += 1
        mine = self._changes
        async with self._saving:
            if self._saved >= mine:
                return
            covered = self._changes
            try:
                await self.pool.call("SAVE")
            except (EngineError, OSError) as error:
                raise Neo4jError(
                    "Neo.DatabaseError.Transaction.TransactionCommitFailed",
                    f"The change was made, but it could not be written to the disk, and may be lost: {error}",
                ) from error
            self._saved = covered

    # -- backups ------------------------------------------------------------------------------------------------------

    async def counts(self, key: str = DATABASE) -> dict[str, int | str]:
        """Return what the graph holds, in numbers that a copy of it must give as well."""
        found: dict[str, int | str] = {}
        for name, statement in {
            "nodes": "MATCH (n) RETURN count(n)",
            "relationships": "MATCH ()-[r]->() RETURN count(r)",
            "node_properties": "MATCH (n) RETURN toInteger(coalesce(sum(size(keys(n))), 0))",
            "relationship_properties": "MATCH ()-[r]->() RETURN toInteger(coalesce(sum(size(keys(r))), 0))",
        }.items():
            found[name] = int((await self.query(key, statement, {}, True)).rows[0][0])
        for name, statement in {
            "labels": "MATCH (n) UNWIND labels(n) AS name RETURN name, count(*) AS number ORDER BY name",
            "types": "MATCH ()-[r]->() RETURN type(r) AS name, count(*) AS number ORDER BY name",
        }.items():
            rows = (await self.query(key, statement, {}, True)).rows
            found[name] = "".join(f"{label}:{number} " for label, number in rows)
        return found

    async def dump(self, folder: Path) -> tuple[Path, dict[str, int | str]]:
        """Save the graph, and return a file with it and what is in it at the same moment."""
        path = folder / f"{DUMP}{secrets.token_hex(4)}.rdb"
        async with self.alone():
            found = await self.counts()
            await self.save()
            # The next change puts another file under the old name; this one stays as it is.
            path.hardlink_to(folder / FILE)
        return path, found


def _gone(error: OSError) -> Neo4jError:
    return Neo4jError("Neo.TransientError.General.DatabaseUnavailable", f"The engine does not answer: {error}")


class Transaction:
    """An explicit transaction. It ends by itself when its time is over."""

    def __init__(self, store: Store, read_only: bool, seconds: float) -> None:
        self.store = store
        self.read_only = read_only
        self._seconds = seconds
        self._key: str | None = None
        self._busy = asyncio.Lock()
        self._over = ""
        self._timer = asyncio.get_running_loop().create_task(self._expire())

    async def _expire(self) -> None:
        await asyncio.sleep(self._seconds)
        async with self._busy:
            if not self._over:
                await self._end("it took longer than its time limit")

    @contextlib.asynccontextmanager
    async def _own(self) -> AsyncIterator[str]:
        if self._key is None:
            self._key = await self.store.copy()
        yield self._key

    def _open(self) -> None:
        if self._over:
            raise Neo4jError(
                "Neo.ClientError.Transaction.TransactionTimedOut", f"The transaction was rolled back: {self._over}."
            )

    async def run(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        """Run a statement in the transaction."""
        async with self._busy:
            self._open()
            key = self._key or DATABASE
            return await self.store.execute(key, statement, parameters, self.read_only, self._seconds, self._own)

    async def commit(self) -> None:
        """Let everybody see what the transaction changed."""
        async with self._busy:
            self._open()
            self._over = "it is over"
            self._timer.cancel()
            if self._key is not None:
                key, self._key = self._key, None
                await self.store.put_in_place(key)

    async def rollback(self) -> None:
        """Forget what the transaction changed; nothing happens where it is over."""
        async with self._busy:
            self._timer.cancel()
            if not self._over:
                await self._end("it is over")

    async def _end(self, reason: str) -> None:
        self._over = reason
        if self._key is not None:
            key, self._key = self._key, None
            await self.store.discard(key)
