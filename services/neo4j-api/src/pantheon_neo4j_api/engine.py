# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that keeps the graph: redis-server with FalkorDB's module."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from .resp import EngineError, Pool
from .settings import Settings

LOG = logging.getLogger(__name__)

#: The file with the graph.
FILE = "dump.rdb"
#: Of the container's memory, what the graph may take; queries, copies and the front need the rest.
_MEMORY_PERCENT = 50
_MEMORY_FILES = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class EngineGoneError(Exception):
    """The process ended by itself or did not come up."""


def memory_limit(files: tuple[str, ...] = _MEMORY_FILES) -> int:
    """Return how many bytes the graph may take; 0 without a limit of the container."""
    for name in files:
        with contextlib.suppress(OSError, ValueError):
            found = int(Path(name).read_text(encoding="ascii").strip())
            # The older file knows no word for "no limit" and shows an enormous number.
            return found * _MEMORY_PERCENT // 100 if found < 2**50 else 0
    return 0


class Engine:
    """Starts the process, says when it ended, and stops it."""

    def __init__(self, settings: Settings, folder: Path | None = None) -> None:
        self.settings = settings
        self.folder = folder or settings.data
        self.socket = settings.runtime / "engine.sock"
        self.pool = Pool(str(self.socket))
        self._process: asyncio.subprocess.Process | None = None

    def configuration(self) -> str:
        """Return the configuration of redis-server.

        There is no append-only file: when FalkorDB reads one that has constraints in it, it adds orders to it that make it
        unreadable once such a constraint was removed. The store saves the whole graph instead, before it acknowledges a change.
        """
        settings, memory = self.settings, memory_limit()
        # One greedy question must not take the whole server along.
        options = (
            f"THREAD_COUNT {settings.threads} OMP_THREAD_COUNT 1 RESULTSET_SIZE -1 QUERY_MEM_CAPACITY {memory // 2}"
        )
        lines = [
            "port 0",
            f"unixsocket {self.socket}",
            "unixsocketperm 600",
            f"dir {self.folder}",
            f"dbfilename {FILE}",
            'save ""',
            "appendonly no",
            "daemonize no",
            "databases 1",
            # How often it looks whether a copy of the graph is finished; a transaction waits for that.
            "hz 50",
            "loglevel notice",
            # Whether a change could be saved is told to whoever made it.
            "stop-writes-on-bgsave-error no",
            f"maxmemory {memory}",
            "maxmemory-policy noeviction",
            f"loadmodule {settings.module} {options}",
        ]
        return "\n".join([*lines, ""])

    async def start(self, seconds: float = 300.0) -> None:
        """Start the process and wait until it has loaded its data.

        Raises:
            EngineGoneError: It did not come up.
        """
        self.settings.runtime.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        try:
            self._process = await asyncio.create_subprocess_exec(
                self.settings.redis_server,
                "-",
                stdin=asyncio.subprocess.PIPE,
                # The standard output of a dump is the dump.
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                # A signal to the group, as from a terminal, is for the front, which stops the engine in order.
                start_new_session=True,
            )
        except OSError as error:
            raise EngineGoneError(f"{self.settings.redis_server} cannot be started: {error}") from error
        assert self._process.stdin is not None
        self._process.stdin.write(self.configuration().encode())
        self._process.stdin.close()
        self._output = asyncio.create_task(self._log())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            if self._process.returncode is not None:
                await self._output
                raise EngineGoneError(f"the engine ended with code {self._process.returncode} while it started")
            with contextlib.suppress(OSError, EngineError):
                await self.pool.call("PING")
                return
            if loop.time() > deadline:
                await self.stop()
                raise EngineGoneError(f"the engine did not load its data within {seconds:.0f} seconds")
            await asyncio.sleep(0.05)

    async def _log(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while line := await self._process.stdout.readline():
            LOG.info("engine: %s", line.decode("utf-8", "replace").rstrip())

    async def wait(self) -> None:
        """Wait until the process ends, which it must not do by itself.

        Raises:
            EngineGoneError: Always, in the end.
        """
        assert self._process is not None
        code = await self._process.wait()
        raise EngineGoneError(f"the engine ended by itself with code {code}")

    async def stop(self, seconds: float = 20.0) -> None:
        """Stop the process in order; kill it if it does not end."""
        process = self._process
        self.pool.close()
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), seconds)
            except asyncio.TimeoutError:
                LOG.error("the engine does not end and is killed")
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        await self._output
        self._process = None
