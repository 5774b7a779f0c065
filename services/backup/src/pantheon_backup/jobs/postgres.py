# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL under Patroni: backups with pgBackRest, which can go back to any second.

The work is done in the containers, by pgBackRest and by pg-backup (lab/images/postgresql). Here is decided what is to be done.
All members share one repository; the member that leads makes the backups. A part says at which place in the log every row was
counted: a drill and a restore go exactly there, from whatever backup before it is still kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pantheon_backup.model import OK, BackupError, Comparison, Context, Part, Skipped, TargetAway, Verdict
from pantheon_backup.process import Completed, last_words
from pantheon_backup.scratch import SERVICE, Mount, Scratch

Json = dict[str, Any]

STANZA = "pantheon"
USER = "postgres"
UID = 999
#: The repository in the target, which the containers see at the same path as the machine.
FOLDER = "pgbackrest"
#: A full backup once a week, even if a run comes a little early.
FULL_SECONDS = 6 * 24 * 3600
HOURS = 3600.0
#: What is needed to restore, compared with the size of the databases: the log of the time since the backup comes on top.
ROOM = 1.2

MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?) ?(Z|[+-]\d\d(?::?\d\d)?)")


class Postgres:
    """Backups of PostgreSQL."""

    # -- backup --------------------------------------------------------------------------------------------------------

    def backup(self, context: Context) -> Part:
        """Back up if this member leads; then count every row at a place in the log, and see the log up to there archived."""
        if self._inside(context, ["psql", "-XtAqc", "SELECT pg_is_in_recovery()"], seconds=60).text != "f":
            raise Skipped("a standby; the member that leads makes the backup")
        self._make_repository(context)
        self._pgbackrest(context, "stanza-create", seconds=300)
        kind = self.next_kind(self._information(context), context.now.timestamp())
        context.log(f"pgBackRest makes a {kind} backup.")
        self._pgbackrest(
            context,
            f"--type={kind}",
            *self.retention(context.config.target.keep),
            f"--annotation=set={context.set_id}",
            "backup",
            seconds=12 * HOURS,
        )
        counted: Json = self._inside(context, ["pg-backup", "count"], seconds=4 * HOURS).json()
        if not counted["exact"]:
            context.log(f"The rows are not counted: {counted['reason']}. A drill compares the names of tables only.")
        # Ends the segment of the log that the place lies in, and waits until it is in the archive.
        self._pgbackrest(context, "--archive-timeout=120", "check", seconds=300)
        information = self._information(context)
        made = information["backup"][-1]
        self._demand_segment(context, information, counted["segment"])
        return Part(
            status=OK,
            bytes=int(made["info"]["repository"].get("delta", 0)),
            snapshot=str(made["label"]),
            versions={
                **context.versions(),
                "postgresql": counted["server"],
                "pgbackrest": str(made["backrest"]["version"]),
            },
            counts=promised(counted),
            details={
                **{name: counted[name] for name in ("exact", "lsn", "timeline", "segment", "system")},
                "reason": counted.get("reason", ""),
                "type": str(made["type"]),
                "database_bytes": int(made["info"]["size"]),
            },
        )

    @staticmethod
    def next_kind(information: Json, now: float) -> str:
        """Return which kind of backup is due: full when there is none of this cluster or the last is old, else diff."""
        if not information.get("db"):
            return "full"
        cluster = information["db"][-1]["id"]
        full = [
            one
            for one in information.get("backup", [])
            if one["type"] == "full" and one["database"]["id"] == cluster and not one.get("error")
        ]
        if not full or now - max(float(one["timestamp"]["stop"]) for one in full) > FULL_SECONDS:
            return "full"
        return "diff"

    @staticmethod
    def retention(keep: Mapping[str, int]) -> list[str]:
        """Return how many backups stay: a full one for each week, with all of the log since the oldest; a diff for each day."""
        return [
            f"--repo1-retention-full={max(1, int(keep.get('weekly', 4)))}",
            f"--repo1-retention-diff={max(1, int(keep.get('daily', 7)))}",
        ]

    @staticmethod
    def _make_repository(context: Context) -> None:
        """Make the repository's folder: only root can, at the root of the target."""
        folder = context.config.target.path / FOLDER
        try:
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            if folder.stat().st_uid != UID:
                os.chown(folder, UID, UID)
        except OSError as error:
            raise TargetAway(f"The folder {folder} cannot be made ({error.strerror}); is the target mounted?") from None

    def _demand_segment(self, context: Context, information: Json, segment: str) -> None:
        """Look for the segment of the log in the archive: without it nobody gets to the place where was counted."""
        archive = information["archive"][-1]["id"]
        place = f"archive/{STANZA}/{archive}/{segment[:16]}"
        names = self._pgbackrest(context, "--output=json", "repo-ls", place, stanza=False, seconds=300).json()
        if not any(name.startswith(segment) for name in names):
            raise BackupError(
                f"The segment {segment} of the log is not in the archive, so the backup cannot be trusted."
            )

    # -- drill ---------------------------------------------------------------------------------------------------------

    def drill(self, context: Context, part: Part) -> Verdict:
        """Restore into a container of its own up to the place that the part names, count, and look at every page."""
        mounts = [self._repository_of(context, read_only=True)]
        details = part.details
        with Scratch(context, mounts=mounts) as scratch:
            information = one_stanza(
                self._scratch(
                    scratch, ["pgbackrest", f"--stanza={STANZA}", "--output=json", "info"], seconds=600
                ).json()
            )
            self._demand_room(scratch, information)
            argv = ["pg-backup", "drill", *destination("", part)]
            if not details["exact"]:
                argv.append("--names-only")
            found: Json = self._scratch(scratch, argv, seconds=12 * HOURS).json()
        context.log(f"Restored from {found['label']}; seconds: {json.dumps(found['seconds'], sort_keys=True)}.")
        compared = [
            Comparison("system", str(details["system"]), str(found["system"])),
            *compare(part.counts, promised(found)),
            Comparison("pg_amcheck", "ok", found["amcheck"]),
            Comparison("pg_checksums", "ok", found["checksums"]),
        ]
        notes = (
            ""
            if details["exact"]
            else f"Rows were not counted ({details['reason']}): compared are names of tables, and pages."
        )
        return Verdict.of(compared, notes)

    @staticmethod
    def _repository_of(context: Context, *, read_only: bool) -> Mount:
        source = context.config.target.path / FOLDER
        if not source.is_dir():
            raise TargetAway(
                f"There is no {source}: no backup of PostgreSQL was made yet, or the target is not mounted."
            )
        return Mount(str(source), str(source), read_only=read_only)

    @staticmethod
    def _demand_room(scratch: Scratch, information: Json) -> None:
        """Refuse before the disk of a machine with a database is full."""
        need = int(ROOM * max((int(one["info"]["size"]) for one in information["backup"]), default=0))
        place = scratch.volume("data")
        free = free_bytes(place)
        if free < need:
            raise BackupError(
                f"{place}: {free >> 20} MiB are free, and a restored copy needs {need >> 20}. Make room, or drill on another machine."
            )

    # -- restore -------------------------------------------------------------------------------------------------------

    def restore(self, context: Context, part: Part) -> None:
        """Put a backup in the place of this member's data and let it recover. PostgreSQL stays stopped.

        The others must be stopped too, and what they agreed on has to be forgotten: playbooks/restore.yml does that around
        this (roles/backup/tasks/restore_postgresql.yml), and starts the members again. The option ``time`` is a moment with
        its zone, or ``latest``, both with ``@N`` behind it to follow the timeline N; without it, where the part was counted.
        """
        running = ["docker", "inspect", "--format", "{{.State.Running}}", context.job.container]
        if context.run(running, check=False, timeout=60).text == "true":
            raise BackupError(
                f"{context.job.container} runs: restore with playbooks/restore.yml, which stops PostgreSQL on all members."
            )
        argv = ["pg-backup", "restore", *destination(context.options.get("time", ""), part)]
        exact = not context.options.get("time") and bool(part.details["exact"])
        if os.environ.get("PANTHEON_LOSE_UNARCHIVED") == "yes":
            argv.append("--lose-unarchived")
        mounts = [self._repository_of(context, read_only=False)]
        with Scratch(context, purpose="restore", volumes=SERVICE, mounts=mounts) as scratch:
            found: Json = self._scratch(scratch, argv, seconds=24 * HOURS).json()
        context.log(
            f"PostgreSQL is restored from {found['label']}, on timeline {found['timeline']}; seconds: {json.dumps(found['seconds'])}."
        )
        if found["put_aside"]:
            context.log(
                f"This member had data of another cluster; they are in {found['put_aside']}, remove them by hand."
            )
        for database, held in sorted(found["databases"].items()):
            context.log(f"{database}: {len(held['tables'])} tables.")
        if exact:
            verdict = Verdict.of(list(compare(part.counts, promised(found))))
            if not verdict.ok:
                raise BackupError(f"PostgreSQL is restored, but not as it was: {verdict.reason}")
            context.log(f"Every row is as it was: {len(part.counts)} things compared.")

    # -- how -----------------------------------------------------------------------------------------------------------

    def _inside(self, context: Context, argv: Sequence[str], *, seconds: float) -> Completed:
        """Run a program in the running container."""
        return demanded(
            context.exec_in(context.job.container, argv, user=USER, timeout=seconds, check=False), context.job.container
        )

    def _pgbackrest(self, context: Context, *arguments: str, stanza: bool = True, seconds: float) -> Completed:
        options = [f"--stanza={STANZA}"] if stanza else []
        return self._inside(context, ["pgbackrest", *options, *arguments], seconds=seconds)

    def _information(self, context: Context) -> Json:
        """Return what pgBackRest says about the repository."""
        return one_stanza(self._pgbackrest(context, "--output=json", "info", seconds=300).json())

    @staticmethod
    def _scratch(scratch: Scratch, argv: Sequence[str], *, seconds: float) -> Completed:
        """Run a program in a scratch container."""
        return demanded(scratch.run(argv, user=USER, timeout=seconds, check=False), "the scratch container")


