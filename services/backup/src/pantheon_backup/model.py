# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program deals in: jobs, parts of a set, verdicts, and the context that a job works in.

A *job* is what has to be backed up on this machine, one per service. A run makes of each job a *part* of a *set*: all parts
with the same id belong together, those of other machines too. A *drill* proves that a part can be restored, and gives a
*verdict*. How a job does that is up to its kind, a module of `pantheon_backup.jobs`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pantheon_backup.process import Completed, Runner
    from pantheon_backup.restic import Restic

OK, SKIPPED, FAILED = "ok", "skipped", "failed"
STATUSES = (OK, SKIPPED, FAILED)
SET_FORMAT = "%Y%m%dT%H%M%SZ"
SET_PATTERN = re.compile(r"[0-9]{8}T[0-9]{6}Z")

Json = dict[str, Any]


class BackupError(Exception):
    """Something cannot be done: one sentence that names what, and the remedy where there is one. Never holds a secret."""


class Skipped(Exception):
    """A job has nothing to do here, for the reason given: for example, this instance is a replica. Not a success."""


class TargetAway(BackupError):
    """The place of the backups is not there now; another try later may find it."""


class UsageError(BackupError):
    """The program was called, or configured, wrongly."""


@dataclass(frozen=True)
class Job:
    """What has to be backed up, as the configuration says it.

    *name* is the service's (or ``configuration``), *kind* names the module in `pantheon_backup.jobs`. For a service,
    *project* is its compose project, *directory* where its compose files lie, *container* the name of its container and
    *image* its image. *options* are the kind's own keys, with secrets filled in.
    """

    name: str
    kind: str
    project: str = ""
    directory: str = ""
    container: str = ""
    image: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Part:
    """What a job left in a set.

    *status* is ok, skipped or failed, *reason* says why it is not ok. *snapshot* is where the data are: the id of restic's
    snapshot, or what the kind of the job uses instead (a label of pgBackRest). *sha256* has the digest of each stream by
    name, *versions* what wrote it (program, image, tools), *counts* what a restored copy has to have: the drill compares
    it. *details* is for the kind alone. Everything has to be fit for JSON.
    """

    status: str
    reason: str = ""
    seconds: float = 0.0
    bytes: int = 0
    snapshot: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> Json:
        """Return the part for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Part:
        """Read a part. Fields of a later version are left out."""
        known = {one.name for one in dataclasses.fields(cls)}
        part = cls(**{name: value for name, value in data.items() if name in known})
        if part.status not in STATUSES:
            raise BackupError(f"A part has the status {part.status!r}; known are {', '.join(STATUSES)}.")
        return part


@dataclass(frozen=True)
class Comparison:
    """One thing that a drill compared: what the backup promised, and what the restored copy has.

    Where a number changed while the backup was made, *wanted* is the least and *most* the most that is right.
    """

    what: str
    wanted: Any
    found: Any
    most: Any = None

    @property
    def equal(self) -> bool:
        """Say whether the copy has what was promised."""
        if self.most is None:
            return bool(self.wanted == self.found)
        numbers = (self.wanted, self.found, self.most)
        return all(isinstance(one, (int, float)) for one in numbers) and bool(self.wanted <= self.found <= self.most)

    @property
    def promise(self) -> str:
        """What was promised, for people."""
        return f"{self.wanted!r}" if self.most is None else f"{self.wanted!r} to {self.most!r}"


@dataclass(frozen=True)
class Verdict:
    """What a drill found. *ok* only if the copy was really made and everything compared was equal."""

    ok: bool
    reason: str = ""
    seconds: float = 0.0
    compared: Sequence[Comparison] = ()

    def to_json(self) -> Json:
        """Return the verdict for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, compared: Sequence[Comparison], notes: str = "") -> Verdict:
        """Return the verdict on what was compared. With nothing compared nothing is proven, so it is not ok."""
        if not compared:
            return cls(False, "Nothing could be compared.", compared=())
        wrong = [one for one in compared if not one.equal]
        if wrong:
            first = wrong[0]
            more = f" ({len(wrong) - 1} more differ)" if len(wrong) > 1 else ""
            reason = f"{first.what}: the backup promises {first.promise}, the restored copy has {first.found!r}{more}."
            return cls(False, reason, compared=tuple(compared))
        return cls(True, notes, compared=tuple(compared))


