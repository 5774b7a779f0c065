# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service without an engine, and a client that speaks Bolt byte by byte."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pantheon_neo4j_api.auth import Users
from pantheon_neo4j_api.bolt import BoltServer
from pantheon_neo4j_api.errors import Neo4jError
from pantheon_neo4j_api.packstream import Structure, pack, unpack
from pantheon_neo4j_api.resp import Pool
from pantheon_neo4j_api.service import Service
from pantheon_neo4j_api.store import Store
from pantheon_neo4j_api.values import Result

PASSWORD = "a-good-password"


class FakeTransaction:
    """Writes down what happens to it."""

    def __init__(self, service: FakeService) -> None:
        self.service = service

    async def run(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        return self.service.answer(statement, parameters)

    async def commit(self) -> None:
        self.service.log.append("commit")

    async def rollback(self) -> None:
        self.service.log.append("rollback")


class FakeService(Service):
    """Returns as many rows as a statement says; the statement `fail` fails."""

    def __init__(self, users: Users) -> None:
        super().__init__(Store(Pool("/nowhere")), users)
        self.log: list[Any] = []

    def answer(self, statement: str, parameters: Mapping[str, Any]) -> Result:
        self.log.append((statement, dict(parameters)))
        if statement == "fail":
            raise Neo4jError("Neo.ClientError.Statement.SyntaxError", "It failed.")
        if statement == "create":
            return Result(counters={"nodes-created": 1}, kind="w")
        return Result(fields=["n"], rows=[[number] for number in range(int(statement))])

    async def run(
        self, database: str, statement: str, parameters: Mapping[str, Any], read_only: bool = False, seconds: float = 0
    ) -> Result:
        self.log.append((database, read_only, seconds))
        return self.answer(statement, parameters)

    def begin(self, database: str, read_only: bool = False, seconds: float = 0) -> FakeTransaction:
        self.log.append(("begin", database, read_only, seconds))
        return FakeTransaction(self)


class Client:
    """Speaks Bolt, as wrongly as a test wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.version = (0, 0)

    async def handshake(self, *offers: tuple[int, int, int]) -> tuple[int, int]:
        """Offer ranges (span, minor, major)."""
        ranges = b"".join(bytes((0, *offer)) for offer in (*offers, *[(0, 0, 0)] * (4 - len(offers))))
        self.writer.write(b"\x60\x60\xb0\x17" + ranges)
        answer = await self.reader.readexactly(4)
        self.version = (answer[3], answer[2])
        return self.version

    def send(self, tag: int, *fields: Any, chunk: int = 0xFFFF) -> None:
        data = pack(Structure(tag, list(fields)), self.version)
        for start in range(0, len(data), chunk):
            piece = data[start : start + chunk]
            self.writer.write(struct.pack(">H", len(piece)) + piece)
        self.writer.write(b"\0\0")

    async def receive(self) -> Structure:
        data = b""
        while True:
            (length,) = struct.unpack(">H", await self.reader.readexactly(2))
            if length == 0:
                message = unpack(data)
                assert isinstance(message, Structure)
                return message
            data += await self.reader.readexactly(length)

    async def call(self, tag: int, *fields: Any) -> Structure:
        self.send(tag, *fields)
        return await asyncio.wait_for(self.receive(), 10)

    async def closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), 10) == b""


@pytest.fixture
def users(tmp_path: Path) -> Users:
    made = Users(tmp_path / "users.json")
    made.prepare(("neo4j", PASSWORD))
    return made


@pytest.fixture
def service(users: Users) -> FakeService:
    return FakeService(users)


@pytest.fixture
def connected(service: FakeService) -> Callable[[], Any]:
    @asynccontextmanager
    async def make() -> AsyncIterator[Client]:
        server = BoltServer(service)
        port = await server.start("127.0.0.1", 0)
        client = Client(*await asyncio.open_connection("127.0.0.1", port))
        try:
            yield client
        finally:
            client.writer.close()
            await server.stop()

    return make
