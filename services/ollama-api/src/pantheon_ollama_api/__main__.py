# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pantheon-ollama-api`: serve until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from aiohttp import web

from . import VERSION
from .router import Router, RouterGoneError
from .server import Server
from .settings import Settings, SettingsError
from .store import Store

LOG = logging.getLogger("pantheon_ollama_api")

# Seconds that answers in flight get to finish after SIGTERM.
_GRACE = 5.0


async def serve(settings: Settings) -> None:
    """Run llama-server and the API until SIGTERM or SIGINT.

    Args:
        settings: the settings.

    Raises:
        RouterGoneError: llama-server cannot be kept running.
        OSError: A directory cannot be written or the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    store = Store(settings.models, settings.library)
    await asyncio.to_thread(store.prepare)
    router = Router(settings)
    server = Server(settings, store, router)
    await server.refresh()
    router_task = asyncio.create_task(router.run())
    # A client that goes away cancels its request, and with it the work in llama-server.
    runner = web.AppRunner(server.application(), handler_cancellation=True, access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    stop_task = asyncio.create_task(stop.wait())
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        LOG.info("listening on %s:%d (version %s)", settings.host, settings.port, VERSION)
        await asyncio.wait({router_task, stop_task}, return_when=asyncio.FIRST_COMPLETED)
        LOG.info("stopping")
    finally:
        stop_task.cancel()
        await runner.cleanup()
        await server.close()
        router_task.cancel()
        results = await asyncio.gather(router_task, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


def main() -> int:
    """Command line: serve with the settings of the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
        asyncio.run(serve(settings))
    except (SettingsError, RouterGoneError, OSError) as error:
        LOG.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
