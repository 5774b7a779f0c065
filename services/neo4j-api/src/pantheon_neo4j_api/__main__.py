# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pantheon-neo4j-api`: serve until SIGTERM."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from . import VERSION
from .auth import Users
from .bolt import BoltServer
from .engine import Engine, EngineGoneError
from .errors import Neo4jError
from .query_api import QueryApi
from .service import Service
from .settings import Settings, SettingsError
from .store import DUMP, Store

LOG = logging.getLogger("pantheon_neo4j_api")

#: The socket through which `pantheon-neo4j-admin` asks the running server.
CONTROL = "control.sock"


async def _control(store: Store, folder: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one question of the program for backups, which runs beside the server."""
    answer: dict[str, object]
    try:
        wanted = (await asyncio.wait_for(reader.readline(), 10)).decode().strip()
        if wanted == "dump":
            path, counts = await store.dump(folder)
            answer = {"path": str(path), "counts": counts}
        elif wanted == "counts":
            async with store.alone():
                answer = {"counts": await store.counts()}
        else:
            answer = {"error": f"there is no command {wanted!r}"}
    except (Neo4jError, OSError, asyncio.TimeoutError) as error:
        answer = {"error": str(error) or type(error).__name__}
    writer.write(json.dumps(answer).encode() + b"\n")
    await writer.drain()
    writer.close()


async def serve(settings: Settings) -> None:
    """Run the engine, Bolt and HTTP until SIGTERM or SIGINT.

    Raises:
        EngineGoneError: The engine cannot be kept running.
        OSError: A directory cannot be written or a port is taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    users = Users(settings.data / "users.json" if settings.auth else None)
    if users.required and not users.prepare(settings.auth):
        LOG.info("the password is the one in the data directory; NEO4J_AUTH only counts for an empty one")
    for left in settings.data.glob(f"{DUMP}*.rdb"):
        # Of a backup that was interrupted; nobody else takes it away.
        left.unlink(missing_ok=True)
    engine = Engine(settings)
    await engine.start()
    store = Store(engine.pool, settings.lock_seconds, settings.transaction_seconds)
    service = Service(store, users)
    bolt = BoltServer(service)
    runner = web.AppRunner(QueryApi(service, settings.bolt_port).application(), access_log=None, shutdown_timeout=5.0)
    tasks = [asyncio.create_task(engine.wait()), asyncio.create_task(stop.wait())]
    try:
        await store.prepare()
        socket = settings.runtime / CONTROL
        socket.unlink(missing_ok=True)
        control = await asyncio.start_unix_server(
            lambda reader, writer: _control(store, engine.folder, reader, writer), str(socket)
        )
        socket.chmod(0o600)
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.http_port).start()
        await bolt.start(settings.host, settings.bolt_port)
        LOG.info("Bolt on %d, HTTP on %d (version %s, a stand-in)", settings.bolt_port, settings.http_port, VERSION)
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        LOG.info("stopping")
        control.close()
    finally:
        await bolt.stop()
        await runner.cleanup()
        gone = tasks[0].done()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await engine.stop()
    if gone and isinstance(results[0], Exception):
        raise results[0]


def main() -> int:
    """Command line: serve with the settings of the environment."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        asyncio.run(serve(Settings.from_environment()))
    except (SettingsError, EngineGoneError, Neo4jError, OSError) as error:
        LOG.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
