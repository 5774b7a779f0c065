# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pantheon-neo4j-admin`: dump, load, count and drill, what a backup needs.

dump     beside the running server: a snapshot of the graph to the standard output
load     without a server: replace the graph by a dump from the standard input
count    beside the running server: what the graph holds, as JSON
drill    without a server: start the engine on the data, count, and stop it again
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import socket
import sys
from pathlib import Path
from typing import IO, Any

from .engine import FILE, Engine, EngineGoneError
from .errors import Neo4jError
from .resp import EngineError
from .settings import Settings, SettingsError
from .store import Store

CONTROL = "control.sock"
_MAGIC = b"REDIS"
_PIECE = 2**20


class AdminError(Exception):
    """The command cannot be carried out; the text says why."""


def ask(settings: Settings, command: str, seconds: float = 3600.0) -> dict[str, Any]:
    """Ask the running server."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(seconds)
        try:
            client.connect(str(settings.runtime / CONTROL))
            client.sendall(command.encode() + b"\n")
            answer = json.loads(client.makefile("rb").readline() or b'{"error": "the server ended"}')
        except (OSError, ValueError) as error:
            raise AdminError(f"the server does not answer ({error}): is it running in this container?") from error
    if "error" in answer:
        raise AdminError(str(answer["error"]))
    found: dict[str, Any] = answer
    return found


def dump(settings: Settings, output: IO[bytes]) -> None:
    """Write a snapshot of the graph."""
    answer = ask(settings, "dump")
    path = Path(answer["path"])
    try:
        with path.open("rb") as stream:
            shutil.copyfileobj(stream, output, _PIECE)
        output.flush()
    finally:
        path.unlink(missing_ok=True)
    print(json.dumps(answer["counts"], sort_keys=True), file=sys.stderr)


async def load(settings: Settings, source: IO[bytes]) -> None:
    """Replace the graph by a dump. What is there is only touched when the dump was read without a fault."""
    folder = settings.data / "loading"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with (folder / FILE).open("wb") as stream:
            shutil.copyfileobj(source, stream, _PIECE)
        with (folder / FILE).open("rb") as stream:
            if stream.read(len(_MAGIC)) != _MAGIC:
                raise AdminError("what arrived on the standard input is no dump of this stand-in")
        engine = Engine(settings, folder)
        await engine.start()
        try:
            await Store(engine.pool).counts()
            # As this engine writes it, and flushed to the disk.
            await engine.pool.call("SAVE")
        finally:
            await engine.stop()
        (folder / FILE).replace(settings.data / FILE)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def drill(settings: Settings) -> dict[str, int | str]:
    """Return what the graph on the disk holds."""
    if not (settings.data / FILE).is_file():
        raise AdminError(f"there is no graph in {settings.data}: load one first")
    engine = Engine(settings)
    await engine.start()
    try:
        return await Store(engine.pool).counts()
    finally:
        await engine.stop()


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="pantheon-neo4j-admin", description="Dump, load and count the graph.")
    parser.add_argument("command", choices=["dump", "load", "count", "drill"])
    command = parser.parse_args(arguments).command
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings.from_environment()
        if command == "dump":
            dump(settings, sys.stdout.buffer)
        elif command == "load":
            asyncio.run(load(settings, sys.stdin.buffer))
        else:
            counts = ask(settings, "counts")["counts"] if command == "count" else asyncio.run(drill(settings))
            print(json.dumps(counts, sort_keys=True))
    except (AdminError, SettingsError, EngineGoneError, EngineError, Neo4jError, OSError) as error:
        print(f"pantheon-neo4j-admin {command}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
