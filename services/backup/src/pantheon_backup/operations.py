# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The three things that are done: a backup, a drill, a restore."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path

from pantheon_backup import inventory, scratch, sets, target, versions
from pantheon_backup.jobs import kind_of
from pantheon_backup.model import (
    FAILED,
    OK,
    SET_FORMAT,
    SKIPPED,
    BackupError,
    Config,
    Context,
    Job,
    Json,
    Part,
    Skipped,
    UsageError,
    Verdict,
)
from pantheon_backup.process import Runner
from pantheon_backup.restic import Restic
from pantheon_backup.sets import Sets
from pantheon_backup.state import State

RUNTIME = Path("/run/pantheon-backup")
NEWEST = "newest"


class Operations:
    """What the commands do. The caller holds the lock."""

    def __init__(
        self,
        config: Config,
        state: State,
        runner: Runner,
        log: Callable[[str], None],
        runtime: Path = RUNTIME,
    ) -> None:
        self.config, self.state, self.runner, self.log, self.runtime = config, state, runner, log, runtime
        self.sets = Sets(config.target.path / "sets", config.expected, config.environment)

    # -- backup --------------------------------------------------------------------------------------------------------

    def backup(self, set_id: str, only: str = "") -> dict[str, Part]:
        """Make the part of this machine in a set; returns what became of each job."""
        jobs = [self.config.job(only)] if only else list(self.config.jobs)
        started = datetime.now(timezone.utc).isoformat(timespec="seconds")
        parts: dict[str, Part] = {}
        try:
            self._prepare()
            self._restic(jobs[0], set_id, self.config.machine).make()
        except BackupError as error:
            for job in jobs:
                self.state.backed_up(job.name, set_id, Part(status=FAILED, reason=str(error)))
            raise
        for job in jobs:
            try:
                parts[job.name] = self._backup(job, set_id)
            except SystemExit:
                self.state.backed_up(job.name, set_id, Part(status=FAILED, reason="It was interrupted."))
                raise
            self.state.backed_up(job.name, set_id, parts[job.name])
        wanted = [job.name for job in self.config.jobs]
        manifest = self.sets.add(set_id, self.config.machine, wanted, parts, started, partial=bool(only))
        if not only:
            inventory.keep(self.config.target.path, self.config.environment, set_id, self.log)
            self._forget()
        self._note_complete(manifest)
        return parts

    def _backup(self, job: Job, set_id: str) -> Part:
        begun = time.monotonic()
        self.log(f"{job.name}: backup.")
        try:
            with self._context(job, set_id) as context:
                part = kind_of(job.kind).backup(context)
        except Skipped as reason:
            part = Part(status=SKIPPED, reason=str(reason))
        except BackupError as error:
            part = Part(status=FAILED, reason=str(error))
        except Exception as error:  # noqa: BLE001 - one job's fault must not keep the others from theirs
            self.log(traceback.format_exc())
            part = Part(status=FAILED, reason=f"{type(error).__name__}: {error}")
        part = Part(**{**part.to_json(), "seconds": round(time.monotonic() - begun, 3)})
        self.log(f"{job.name}: {part.status}, {part.seconds:.1f} s{', ' + part.reason if part.reason else ''}")
        return part

    def _forget(self) -> None:
        """Let go what need not be kept. A fault here is no fault of the backup that was just made."""
        machine = self.config.machine
        try:
            stay = self.sets.expire(self.config.target.keep, machine, datetime.now(timezone.utc))
            kept: dict[str, dict[str, Part]] = {}
            for set_id in stay:
                with contextlib.suppress(BackupError):
                    for name, part in self.sets.jobs(set_id, machine).items():
                        kept.setdefault(name, {})[set_id] = part
            restic = self._restic(self.config.jobs[0], "", machine)
            # By tag and not by the ids in the parts: a snapshot of a run that was killed has no part.
            restic.forget([one["id"] for one in restic.snapshots() if not _tags(one, "set=") & set(stay)])
            for job in self.config.jobs:
                kind = kind_of(job.kind)
                if hasattr(kind, "forget"):
                    with self._context(job, "") as context:
                        kind.forget(context, kept.get(job.name, {}))
        except BackupError as error:
            self.log(f"Old backups could not be removed: {error}")

    # -- drill ---------------------------------------------------------------------------------------------------------

    def drill(self, set_id: str, only: str = "") -> tuple[str, dict[str, Verdict]]:
        """Try the restore of what this machine has in a set; returns the set and a verdict for each job."""
        self._prepare()
        set_id = self._chosen(set_id)
        machine = self.config.machine
        verdicts: dict[str, Verdict] = {}
        try:
            self.sets.check(set_id, machine)
            parts = self.sets.jobs(set_id, machine)
            fault = ""
        except BackupError as error:
            parts, fault = {}, str(error)
        for job in [self.config.job(only)] if only else self.config.jobs:
            part = parts.get(job.name)
            if part is not None and part.status == SKIPPED:
                self.log(f"{job.name}: not here, {part.reason}")
                continue
            if part is None or part.status != OK:
                reason = part.reason if part else fault or f"{machine} has no backup of it in this set"
                verdicts[job.name] = Verdict(False, f"There is nothing to restore in {set_id}: {reason}")
            else:
                verdicts[job.name] = self._drill(job, set_id, part)
            self.state.drilled(job.name, set_id, verdicts[job.name])
        self._write_drill(set_id, verdicts)
        return set_id, verdicts

    def _drill(self, job: Job, set_id: str, part: Part) -> Verdict:
        begun = time.monotonic()
        self.log(f"{job.name}: drill of {set_id}.")
        try:
            with self._context(job, set_id) as context:
                verdict = kind_of(job.kind).drill(context, part)
        except (BackupError, Skipped) as error:
            verdict = Verdict(False, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the restore did not work
            self.log(traceback.format_exc())
            verdict = Verdict(False, f"{type(error).__name__}: {error}")
        verdict = Verdict(verdict.ok, verdict.reason, round(time.monotonic() - begun, 3), verdict.compared)
        word = "right" if verdict.ok else "NOT right"
        self.log(f"{job.name}: {word}, {verdict.seconds:.1f} s{', ' + verdict.reason if verdict.reason else ''}")
        return verdict

    def _write_drill(self, set_id: str, verdicts: Mapping[str, Verdict]) -> None:
        """Write the verdicts to the target, for this machine, and joined with those of the others."""
        folder = self.config.target.path / "drills"
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        own = {"form": versions.FORM, "set": set_id, "machine": self.config.machine, "written": now}
        own["jobs"] = {name: verdict.to_json() for name, verdict in verdicts.items()}
        sets.write(folder / set_id / f"{self.config.machine}.json", own)
        while True:
            texts = {path.stem: path.read_bytes() for path in sorted((folder / set_id).glob("*.json"))}
            machines: Json = {name: json.loads(text) for name, text in texts.items()}
            ok = all(verdict["ok"] for one in machines.values() for verdict in one["jobs"].values())
            joined = {"form": versions.FORM, "set": set_id, "ok": ok, "machines": machines}
            sets.write(folder / f"{set_id}.json", joined)
            if {path.stem: path.read_bytes() for path in sorted((folder / set_id).glob("*.json"))} == texts:
                break
        for old in sorted(path for path in folder.glob("*.json"))[:-50]:
            old.unlink(missing_ok=True)
            shutil.rmtree(folder / old.stem, ignore_errors=True)

    # -- restore -------------------------------------------------------------------------------------------------------

    def restore(
        self, set_id: str, name: str, *, machine: str = "", safety: bool = True, options: Mapping[str, str]
    ) -> str:
        """Put what a set holds into a service of this machine; returns the set.

        *machine* is whose part it is, if not this machine's. With *safety*, the service as it is now is backed up first.
        """
        self._prepare()
        job = self.config.job(name)
        set_id = self._chosen(set_id)
        machine = machine or self.config.machine
        self.sets.check(set_id, machine)
        part = self.sets.jobs(set_id, machine).get(name)
        if part is None or part.status != OK:
            reason = part.reason if part else "it was not backed up"
            raise BackupError(
                f"{machine} has no backup of {name} in {set_id}: {reason}. Another machine may have one: pantheon-backup list."
            )
        if safety:
            own = datetime.now(timezone.utc).strftime(SET_FORMAT)
            done = self.backup(own, name)[name]
            if done.status != OK:
                raise BackupError(
                    f"{name} could not be backed up as it is now, so it is not touched: {done.reason}. "
                    "Give --no-safety to restore all the same."
                )
            self.log(f"{name} as it is now is in the set {own}.")
        with self._context(job, set_id, machine, options) as context:
            kind_of(job.kind).restore(context, part)
        return set_id

    # -- for all of them -----------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        target.demand(self.config.target, self.runner)

    def _chosen(self, set_id: str) -> str:
        if set_id == NEWEST:
            set_id = self.sets.newest_complete()
            if not set_id:
                raise BackupError(
                    "There is no complete set. Look at pantheon-backup list, and name a set if an incomplete one will do."
                )
            return set_id
        if set_id not in self.sets.ids():
            raise UsageError(f"There is no set {set_id}. Look at pantheon-backup list.")
        return set_id

    def _note_complete(self, manifest: Json) -> None:
        self.state.data["complete_set"] = manifest["set"] if manifest["complete"] else self.sets.newest_complete()
        self.state.save()

    def _restic(self, job: Job, set_id: str, machine: str) -> Restic:
        place = self.config.target.path / "restic" / machine
        return Restic(self.runner, place, self.config.target.password, machine=machine, job=job.name, set_id=set_id)

    @contextlib.contextmanager
    def _context(
        self, job: Job, set_id: str, machine: str = "", options: Mapping[str, str] | None = None
    ) -> Iterator[Context]:
        machine = machine or self.config.machine
        context = Context(
            config=self.config,
            job=job,
            set_id=set_id,
            machine=machine,
            runner=self.runner,
            restic=self._restic(job, set_id, machine),
            log=self.log,
            options=dict(options or {}),
            runtime=self.runtime,
        )
        context.work.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            yield context
        finally:
            shutil.rmtree(context.work, ignore_errors=True)

    def recover(self) -> None:
        """Tidy up after a run that was killed."""
        shutil.rmtree(self.runtime / "work", ignore_errors=True)
        scratch.recover(self.runner, self.config.machine, self.runtime, self.log)

    def listing(self) -> list[Json]:
        """Return all sets with what they hold, the newest first."""
        target.demand(self.config.target, self.runner)
        rows = []
        for set_id in reversed(self.sets.ids()):
            try:
                manifest = self.sets.manifest(set_id)
            except BackupError as error:
                manifest = {
                    "set": set_id,
                    "complete": False,
                    "missing": [{"machine": "", "job": "", "reason": str(error)}],
                    "parts": {},
                }
            rows.append({key: manifest.get(key) for key in ("set", "complete", "partial", "missing", "parts")})
        return rows


def _tags(snapshot: Json, prefix: str) -> set[str]:
    return {tag[len(prefix) :] for tag in snapshot.get("tags") or () if tag.startswith(prefix)}
