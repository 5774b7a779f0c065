# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pantheon-qdrant-api`: serve until SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

from aiohttp import web

from . import VERSION
from .errors import ApiError
from .server import Server
from .settings import Settings, SettingsError
from .store import Store

LOG = logging.getLogger("pantheon_qdrant_api")

# Seconds that answers in flight get to finish after SIGTERM.
_GRACE = 5.0
# Qdrant's flush_interval_sec.
_FLUSH = 5.0

_LEVELS = {"TRACE": logging.DEBUG, "WARN": logging.WARNING, "OFF": logging.CRITICAL}


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: the settings.

    Raises:
        ApiError: A collection cannot be loaded.
        OSError: A directory cannot be written or the port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store = Store(settings.storage, settings.snapshots)
    await asyncio.to_thread(store.open)
    runner = web.AppRunner(Server(settings, store).application(), access_log=None, shutdown_timeout=_GRACE)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.host, settings.port).start()
        LOG.info("listening on %s:%d (version %s, a stand-in)", settings.host, settings.port, VERSION)
        if not settings.api_key:
            LOG.warning("QDRANT__SERVICE__API_KEY is not set: nobody is asked for a key")
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), _FLUSH)
            except TimeoutError:
                await asyncio.to_thread(store.flush)
        LOG.info("stopping")
    finally:
        await runner.cleanup()
        await asyncio.to_thread(store.close)


def main() -> int:
    """Command line: serve with the settings of the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
        logging.getLogger().setLevel(_LEVELS.get(settings.level, settings.level))
        asyncio.run(serve(settings))
    except (SettingsError, ApiError, OSError) as error:
        LOG.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
