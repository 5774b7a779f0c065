# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bolt 4.4 and 5.0 to 5.4: one session for each connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import AGENT, DATABASE, SYSTEM
from .errors import Neo4jError, ProtocolError
from .packstream import Structure, pack, parameter, unpack
from .service import OpenTransaction, Service, counters
from .values import Result

LOG = logging.getLogger(__name__)

_MAGIC = b"\x60\x60\xb0\x17"
#: The versions that are spoken, the newest first.
VERSIONS = ((5, 4), (5, 3), (5, 2), (5, 1), (5, 0), (4, 4))

_HELLO, _GOODBYE, _RESET, _RUN, _BEGIN, _COMMIT, _ROLLBACK = 0x01, 0x02, 0x0F, 0x10, 0x11, 0x12, 0x13
_DISCARD, _PULL, _TELEMETRY, _ROUTE, _LOGON, _LOGOFF = 0x2F, 0x3F, 0x54, 0x66, 0x6A, 0x6B
_SUCCESS, _RECORD, _IGNORED, _FAILURE = 0x70, 0x71, 0x7E, 0x7F
_NAMES = {
    _HELLO: "HELLO",
    _GOODBYE: "GOODBYE",
    _RESET: "RESET",
    _RUN: "RUN",
    _BEGIN: "BEGIN",
    _COMMIT: "COMMIT",
    _ROLLBACK: "ROLLBACK",
    _DISCARD: "DISCARD",
    _PULL: "PULL",
    _TELEMETRY: "TELEMETRY",
    _ROUTE: "ROUTE",
    _LOGON: "LOGON",
    _LOGOFF: "LOGOFF",
}

# Nobody who has not shown a password makes the server remember much.
_LARGEST_STRANGER = 64 * 1024
_LARGEST = 64 * 1024 * 1024
_CHUNK = 0xFFFF
# Seconds for the handshake and the first message.
_PATIENCE = 30.0
_ROUTE_SECONDS = 300
_TELEMETRY_SINCE = (5, 4)
_LOGON_SINCE = (5, 1)


def choose(offers: bytes) -> tuple[int, int] | None:
    """Return the version to speak, of the four ranges that a client offers, or None."""
    for position in range(0, 16, 4):
        _zero, span, minor, major = offers[position : position + 4]
        for version in VERSIONS:
            if version[0] == major and minor - span <= version[1] <= minor:
                return version
    return None


_Handler = Callable[[Structure], Awaitable[None]]


@dataclass
class _Stream:
    """A result that is being fetched."""

    result: Result
    position: int = 0