@dataclass(frozen=True)
class Target:
    """Where backups go. *mount*: only if a file system is mounted there. *password* is that of restic's repositories."""

    path: Path
    mount: bool
    password: str = field(repr=False)
    keep: Mapping[str, int]


@dataclass(frozen=True)
class Config:
    """The configuration of this machine, /etc/pantheon/backup.json."""

    machine: str
    environment: str
    target: Target
    every_hours: int
    at: str
    expected: Sequence[str]
    metrics: Path
    jobs: Sequence[Job]

    def job(self, name: str) -> Job:
        """Return the job of this name."""
        for job in self.jobs:
            if job.name == name:
                return job
        known = ", ".join(job.name for job in self.jobs) or "none"
        raise UsageError(f"There is no job {name} on {self.machine}; known are {known}.")


@dataclass(frozen=True)
class Context:
    """What a job works with. One is made for each job and each operation.

    *set_id* is the set that is written, or restored from. *machine* is whose part it is: this machine's, or another one's
    whose backup is restored here. *options* are those of the command (``time`` for a point in time; empty for backups and
    drills). *log* takes a line for people; never give it a secret.
    """

    config: Config
    job: Job
    set_id: str
    machine: str
    runner: Runner
    restic: Restic
    log: Callable[[str], None]
    options: Mapping[str, str] = field(default_factory=dict)
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    #: The program's directory in memory, 0700.
    runtime: Path = Path("/run/pantheon-backup")

    @property
    def work(self) -> Path:
        """A directory in memory for small files of this job; the frame removes it afterwards."""
        return self.runtime / "work" / self.job.name

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 3600,
        check: bool = True,
    ) -> Completed:
        """Run a program of this machine; see :meth:`pantheon_backup.process.Runner.run`."""
        return self.runner.run(argv, stdin=stdin, env=env, timeout=timeout, check=check)

    def exec_in(
        self,
        container: str,
        argv: Sequence[str],
        *,
        user: str = "",
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = 3600,
        check: bool = True,
    ) -> Completed:
        """Run a program in a running container. *env* reaches it without appearing among the arguments of docker."""
        command = exec_command(container, argv, user=user, stdin=stdin is not None, env=env)
        return self.runner.run(command, stdin=stdin, env=env, timeout=timeout, check=check)

    def versions(self) -> dict[str, str]:
        """Return what a part made here should say about its origin: this program, restic, and the service's image."""
        from pantheon_backup import versions

        return versions.of(self)


def exec_command(
    container: str,
    argv: Sequence[str],
    *,
    user: str = "",
    stdin: bool = False,
    env: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the command that runs *argv* in a container; the values of *env* have to be in docker's own environment."""
    command = ["docker", "exec"]
    if stdin:
        command.append("--interactive")
    if user:
        command += ["--user", user]
    for name in sorted(env or {}):
        command += ["--env", name]
    return [*command, container, *argv]


class Kind(Protocol):
    """How one kind of job is done. Registered in `pantheon_backup.jobs.KINDS`; made anew for each operation.

    The frame measures seconds, catches :class:`BackupError` and :class:`Skipped` (and everything else) and makes failed or
    skipped parts and verdicts of them: a method raises, and never returns a failure that it only suspects away.
    """

    def backup(self, context: Context) -> Part:
        """Make a backup, and return the part; ``seconds`` is filled in by the frame."""

    def restore(self, context: Context, part: Part) -> None:
        """Put the data of a part into the service of this machine, and come back when the service is healthy."""

    def drill(self, context: Context, part: Part) -> Verdict:
        """Restore a part into scratch containers, compare, and leave nothing behind. The service is not touched."""


class Forgets(Protocol):
    """A kind that keeps its data elsewhere than in restic may also have this method."""

    def forget(self, context: Context, kept: Mapping[str, Part]) -> None:
        """Remove what belongs to no kept part any more; *kept* are the parts of this job by the id of their set."""


def is_set(text: str) -> bool:
    """Say whether a text is the id of a set."""
    return SET_PATTERN.fullmatch(text) is not None


def set_time(set_id: str) -> datetime:
    """Return the time that the id of a set says."""
    try:
        return datetime.strptime(set_id, SET_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        raise UsageError(f"{set_id} is not the id of a set; it looks like 20261125T023000Z.") from None