def one_stanza(found: Sequence[Json]) -> Json:
    """Return the entry of our stanza; an empty one where there is none yet."""
    for entry in found:
        if entry.get("name") == STANZA:
            return entry
    return {"backup": [], "db": [], "archive": []}


def promised(counted: Json) -> Json:
    """Return what was counted, by names for people: DATABASE/SCHEMA.TABLE."""
    found: Json = {}
    for database, held in counted["databases"].items():
        for name, value in held["tables"].items():
            found[f"{database}/{name}"] = value
        found[f"{database}, extensions"] = held["extensions"]
        if "large_objects" in held:
            found[f"{database}, large objects"] = held["large_objects"]
    if "roles" in counted:
        found["roles"] = counted["roles"]
    return found


def compare(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[Comparison]:
    """Return every comparison, also of what only one of both has."""
    return [
        Comparison(name, wanted.get(name, "nothing of that name"), found.get(name, "nothing of that name"))
        for name in sorted({*wanted, *found})
    ]


def destination(time: str, part: Part) -> list[str]:
    """Return where a restore goes to, as options of pg-backup."""
    if not time:
        details = part.details
        # Its backup if that is kept, or the last one before it that is: the log leads there from any.
        return [f"--lsn={details['lsn']}", f"--timeline={details['timeline']}", f"--set={part.snapshot}"]
    text, at, timeline = time.partition("@")
    if at and not timeline.isdigit():
        raise BackupError(f"time: {timeline!r} is no number of a timeline; write it like 'latest@2'.")
    chosen = [] if text == "latest" else [f"--time={moment(text)}"]
    return [*chosen, f"--timeline={timeline}"] if at else chosen


def moment(text: str) -> str:
    """Return a moment as PostgreSQL and pgBackRest take it; without its zone nobody knows which one is meant."""
    match = MOMENT.fullmatch(text.strip())
    if match is None:
        raise BackupError(
            f"time: {text!r} is no moment with its zone; write it like '2026-11-25 02:00:00+00', or latest."
        )
    zone = "+00" if match[3] == "Z" else match[3]
    return f"{match[1]} {match[2]}{zone}"


def demanded(done: Completed, where: str) -> Completed:
    """Return what a program said; its failure is an error, in its own sentence."""
    if done.status == 0:
        return done
    lines = [line.strip() for line in done.err.splitlines() if line.strip()]
    own = [line for line in lines if line.startswith("pg-backup ")]
    errors = [line for line in lines if line.startswith("ERROR")]
    if own:
        raise BackupError(own[-1].partition(": ")[2] or own[-1])
    if "do not match the database" in done.err:
        raise BackupError(
            "The repository holds the backups of another cluster: bring that one back with playbooks/restore.yml "
            "-e service=postgresql, or keep both with `pgbackrest --stanza=pantheon stanza-upgrade` in the container."
        )
    if errors:
        begin = lines.index(errors[0])
        raise BackupError(f"pgBackRest in {where}: {' '.join(lines[begin : begin + 4])[:600]}")
    raise BackupError(
        f"{' '.join(done.argv[-3:])} in {where} failed with {done.status}: {last_words(done.err or done.text)}"
    )


def free_bytes(place: Path) -> int:
    """Return the room on the disk of a folder."""
    return shutil.disk_usage(place).free
