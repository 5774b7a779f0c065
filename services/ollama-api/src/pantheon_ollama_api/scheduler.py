# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which models are loaded, with which context, and for how long: Ollama's keep_alive over the router."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

from .router import Preset, RouterError
from .store import Model

LOG = logging.getLogger(__name__)

# An embedding model takes a text in one batch, and the memory for a batch grows with its square: 2,048 tokens are 16 MiB,
# 16,384 would be 1 GiB.
_EMBEDDING_DEFAULT, _EMBEDDING_LIMIT = 2048, 4096
_FOREVER = timedelta(days=292 * 365)  # what Ollama shows for a model that is kept for ever


class RouterLike(Protocol):
    """What the scheduler needs of the router."""

    async def write_presets(self, presets: Iterable[Preset]) -> None: ...
    async def reload(self) -> None: ...
    async def states(self) -> dict[str, dict[str, Any]]: ...
    async def load(self, router_id: str) -> None: ...
    async def unload(self, router_id: str) -> None: ...


@dataclass
class _Instance:
    """One model's place in the router."""

    model: Model
    context: int
    keep_alive: float
    requests: int = 0
    expires: datetime | None = None
    timer: asyncio.TimerHandle | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    idle: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Loaded:
    """A loaded model, for /api/ps."""

    model: Model
    context: int
    expires: datetime


class Scheduler:
    """Loads models before their requests and unloads them some time after."""

    def __init__(self, router: RouterLike, context: int, keep_alive: float) -> None:
        """Start with no model.

        Args:
            router: the router.
            context: context length where a request names none.
            keep_alive: seconds that a model stays where a request names none; negative for ever.
        """
        self._router = router
        self._context = context
        self._keep_alive = keep_alive
        self._instances: dict[str, _Instance] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def sync(self, models: Iterable[Model]) -> None:
        """Take over the list of models; those that went away are unloaded.

        Args:
            models: all models there are.
        """
        known = {model.name.router_id: model for model in models}
        for router_id in set(self._instances) - set(known):
            self._cancel(self._instances.pop(router_id))
        for router_id, model in known.items():
            instance = self._instances.get(router_id)
            if instance is None:
                self._instances[router_id] = _Instance(model, self.fit(model, None), self._keep_alive)
            else:
                instance.model = model
        await self._write()

    @contextlib.asynccontextmanager
    async def use(self, model: Model, context: int | None, keep_alive: float | None) -> AsyncIterator[int]:
        """Have a model loaded for as long as the request runs.

        As with Ollama, another context length means loading the model anew, once nobody uses it any more.

        Args:
            model: the model.
            context: the context length the request asks for; None for the default.
            keep_alive: seconds the model stays after the request, negative for ever; None for the default.

        Yields:
            Nanoseconds that the loading took.

        Raises:
            RouterError: The model cannot be loaded.
        """
        began = time.monotonic_ns()
        instance = self._instances.get(model.name.router_id)
        if instance is None:
            raise RouterError(f"model {model.name.short} was deleted", 404)
        async with instance.lock:
            self._cancel(instance)
            wanted = self.fit(model, context)
            if wanted != instance.context:
                if instance.requests:
                    instance.idle.clear()
                    await instance.idle.wait()
                instance.context = wanted
                await self._write()
            await self._ensure(model)
            instance.requests += 1
            instance.keep_alive = self._keep_alive if keep_alive is None else keep_alive
            instance.expires = None
        try:
            yield time.monotonic_ns() - began
        finally:
            instance.requests -= 1
            if not instance.requests:
                instance.idle.set()
                self._schedule(instance)

    async def unload(self, model: Model) -> None:
        """Unload a model now, if nobody uses it."""
        instance = self._instances.get(model.name.router_id)
        if instance is None:
            return
        async with instance.lock:
            if not instance.requests:
                self._cancel(instance)
                instance.expires = None
                await self._router.unload(model.name.router_id)
            else:
                instance.keep_alive = 0.0  # the last request in flight does it

    async def loaded(self) -> list[Loaded]:
        """The models that are loaded, the one that stays longest first."""
        states = await self._router.states()
        found = []
        for router_id, instance in self._instances.items():
            if states.get(router_id, {}).get("value") in ("loaded", "sleeping"):
                expires = instance.expires or _after(instance.keep_alive)
                found.append(Loaded(instance.model, instance.context, expires))
        return sorted(found, key=lambda item: item.expires, reverse=True)

    async def close(self) -> None:
        """Forget all timers; the router unloads by itself when it ends."""
        for instance in self._instances.values():
            self._cancel(instance)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ensure(self, model: Model) -> None:
        router_id = model.name.router_id
        state = (await self._router.states()).get(router_id)
        if state is None:
            # The router read its presets before this model was written into them.
            await self._router.reload()
        elif state.get("value") in ("loaded", "sleeping"):
            return
        await self._router.load(router_id)

    def fit(self, model: Model, context: int | None) -> int:
        """The context length a model is loaded with when a request asks for this one, or for none."""
        wanted = context or self._context
        if model.gguf.pooling:
            wanted = min(context, _EMBEDDING_LIMIT) if context else min(self._context, _EMBEDDING_DEFAULT)
        return max(16, min(wanted, model.gguf.context or wanted))

    async def _write(self) -> None:
        await self._router.write_presets(
            [Preset(instance.model, instance.context) for instance in self._instances.values()]
        )

    def _cancel(self, instance: _Instance) -> None:
        if instance.timer is not None:
            instance.timer.cancel()
            instance.timer = None

    def _schedule(self, instance: _Instance) -> None:
        """Plan the unloading; runs while a cancelled request unwinds, so it must not wait."""
        self._cancel(instance)
        if self._instances.get(instance.model.name.router_id) is not instance:
            return  # deleted meanwhile
        instance.expires = _after(instance.keep_alive)
        if instance.keep_alive >= 0:
            loop = asyncio.get_running_loop()
            instance.timer = loop.call_later(instance.keep_alive, self._expire, instance)

    def _expire(self, instance: _Instance) -> None:
        task = asyncio.get_running_loop().create_task(self._unload_expired(instance))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _unload_expired(self, instance: _Instance) -> None:
        timer = instance.timer
        async with instance.lock:
            if instance.requests or instance.timer is not timer:
                return  # used again meanwhile
            instance.timer = None
            instance.expires = None
            try:
                await self._router.unload(instance.model.name.router_id)
            except RouterError as error:
                LOG.error("model %s could not be unloaded: %s", instance.model.name.short, error)


def _after(seconds: float) -> datetime:
    now = datetime.now(timezone.utc)
    return now + (_FOREVER if seconds < 0 else min(timedelta(seconds=min(seconds, 1e10)), _FOREVER))