class Session:
    """One connection, from its handshake to its end."""

    _numbers = itertools.count(1)

    def __init__(
        self, service: Service, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str
    ) -> None:
        self._service = service
        self._reader, self._writer = reader, writer
        self._address = address
        self._number = next(self._numbers)
        self._version = VERSIONS[0]
        self._state = "CONNECTED"
        self._transaction: OpenTransaction | None = None
        self._database = DATABASE
        self._streams: dict[int, _Stream] = {}
        self._last = -1

    async def serve(self) -> None:
        """Speak with the client until one of the two has enough."""
        try:
            if not await asyncio.wait_for(self._handshake(), _PATIENCE):
                return
            while True:
                patience = _PATIENCE if self._state in ("CONNECTED", "AUTHENTICATION") else None
                message = await asyncio.wait_for(self._receive(), patience)
                if message.tag == _GOODBYE or not await self._handle(message):
                    return
                await self._writer.drain()
        except ProtocolError as error:
            LOG.warning("connection %d: %s", self._number, error)
            with contextlib.suppress(OSError):
                self._send(_FAILURE, {"code": "Neo.ClientError.Request.Invalid", "message": str(error)})
                await self._writer.drain()
        except (asyncio.IncompleteReadError, asyncio.TimeoutError, OSError):
            pass
        finally:
            await self._forget()
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()

    # -- the wire -----------------------------------------------------------------------------------------------------

    async def _handshake(self) -> bool:
        head = await self._reader.readexactly(4)
        if head != _MAGIC:
            if head[:4].isalpha() or head[:3] == b"GET":
                self._writer.write(
                    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nThis port speaks Bolt, HTTP is on 7474.\n"
                )
            return False
        version = choose(await self._reader.readexactly(16))
        self._writer.write(bytes((0, 0, version[1], version[0])) if version else b"\x00\x00\x00\x00")
        await self._writer.drain()
        if version is None:
            return False
        self._version = version
        return True

    async def _receive(self) -> Structure:
        largest = _LARGEST_STRANGER if self._state in ("CONNECTED", "AUTHENTICATION") else _LARGEST
        data = bytearray()
        while True:
            (length,) = struct.unpack(">H", await self._reader.readexactly(2))
            if length == 0:
                if data:
                    break
                continue  # a sign of life
            if len(data) + length > largest:
                raise ProtocolError(f"a message is larger than {largest} bytes")
            data += await self._reader.readexactly(length)
        message = unpack(bytes(data))
        if not isinstance(message, Structure):
            raise ProtocolError("a message is no structure")
        return message

    def _send(self, tag: int, *fields: Any) -> None:
        data = pack(Structure(tag, list(fields)), self._version)
        for position in range(0, len(data), _CHUNK):
            piece = data[position : position + _CHUNK]
            self._writer.write(struct.pack(">H", len(piece)) + piece)
        self._writer.write(b"\x00\x00")

    def _fail(self, error: Neo4jError) -> None:
        self._send(_FAILURE, {"code": error.code, "message": error.message})

    # -- the states ---------------------------------------------------------------------------------------------------

    async def _handle(self, message: Structure) -> bool:
        """Answer a message. Return whether the connection goes on."""
        if self._state in ("CONNECTED", "AUTHENTICATION"):
            return self._enter(message)
        if message.tag == _RESET:
            await self._forget()
            self._state = "READY"
            self._send(_SUCCESS, {})
            return True
        if self._state == "FAILED":
            self._send(_IGNORED)
            return True
        handler = self._handlers().get(message.tag)
        if handler is None:
            raise ProtocolError(
                f"{_NAMES.get(message.tag, hex(message.tag))} is not expected in the state {self._state}"
            )
        try:
            await handler(message)
        except Neo4jError as error:
            await self._end_transaction()
            self._state = "FAILED"
            self._fail(error)
        except (IndexError, TypeError, AttributeError) as error:
            raise ProtocolError(f"{_NAMES[message.tag]} does not have its fields") from error
        return True

    def _handlers(self) -> dict[int, _Handler]:
        """Return what may come in this state."""
        streaming: dict[int, _Handler] = {_PULL: self._pull, _DISCARD: self._discard}
        if self._state == "READY":
            ready: dict[int, _Handler] = {_RUN: self._run, _BEGIN: self._begin, _ROUTE: self._route}
            if self._version >= _LOGON_SINCE:
                ready[_LOGOFF] = self._logoff
            if self._version >= _TELEMETRY_SINCE:
                ready[_TELEMETRY] = self._telemetry
            return ready
        if self._state == "STREAMING":
            return streaming
        return {**streaming, _RUN: self._run, _COMMIT: self._commit, _ROLLBACK: self._rollback}

    def _enter(self, message: Structure) -> bool:
        """HELLO, and since 5.1 LOGON: who is there."""
        wanted = _HELLO if self._state == "CONNECTED" else _LOGON
        if message.tag != wanted:
            raise ProtocolError(f"{_NAMES[wanted]} is expected first")
        token = message.fields[0] if message.fields and isinstance(message.fields[0], dict) else {}
        try:
            if wanted == _LOGON or self._version < _LOGON_SINCE:
                self._service.users.check_token(token)
        except Neo4jError as error:
            self._fail(error)
            return False
        if wanted == _LOGON:
            self._send(_SUCCESS, {})
            self._state = "READY"
        else:
            self._send(_SUCCESS, {"server": AGENT, "connection_id": f"bolt-{self._number}", "hints": {}})
            self._state = "AUTHENTICATION" if self._version >= _LOGON_SINCE else "READY"
        return True

    async def _logoff(self, _message: Structure) -> None:
        self._state = "AUTHENTICATION"
        self._send(_SUCCESS, {})

    async def _telemetry(self, _message: Structure) -> None:
        self._send(_SUCCESS, {})

    async def _forget(self) -> None:
        self._streams = {}
        await self._end_transaction()

    async def _end_transaction(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            try:
                await transaction.rollback()
            except Neo4jError as error:
                LOG.error("connection %d: rolling back failed: %s", self._number, error)

    # -- statements ---------------------------------------------------------------------------------------------------

    async def _run(self, message: Structure) -> None:
        statement, given, extra = message.fields[0], message.fields[1], message.fields[2]
        parameters = _parameters(given)
        if self._transaction is not None:
            result = await self._transaction.run(statement, parameters)
            self._last += 1
        else:
            self._database = str(extra.get("db") or DATABASE)
            self._streams, self._last = {}, 0
            result = await self._service.run(self._database, statement, parameters, _reads(extra), _seconds(extra))
        self._streams[self._last] = _Stream(result)
        answer: dict[str, Any] = {"fields": result.fields, "t_first": result.milliseconds}
        if self._transaction is not None:
            answer["qid"] = self._last
            self._state = "TX_STREAMING"
        else:
            self._state = "STREAMING"
        self._send(_SUCCESS, answer)

    async def _pull(self, message: Structure) -> None:
        await self._fetch(message, True)

    async def _discard(self, message: Structure) -> None:
        await self._fetch(message, False)

    async def _fetch(self, message: Structure, send: bool) -> None:
        extra = message.fields[0]
        number, wanted = int(extra.get("n", -1)), int(extra.get("qid", -1))
        stream = self._streams.get(self._last if wanted == -1 else wanted)
        if stream is None:
            raise Neo4jError("Neo.ClientError.Request.Invalid", f"There is no open result with the number {wanted}.")
        rows = stream.result.rows
        end = len(rows) if number < 0 else min(len(rows), stream.position + number)
        for row in rows[stream.position : end] if send else ():
            self._send(_RECORD, row)
            if self._writer.transport.get_write_buffer_size() > 2**20:
                await self._writer.drain()
        stream.position = end
        if end < len(rows):
            self._send(_SUCCESS, {"has_more": True})
            return
        self._streams = {key: value for key, value in self._streams.items() if value is not stream}
        self._send(_SUCCESS, self._summary(stream.result))
        if self._transaction is None:
            self._state = "READY"
        elif not self._streams:
            self._state = "TX_READY"

    def _summary(self, result: Result) -> dict[str, Any]:
        summary: dict[str, Any] = {"type": result.kind, "t_last": 0, "db": self._database}
        changed = counters(result)
        if changed:
            summary["stats"] = changed
        if result.plan is not None:
            summary["plan"] = result.plan
        if self._transaction is None:
            summary["bookmark"] = self._service.bookmark
        return summary

    # -- transactions -------------------------------------------------------------------------------------------------

    async def _begin(self, message: Structure) -> None:
        extra = message.fields[0]
        self._database = str(extra.get("db") or DATABASE)
        self._streams, self._last = {}, -1
        self._transaction = self._service.begin(self._database, _reads(extra), _seconds(extra))
        self._state = "TX_READY"
        self._send(_SUCCESS, {})

    async def _commit(self, _message: Structure) -> None:
        assert self._transaction is not None
        self._only_without_results("COMMIT")
        await self._transaction.commit()
        self._transaction = None
        self._state = "READY"
        self._send(_SUCCESS, {"bookmark": self._service.bookmark})

    async def _rollback(self, _message: Structure) -> None:
        self._only_without_results("ROLLBACK")
        await self._end_transaction()
        self._streams = {}
        self._state = "READY"
        self._send(_SUCCESS, {})

    def _only_without_results(self, name: str) -> None:
        if self._state == "TX_STREAMING":
            raise ProtocolError(f"{name} is not expected while a result is open")

    # -- routing ------------------------------------------------------------------------------------------------------

    async def _route(self, message: Structure) -> None:
        context = message.fields[0]
        last = message.fields[2] if len(message.fields) > 2 else None
        wanted = last.get("db") if isinstance(last, dict) else last
        if wanted and str(wanted).lower() not in (DATABASE, SYSTEM):
            raise Neo4jError(
                "Neo.ClientError.Database.DatabaseNotFound",
                f"Unable to get a routing table for database {wanted!r} because this database does not exist",
            )
        # There is one server: the one that the client has just reached, by the name under which it reached it.
        address = str(context.get("address") or self._address)
        servers = [{"addresses": [address], "role": role} for role in ("ROUTE", "READ", "WRITE")]
        self._send(_SUCCESS, {"rt": {"ttl": _ROUTE_SECONDS, "db": wanted or DATABASE, "servers": servers}})


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = parameter(given)
    except ValueError as error:
        raise Neo4jError(
            "Neo.ClientError.Statement.TypeError", f"A parameter is {error}, and FalkorDB has no such value."
        ) from error
    return found


def _reads(extra: Mapping[str, Any]) -> bool:
    return extra.get("mode") == "r"


def _seconds(extra: Mapping[str, Any]) -> float:
    return float(extra.get("tx_timeout") or 0) / 1000


class BoltServer:
    """Listens, and keeps the sessions."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen. Return the port."""
        self._server = await asyncio.start_server(self._connected, host, port)
        chosen: int = self._server.sockets[0].getsockname()[1]
        return chosen

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("sockname")
        task = asyncio.current_task()
        assert task is not None
        self._sessions.add(task)
        try:
            await Session(self._service, reader, writer, f"{own[0]}:{own[1]}").serve()
        except asyncio.CancelledError:
            pass
        finally:
            self._sessions.discard(task)

    async def stop(self) -> None:
        """End all sessions; what they had not committed is rolled back."""
        if self._server is not None:
            self._server.close()
        for task in list(self._sessions):
            task.cancel()
        if self._sessions:
            await asyncio.wait(list(self._sessions), timeout=5)
