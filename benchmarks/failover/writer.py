# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes to every database machine all the time, and says which writes were acknowledged, where and when.

writer.py HOST...    each acknowledged write is a line: clock, host, number of the write

A standby refuses with an error and is asked again at once; so the first acknowledgement of a new leader is not late. A
server that says nothing is given up after a second. Whoever reads the lines counts; this program keeps nothing.
"""

from __future__ import annotations

import itertools
import os
import select
import sys
import threading
import time

# psycopg2 has no types of its own, and the benchmark's image has no stubs.
import psycopg2  # type: ignore[import-untyped]
import psycopg2.errors  # type: ignore[import-untyped]
from psycopg2.extensions import POLL_OK, POLL_READ, connection  # type: ignore[import-untyped]

PATIENCE = 1.0
PAUSE = 0.025
NUMBERS = itertools.count(int(time.time() * 1000) * 10000)
OUTPUT = threading.Lock()


class Silent(Exception):
    """The server did not answer in time."""


def wait(server: connection) -> None:
    """Wait until the server has done what it was asked."""
    deadline = time.monotonic() + PATIENCE
    while (state := server.poll()) != POLL_OK:
        left = deadline - time.monotonic()
        reading = [server] if state == POLL_READ else []
        writing = [] if state == POLL_READ else [server]
        if left <= 0 or not any(select.select(reading, writing, [], left)):
            raise Silent


def write_for_ever(host: str) -> None:
    """One insert after the other."""
    while True:
        server = None
        try:
            server = psycopg2.connect(
                host=host, user="postgres", dbname="postgres", async_=True, application_name="drill"
            )
            wait(server)
            while True:
                number = next(NUMBERS)
                cursor = server.cursor()
                try:
                    cursor.execute("INSERT INTO drill (number) VALUES (%s)", (number,))
                    wait(server)
                except psycopg2.errors.ReadOnlySqlTransaction:
                    pass
                else:
                    with OUTPUT:
                        sys.stdout.write(f"{time.monotonic():.4f} {host} {number}\n")
                        sys.stdout.flush()
                time.sleep(PAUSE)
        except (psycopg2.Error, OSError, Silent):
            time.sleep(PAUSE)
        finally:
            if server is not None:
                server.close()


def main() -> None:
    """Two writers for each machine, until the input ends."""
    for host in sys.argv[1:]:
        for _ in range(2):
            threading.Thread(target=write_for_ever, args=(host,), daemon=True).start()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
