# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pg-witness [FILE]: run the witness. pg-witness --health [FILE]: exit with 0 if the one that runs here works."""

from __future__ import annotations

import argparse
import http.client
import logging
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from .config import DEFAULT_PATH, ConfigError, Settings, load
from .status import StatusServer
from .web import tls_context
from .witness import Witness

LOG = logging.getLogger("pg-witness")


def end(number: int, frame: FrameType | None) -> None:
    """End at once: nothing has to be put away, since a vote dies with its lease."""
    os._exit(0)


def ask_health(settings: Settings) -> int:
    """Ask the status server of this machine."""
    connection = http.client.HTTPConnection(*settings.status, timeout=3)
    try:
        connection.request("GET", "/health")
        answer = connection.getresponse()
        print(answer.read(4096).decode(errors="replace").strip())
        return 0 if answer.status == 200 else 1
    except (OSError, http.client.HTTPException) as error:
        print(f"the witness does not answer: {error}")
        return 1
    finally:
        connection.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(
        prog="pg-witness", description="Gives the key of a dead PostgreSQL leader free early."
    )
    parser.add_argument("file", nargs="?", default=DEFAULT_PATH, help=f"configuration, by default {DEFAULT_PATH}")
    parser.add_argument("--health", action="store_true", help="ask the witness that runs on this machine")
    chosen = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO, stream=sys.stderr)
    try:
        settings = load(chosen.file)
        if chosen.health:
            return ask_health(settings)
        try:
            context = tls_context(settings.tls)
        except OSError as error:
            raise ConfigError(f"the TLS files cannot be used: {error}") from error
        witness = Witness(settings, context)
        try:
            server = StatusServer(witness)
        except OSError as error:
            raise ConfigError(f"status: {error}") from error
    except ConfigError as error:
        print(f"pg-witness: {error}", file=sys.stderr)
        return 2
    server.start()
    LOG.info("witness %s of %d for %s", settings.name, settings.witnesses, settings.scope)
    witness.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
