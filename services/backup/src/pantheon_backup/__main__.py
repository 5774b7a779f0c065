# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command pantheon-backup."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Any

from pantheon_backup import config as configuration
from pantheon_backup import sets, versions
from pantheon_backup.model import OK, SKIPPED, BackupError, TargetAway, UsageError, is_set
from pantheon_backup.operations import NEWEST, RUNTIME, Operations
from pantheon_backup.process import Runner
from pantheon_backup.state import FILE as STATE_FILE
from pantheon_backup.state import State

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_AWAY = 0, 1, 2, 75


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; returns the exit code."""
    arguments = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _interrupted)
    os.umask(0o077)
    try:
        config = configuration.load(arguments.config)
        operations = Operations(config, State(config, arguments.state), Runner(), log, arguments.runtime)
        if arguments.command in ("status", "list"):
            return COMMANDS[arguments.command](operations, arguments)
        with _alone(arguments.runtime, arguments.wait):
            operations.recover()
            return COMMANDS[arguments.command](operations, arguments)
    except TargetAway as error:
        log(str(error))
        return EXIT_AWAY
    except UsageError as error:
        log(str(error))
        return EXIT_USAGE
    except BackupError as error:
        log(str(error))
        return EXIT_FAILED


def log(text: str) -> None:
    """Say something to people: the journal, or whoever called."""
    print(text, file=sys.stderr, flush=True)


def show(data: Any) -> None:
    """Say something to programs."""
    print(json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False))


def _run(operations: Operations, arguments: argparse.Namespace) -> int:
    config = operations.config
    set_id = arguments.set or sets.scheduled(datetime.now().astimezone(), config.at, config.every_hours)
    parts = operations.backup(set_id, arguments.only)
    show({"set": set_id, "machine": config.machine, "jobs": {name: part.to_json() for name, part in parts.items()}})
    return EXIT_OK if all(part.status in (OK, SKIPPED) for part in parts.values()) else EXIT_FAILED


def _drill(operations: Operations, arguments: argparse.Namespace) -> int:
    set_id, verdicts = operations.drill(arguments.set, arguments.job)
    jobs = {name: verdict.to_json() for name, verdict in verdicts.items()}
    show({"set": set_id, "machine": operations.config.machine, "jobs": jobs})
    return EXIT_OK if all(verdict.ok for verdict in verdicts.values()) else EXIT_FAILED


def _restore(operations: Operations, arguments: argparse.Namespace) -> int:
    options = {"time": arguments.time} if arguments.time else {}
    set_id = operations.restore(
        arguments.set, arguments.job, machine=arguments.machine, safety=not arguments.no_safety, options=options
    )
    show({"set": set_id, "machine": operations.config.machine, "job": arguments.job, "restored": True})
    return EXIT_OK


def _list(operations: Operations, arguments: argparse.Namespace) -> int:
    rows = operations.listing()
    if arguments.json:
        show(rows)
        return EXIT_OK
    for row in rows:
        word = "complete" if row["complete"] else "of single services" if row["partial"] else "INCOMPLETE"
        print(f"{row['set']}  {word}")
        for machine, part in sorted(row["parts"].items()):
            print(f"  {machine}: " + ", ".join(f"{job} {status}" for job, status in sorted(part["jobs"].items())))
        for gap in () if row["partial"] else row["missing"]:
            print(f"  missing: {gap['machine']} {gap['job']} ({gap['reason']})")
    return EXIT_OK


def _status(operations: Operations, _arguments: argparse.Namespace) -> int:
    show(operations.state.status(time.time()))
    return EXIT_OK


def _recover(_operations: Operations, _arguments: argparse.Namespace) -> int:
    return EXIT_OK  # done before every command


COMMANDS = {"run": _run, "drill": _drill, "restore": _restore, "list": _list, "status": _status, "recover": _recover}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pantheon-backup",
        description="Backs up the services of this machine, tries out restores, and restores.",
        epilog="Exit codes: 0 done; 1 a job failed; 2 wrong use or configuration; 75 the target is away, or another run is busy.",
    )
    parser.add_argument("--version", action="version", version=versions.PROGRAM)
    parser.add_argument("--config", type=Path, default=configuration.FILE, help="the configuration (%(default)s)")
    parser.add_argument("--state", type=Path, default=STATE_FILE, help=argparse.SUPPRESS)
    parser.add_argument("--runtime", type=Path, default=RUNTIME, help=argparse.SUPPRESS)
    parser.add_argument(
        "--wait", type=float, default=1800, metavar="SECONDS", help="for another run to end (%(default)s)"
    )
    commands = parser.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="make this machine's part of a set")
    run.add_argument("--set", type=_set_id, metavar="ID", help="the set; default is the time that was due last")
    run.add_argument("--only", default="", metavar="JOB", help="one job instead of all")

    drill = commands.add_parser("drill", help="restore into scratch containers and compare; services are not touched")
    drill.add_argument(
        "--set", type=_set_choice, default=NEWEST, metavar="ID", help="default is the newest complete set"
    )
    drill.add_argument("--job", default="", help="one job instead of all")

    restore = commands.add_parser("restore", help="put the data of a set into a service of this machine")
    restore.add_argument("--set", type=_set_choice, required=True, metavar="ID|newest")
    restore.add_argument("--job", required=True)
    restore.add_argument(
        "--from", dest="machine", default="", metavar="MACHINE", help="whose backup; default is this machine's"
    )
    restore.add_argument("--time", default="", help="a point in time, for PostgreSQL")
    restore.add_argument("--no-safety", action="store_true", help="do not back up first what is there now")

    listing = commands.add_parser("list", help="all sets, with what is missing in them")
    listing.add_argument("--json", action="store_true")
    commands.add_parser("status", help="the last success of each job, as JSON")
    commands.add_parser("recover", help="tidy up after a run that was killed")
    return parser


def _set_id(text: str) -> str:
    if not is_set(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the id of a set, such as 20261125T023000Z")
    return text


def _set_choice(text: str) -> str:
    return text if text == NEWEST else _set_id(text)


@contextlib.contextmanager
def _alone(runtime: Path, wait: float) -> Iterator[None]:
    """Hold the lock of the machine: two runs at once would stop each other's services."""
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(runtime / "lock", "w", encoding="utf-8") as file:
        deadline = time.monotonic() + wait
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    raise TargetAway("Another run of pantheon-backup is still busy. Try again later.") from None
                time.sleep(1)
        yield


def _interrupted(_signal: int, _frame: FrameType | None) -> None:
    # An exception, so that every block on the way out tidies up: services are started, scratch containers removed.
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
