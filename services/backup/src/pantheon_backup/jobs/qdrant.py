# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Qdrant: a snapshot of each collection, taken and loaded through its API.

The API is reached in the network of the container, so no port has to be open, and the image needs no program for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pantheon_backup
from pantheon_backup import exchange
from pantheon_backup.jobs.command import compare
from pantheon_backup.model import OK, BackupError, Context, Part, Verdict
from pantheon_backup.scratch import Scratch, is_running, volumes_of

#: The one file in restic's snapshot.
STREAM = "collections.tar"
#: How often the backup is made again because something was written meanwhile.
TRIES = 3

PROGRAM = "pantheon_backup.qdrant_api"
CLUSTER = "QDRANT__CLUSTER__ENABLED"


class Qdrant:
    """The job kind ``qdrant``; it has no options."""

    def backup(self, context: Context) -> Part:
        """Keep a snapshot of each collection, with what they hold just before and just after."""
        if not is_running(context):
            raise BackupError(f"{context.job.container} does not run. Deploy {context.job.name} with site.yml first.")
        api = Access(context, context.job.container)
        api.ready()
        for left in reversed(range(TRIES)):
            before = api.count()
            saved = context.restic.save(api.command("export"), STREAM, env=api.env)
            after = api.count()
            if before == after or not left:
                break
            context.log(f"{context.job.name}: something was written during the backup; once more.")
            context.restic.forget([saved.snapshot])
        return Part(
            status=OK,
            snapshot=saved.snapshot,
            bytes=saved.bytes,
            sha256={STREAM: saved.sha256},
            versions={**context.versions(), "qdrant": api.version()},
            counts=before,
            details={} if before == after else {"after": after},
        )

    def drill(self, context: Context, part: Part) -> Verdict:
        """Load the snapshots into a Qdrant of their own, and compare content and searches."""
        with _scratch(context, "drill") as scratch:
            return _load_and_compare(context, part, scratch)

    def restore(self, context: Context, part: Part) -> None:
        """Do the same; if it is what was promised, its files take the place of the service's."""
        if _environment(context, context.job.container).get(CLUSTER, "false").lower() == "true":
            raise BackupError(
                f"{context.job.name} is a cluster, whose members know each other from their files. Restore by hand: upload "
                "each collection's snapshot to one member (docs/data.md)."
            )
        with _scratch(context, "restore") as scratch:
            verdict = _load_and_compare(context, part, scratch)
            if not verdict.ok:
                raise BackupError(f"The backup is not what it promises, so nothing was touched: {verdict.reason}")
            # In order, so that all of it is on disk.
            context.run(["docker", "stop", "--time", "60", scratch.container], timeout=120)
            scratch.remove()
            pairs = [(scratch.volume(name), place) for name, place in volumes_of(context.runner, context.job).items()]
            with exchange.stopped(context):
                exchange.replace(context, pairs)


class Access:
    """Qdrant's API in a container, asked by a program that runs in the container's network."""

    def __init__(self, context: Context, container: str) -> None:
        self._context = context
        self._container = container
        found = _environment(context, container)
        self.env = {
            "QDRANT_KEY": found.get("QDRANT__SERVICE__API_KEY", ""),
            "QDRANT_PORT": found.get("QDRANT__SERVICE__HTTP_PORT", ""),
            # Where this package is, for the other process.
            "PYTHONPATH": str(Path(pantheon_backup.__file__).resolve().parents[1]),
        }

    def command(self, name: str) -> list[str]:
        """Return the command that does something with the API; it needs :attr:`env`."""
        asked = ["docker", "inspect", "--format", "{{.State.Pid}}", self._container]
        pid = self._context.run(asked, timeout=60).text
        if not pid.isdigit() or int(pid) < 1:
            raise BackupError(f"{self._container} does not run. Look at: docker logs {self._container}")
        return ["nsenter", f"--target={pid}", "--net", "--", sys.executable, "-m", PROGRAM, name]

    def ready(self, seconds: int = 60) -> None:
        """Wait until it answers."""
        self._run("wait", env={"QDRANT_WAIT": str(seconds)})

    def version(self) -> str:
        """Return what it says it is."""
        return self._run("version").strip()

    def count(self) -> dict[str, Any]:
        """Return what the collections hold."""
        counts: dict[str, Any] = json.loads(self._run("count"))
        return counts

    def _run(self, name: str, *, env: Mapping[str, str] | None = None) -> str:
        return self._context.run(self.command(name), env={**self.env, **(env or {})}).text


def _scratch(context: Context, purpose: str) -> Scratch:
    # One alone, also where the service is part of a cluster.
    return Scratch(context, purpose=purpose, environment={CLUSTER: "false"})


def _load_and_compare(context: Context, part: Part, scratch: Scratch) -> Verdict:
    scratch.start()
    api = Access(context, scratch.container)
    try:
        api.ready(120)
    except BackupError as error:
        raise BackupError(f"{error} Its log ends with: {scratch.logs()}") from None
    context.restic.load(part.snapshot, STREAM, api.command("import"), sha256=part.sha256.get(STREAM, ""), env=api.env)
    return Verdict.of(compare(part.counts, part.details.get("after"), api.count()))


def _environment(context: Context, container: str) -> dict[str, str]:
    """Return the environment of a container; it holds the key, which therefore need not be kept anywhere else."""
    done = context.run(["docker", "inspect", "--format", "{{json .Config.Env}}", container], timeout=60)
    return dict(entry.partition("=")[::2] for entry in done.json() or [])
