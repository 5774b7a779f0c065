# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A router that answers like llama-server's, without any model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from pantheon_lab_models import library
from pantheon_ollama_api.router import Preset, Router, RouterError
from pantheon_ollama_api.server import Server
from pantheon_ollama_api.settings import Settings
from pantheon_ollama_api.store import Store


class FakeRouter(Router):
    """Keeps what it was asked; every answer is the words of `words`."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.presets: dict[str, int] = {}
        self.running: set[str] = set()
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.words = ["Hello", " there"]
        self.limit = 10_000
        self.gate: asyncio.Event | None = None
        self.cancelled = 0
        self.fail_at: int | None = None
        self.deltas: list[dict[str, Any]] = []

    async def write_presets(self, presets: Iterable[Preset]) -> None:
        new = {preset.model.name.router_id: preset.context for preset in presets}
        self.running = {name for name in self.running if new.get(name) == self.presets.get(name)}
        self.presets = new

    async def states(self) -> dict[str, dict[str, Any]]:
        return {name: {"value": "loaded" if name in self.running else "unloaded"} for name in self.presets}

    async def load(self, router_id: str) -> None:
        self.loads.append(router_id)
        self.running.add(router_id)

    async def unload(self, router_id: str) -> None:
        self.unloads.append(router_id)
        self.running.discard(router_id)

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        self.requests.append((path, dict(body)))
        if path == "/v1/embeddings":
            return {
                "data": [{"index": n, "embedding": [3.0, 4.0]} for n in reversed(range(len(body["input"])))],
                "usage": {"prompt_tokens": 5},
            }
        return {"prompt": "written out", "tokens": [1, 2, 3], "content": "before "}

    async def events(self, path: str, body: Any) -> Any:
        self.requests.append((path, dict(body)))
        if len(json.dumps(body)) > self.limit:
            raise RouterError("request exceeds the available context size", 400, "exceed_context_size_error")
        try:
            for index, word in enumerate(self.words):
                if self.fail_at == index:
                    raise RouterError("the model fell over")
                yield {"choices": [{"delta": {"content": word}, "finish_reason": None}]}
                if self.gate is not None:
                    await self.gate.wait()
            for delta in self.deltas:
                yield {"choices": [{"delta": delta, "finish_reason": None}]}
            yield {"choices": [{"delta": {}, "finish_reason": "stop"}]}
            timings = {"prompt_n": 3, "prompt_ms": 1.5, "predicted_n": 2, "predicted_ms": 2.5}
            yield {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 2}, "timings": timings}
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled += 1
            raise


class Lab:
    """A server over the fake router, with a client."""

    def __init__(self, client: TestClient[Any, Any], router: FakeRouter, store: Store) -> None:
        self.client = client
        self.router = router
        self.store = store

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        async with self.client.post(path, json=body) as answer:
            text = await answer.text()
            lines = [json.loads(line) for line in text.splitlines()]
            return answer.status, lines if answer.content_type == "application/x-ndjson" else lines[0]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    library.build(tmp_path / "library")
    return Settings.from_environment(
        {
            "OLLAMA_MODELS": str(tmp_path / "models"),
            "PANTHEON_LIBRARY": str(tmp_path / "library"),
            "PANTHEON_RUNTIME": str(tmp_path / "run"),
            "OLLAMA_KEEP_ALIVE": "5m",
        }
    )


@pytest.fixture
def store(settings: Settings) -> Store:
    store = Store(settings.models, settings.library)
    store.prepare()
    return store


@asynccontextmanager
async def running(settings: Settings, store: Store) -> AsyncIterator[Lab]:
    router = FakeRouter(settings)
    server = Server(settings, store, router)
    await server.refresh()
    async with TestClient(TestServer(server.application()), timeout=None) as client:
        yield Lab(client, router, store)
    await server.close()


@pytest.fixture
def lab(settings: Settings, store: Store) -> Callable[[Callable[[Lab], Awaitable[None]]], None]:
    """Runs an asynchronous test against a lab with all three models pulled."""

    def run(test: Callable[[Lab], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with running(settings, store) as lab:
                for name in ("lab-small", "lab-large", "lab-embed"):
                    assert (await lab.post("/api/pull", {"model": name, "stream": False}))[1] == {"status": "success"}
                await asyncio.wait_for(test(lab), 20)

        asyncio.run(whole())

    return run
