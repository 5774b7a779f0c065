# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A client for the Redis protocol over a local socket; just what the engine needs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

# The longest line of the protocol is an error; the engine's may quote a statement.
_LINE = 2**24


class EngineError(Exception):
    """The engine answered with an error."""


class Connection:
    """One connection; it carries one command at a time."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.usable = True

    @classmethod
    async def open(cls, path: str) -> Connection:
        """Connect to a local socket."""
        return cls(*await asyncio.open_unix_connection(path, limit=_LINE))

    async def call(self, *arguments: str | bytes | int) -> Any:
        """Send a command and return the answer; an error inside an answer is returned as an object.

        Raises:
            EngineError: The whole answer is an error.
            OSError: The engine is gone.
        """
        data = bytearray(b"*%d\r\n" % len(arguments))
        for argument in arguments:
            piece = argument if isinstance(argument, bytes) else str(argument).encode("utf-8", "surrogateescape")
            data += b"$%d\r\n%s\r\n" % (len(piece), piece)
        done = False
        try:
            self._writer.write(bytes(data))
            await self._writer.drain()
            answer = await self._read()
            done = True
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("the engine closed the connection") from error
        finally:
            # After an answer that nobody read the next one would be the wrong one.
            if not done:
                self.close()
        if isinstance(answer, EngineError):
            raise answer
        return answer

    async def _read(self) -> Any:
        line = await self._reader.readuntil(b"\r\n")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return EngineError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            if rest == b"-1":
                return None
            data = await self._reader.readexactly(int(rest) + 2)
            return data[:-2].decode("utf-8", "surrogateescape")
        if kind == b"*":
            if rest == b"-1":
                return None
            return [await self._read() for _number in range(int(rest))]
        raise ConnectionResetError(f"the engine does not speak the Redis protocol: {line[:80]!r}")

    def close(self) -> None:
        """Close the connection."""
        self.usable = False
        self._writer.close()


class Pool:
    """Connections that are lent for one command."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._idle: list[Connection] = []

    @contextlib.asynccontextmanager
    async def lend(self) -> AsyncIterator[Connection]:
        """Lend a connection; a broken one is not taken back."""
        connection = self._idle.pop() if self._idle else await Connection.open(self.path)
        try:
            yield connection
        finally:
            if connection.usable:
                self._idle.append(connection)

    async def call(self, *arguments: str | bytes | int) -> Any:
        """Run one command."""
        async with self.lend() as connection:
            return await connection.call(*arguments)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()
