# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server in this process, with the real engine, and the official client."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from qdrant_client import QdrantClient

from pantheon_qdrant_api.server import Server
from pantheon_qdrant_api.settings import Settings
from pantheon_qdrant_api.store import Store

KEY = "key-for-everything"
READING_KEY = "key-for-reading"


class Running:
    """A server; it can be stopped and started again with the same files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        self._clients: list[Any] = []
        self.start()

    def start(self) -> None:
        """Start it."""
        self.settings = Settings(
            host="127.0.0.1",
            port=self.port,
            storage=self.folder / "storage",
            snapshots=self.folder / "snapshots",
            api_key=KEY,
            read_only_key=READING_KEY,
            largest_request=1 << 20,
        )
        self.store = Store(self.settings.storage, self.settings.snapshots)
        self.store.open()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(30)

    async def _serve(self) -> int:
        self._runner = web.AppRunner(
            Server(self.settings, self.store).application(), access_log=None, shutdown_timeout=1
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    def stop(self) -> None:
        """Stop it in order."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()
        self.store.close()

    def client(self, key: str | None = KEY) -> QdrantClient:
        """Return the official client, unchanged."""
        client = QdrantClient(url=self.url, api_key=key, check_compatibility=False, timeout=30)
        self._clients.append(client)
        return client

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    """An empty server."""
    server = Running(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def client(running: Running) -> QdrantClient:
    """A client that may do everything."""
    return running.client()
