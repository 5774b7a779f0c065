# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""llama-server in router mode: its presets, its process and its HTTP API on a local socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from .settings import Settings
from .store import Model

LOG = logging.getLogger(__name__)

_READY_TIMEOUT = 15.0
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 8.0
# A router that dies this often, each time within these seconds of its start, will not get better by itself.
_HOPELESS, _QUICK = 5, 10.0
_UNREACHED, _RETRIES = "proxy error: Could not establish connection", 20
_POOLING = {1: "mean", 2: "cls", 3: "last", 4: "rank"}


class RouterError(Exception):
    """The router gave an error, or no answer.

    Attributes:
        status: HTTP status for the client.
        kind: llama-server's error type, if it gave one.
    """

    def __init__(self, message: str, status: int = 500, kind: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind


class RouterGoneError(RouterError):
    """llama-server cannot be started, or keeps dying."""


@dataclass(frozen=True)
class Preset:
    """A model and the context length it is to be loaded with."""

    model: Model
    context: int


def presets_text(presets: Iterable[Preset], settings: Settings) -> str:
    """The router's preset file.

    Args:
        presets: the models.
        settings: threads and parallel requests.

    Returns:
        The file's text; the same for the same models in any order.
    """
    lines = [
        "version = 1",
        "",
        "[*]",
        f"threads = {settings.threads}",
        f"parallel = {settings.parallel}",
        # Every slot has a context of its own, so that one request cannot take another's.
        "kv-unified = 0",
        # The prompt cache in host memory would grow to gigabytes.
        "cache-ram = 0",
        "batch-size = 512",
        "ubatch-size = 128",
    ]
    for preset in sorted(presets, key=lambda item: item.model.name.router_id):
        lines += [
            "",
            f"[{preset.model.name.router_id}]",
            f"model = {preset.model.path}",
            f"ctx-size = {preset.context * settings.parallel}",
        ]
        if preset.model.gguf.pooling:
            # Only here: chat and embeddings in one instance crash. An input has to fit into one batch.
            pooling = _POOLING.get(preset.model.gguf.pooling, "mean")
            lines += ["embeddings = 1", f"pooling = {pooling}"]
            lines += [f"batch-size = {preset.context}", f"ubatch-size = {preset.context}"]
    return "\n".join(lines) + "\n"


class Router:
    """Starts llama-server, starts it again when it dies, and speaks to it."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is started yet."""
        self._settings = settings
        self._socket = settings.runtime / "router.sock"
        self._presets = settings.runtime / "presets.ini"
        self._ready = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._session: aiohttp.ClientSession | None = None
        self._stopping = False
        self.starts = 0

    async def run(self) -> None:
        """Keep llama-server running until cancelled.

        Raises:
            RouterGoneError: It cannot be started or dies at once, again and again.
        """
        self._settings.runtime.mkdir(parents=True, exist_ok=True)
        connector = aiohttp.UnixConnector(path=str(self._socket), limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout)
        quick = 0
        try:
            while True:
                began = time.monotonic()
                code = await self._run_once()
                quick = quick + 1 if time.monotonic() - began < _QUICK else 0
                LOG.error("llama-server ended with code %s; it is started again", code)
                if quick >= _HOPELESS:
                    raise RouterGoneError(
                        f"llama-server ended {quick} times right after its start, last with code {code}"
                    )
                await asyncio.sleep(min(0.2 * 2**quick, 5.0))
        finally:
            await self._stop()
            await self._session.close()

    async def write_presets(self, presets: Iterable[Preset]) -> None:
        """Tell the router which models there are.

        A loaded model whose section changed or went away is unloaded by the router; the others stay as they are.

        Args:
            presets: all models.
        """
        text = presets_text(presets, self._settings)
        self._settings.runtime.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            if self._presets.read_text(encoding="utf-8") == text:
                return
        partial = self._presets.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self._presets)
        if self._ready.is_set():
            await self.reload()

    async def reload(self) -> None:
        """Have the router read its preset file again."""
        await self.get("/models?reload=1")

    async def states(self) -> dict[str, dict[str, Any]]:
        """Status object of every model, by router id."""
        answer = await self.get("/models")
        return {str(item["id"]): dict(item.get("status") or {}) for item in answer.get("data", [])}

    async def load(self, router_id: str) -> None:
        """Load a model and wait until it is loaded.

        Raises:
            RouterError: It cannot be loaded, or takes longer than OLLAMA_LOAD_TIMEOUT.
        """
        try:
            await self.post("/models/load", {"model": router_id})
        except RouterError as error:
            if "already" not in str(error):
                raise
        state = await self._wait(router_id, ("loaded", "sleeping"), self._settings.load_timeout)
        if state.get("value") not in ("loaded", "sleeping"):
            code = state.get("exit_code")
            reason = f"exit status {code}" if code is not None else f"timed out ({state.get('value')})"
            raise RouterError(f"llama runner process has terminated: {reason}")

    async def unload(self, router_id: str) -> None:
        """Unload a model and wait until it is gone; it is no error if it is not loaded."""
        try:
            await self.post("/models/unload", {"model": router_id})
        except RouterError as error:
            if "not running" in str(error) or "not found" in str(error):
                return
            raise
        await self._wait(router_id, ("unloaded",), 15.0)

    async def get(self, path: str) -> dict[str, Any]:
        """GET a JSON object.

        Raises:
            RouterError: No or a bad answer.
        """
        async with self._request("GET", path, None) as response:
            return await _object(response)

    async def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """POST a JSON object and get one.

        Raises:
            RouterError: No or a bad answer.
        """
        async with self._request("POST", path, body) as response:
            return await _object(response)

    async def events(self, path: str, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """POST a JSON object and get the data of the server-sent events.

        Raises:
            RouterError: No answer, or an error in place of or among the events.
        """
        async with self._request("POST", path, body) as response:
            async for line in lines_of(response):
                name, _colon, data = line.partition(b":")
                data = data.strip()
                if name not in (b"data", b"error") or not data or data == b"[DONE]":
                    continue
                try:
                    event = json.loads(data)
                except ValueError as error:
                    raise RouterError(f"llama-server sent an event that is not JSON: {data[:200]!r}") from error
                if name == b"error" or "error" in event:
                    raise _error_of(event.get("error", event), 500)
                yield event

    @contextlib.asynccontextmanager
    async def forward(self, method: str, path: str, body: Mapping[str, Any]) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give its answer as it is, errors of the router's included.

        Raises:
            RouterError: No answer.
        """
        async with self._raw(method, path, body) as response:
            yield response

    # -- inside -------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        for attempt in itertools.count():
            async with self._raw(method, path, body) as response:
                if response.status < 400:
                    yield response
                    return
                text = await response.text()
            # A model's process has died and the router has not seen it yet. The request did not reach the model, and
            # the router starts it again with the next one.
            if not text.startswith(_UNREACHED) or attempt >= _RETRIES:
                break
            await asyncio.sleep(0.1)
        try:
            error = json.loads(text)["error"]
        except (ValueError, KeyError, TypeError):
            error = text.strip()
        raise _error_of(error, response.status)

    @contextlib.asynccontextmanager
    async def _raw(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if not self._ready.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._ready.wait(), _READY_TIMEOUT)
        if self._session is None or not self._ready.is_set():
            raise RouterError("llama-server is not running; it is being started, try again", 503)
        try:
            async with self._session.request(method, f"http://router{path}", json=body) as response:
                yield response
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise RouterError(f"llama-server does not answer: {error or type(error).__name__}", 503) from error

    async def _wait(self, router_id: str, wanted: tuple[str, ...], seconds: float) -> dict[str, Any]:
        """Wait for a model's status; gives the last one seen, wanted or not."""
        end = time.monotonic() + seconds if seconds >= 0 else float("inf")
        pause = 0.005
        while True:
            state = (await self.states()).get(router_id, {"value": "unloaded"})
            value = state.get("value")
            if value in wanted or (value == "unloaded" and state.get("failed")) or time.monotonic() > end:
                return state
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.25)

    async def _run_once(self) -> int:
        settings = self._settings
        self._socket.unlink(missing_ok=True)
        command = [settings.llama_server, "--host", str(self._socket), "--models-preset", str(self._presets)]
        command += ["--models-max", str(settings.loaded), "--offline", "--no-ui", "--timeout", "3600"]
        command += ["--log-verbosity", "3" if settings.debug else "1"]
        try:
            self._process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL)
        except OSError as error:
            raise RouterGoneError(f"cannot start {settings.llama_server}: {error}; install llama.cpp-tools") from error
        self.starts += 1
        watcher = asyncio.create_task(self._watch_start())
        try:
            return await self._process.wait()
        finally:
            self._ready.clear()
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _watch_start(self) -> None:
        """Mark the router ready once it answers."""
        assert self._session is not None
        end = time.monotonic() + _START_TIMEOUT
        while time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
                async with self._session.get("http://router/health") as response:
                    if response.status == 200:
                        self._ready.set()
                        return
            await asyncio.sleep(0.02)
        LOG.error("llama-server did not answer within %.0f s of its start; it is stopped", _START_TIMEOUT)
        if self._process is not None:
            self._process.kill()

    async def _stop(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), _STOP_TIMEOUT)
        except asyncio.TimeoutError:
            LOG.error("llama-server did not end within %.0f s of SIGTERM; it is killed", _STOP_TIMEOUT)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def lines_of(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer as they come, of any length, without their ends."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.rstrip(b"\r")
    if rest:
        yield rest


async def _object(response: aiohttp.ClientResponse) -> dict[str, Any]:
    try:
        answer = json.loads(await response.read())
    except ValueError as error:
        raise RouterError("llama-server gave an answer that is not JSON") from error
    return answer if isinstance(answer, dict) else {"data": answer}


def _error_of(error: object, status: int) -> RouterError:
    if not isinstance(error, dict):
        return RouterError(str(error) or "llama-server gave an empty error", status)
    code = error.get("code")
    return RouterError(
        str(error.get("message", error)),
        code if isinstance(code, int) and 400 <= code < 600 else status,
        str(error.get("type", "")),
    )
