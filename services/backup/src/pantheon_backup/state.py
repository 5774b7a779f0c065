# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this machine remembers of its backups and drills, and the metrics made of it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pantheon_backup import sets
from pantheon_backup.model import FAILED, OK, SKIPPED, BackupError, Config, Json, Part, Verdict, set_time

FILE = Path("/var/lib/pantheon/backup/state.json")
#: A backup is late after so many periods without a success.
LATE_PERIODS = 2


class State:
    """The memory. It lies on the machine's disk, so that a target that is away is known too."""

    def __init__(self, config: Config, file: Path = FILE) -> None:
        self.config, self.file = config, file
        self.data: Json = {}
        with contextlib.suppress(FileNotFoundError, BackupError):
            self.data = sets.read(file)
        self.data.setdefault("form", 1)
        self.data.setdefault("jobs", {})
        self.data.setdefault("drills", {})
        self.data.setdefault("complete_set", "")

    def backed_up(self, name: str, set_id: str, part: Part) -> None:
        """Remember a backup; one that failed leaves the time of the last success as it is."""
        now = time.time()
        job = self.data["jobs"].setdefault(name, {})
        job |= {"last_run": now, "status": part.status, "reason": part.reason, "seconds": part.seconds}
        if part.status == OK:
            job |= {"last_success": now, "set": set_id, "bytes": part.bytes, "success_seconds": part.seconds}
        self.save()

    def drilled(self, name: str, set_id: str, verdict: Verdict) -> None:
        """Remember a drill."""
        now = time.time()
        drill = self.data["drills"].setdefault(name, {})
        drill |= {"last_run": now, "ok": verdict.ok, "reason": verdict.reason, "seconds": verdict.seconds}
        if verdict.ok:
            drill |= {"last_success": now, "set": set_id}
        self.save()

    def save(self) -> None:
        """Write the memory and the metrics; a job that is no more is forgotten."""
        names = {job.name for job in self.config.jobs}
        for table in ("jobs", "drills"):
            self.data[table] = {name: value for name, value in self.data[table].items() if name in names}
        sets.write(self.file, self.data)
        sets.write_text(self.config.metrics, metrics(self.config, self.data), 0o644)
        with contextlib.suppress(OSError):
            self.config.metrics.parent.chmod(0o755)

    def status(self, now: float) -> Json:
        """Return how it stands: per job the last success, and whether it is late."""
        limit = LATE_PERIODS * self.config.every_hours * 3600
        jobs = {}
        for job in self.config.jobs:
            known: dict[str, Any] = self.data["jobs"].get(job.name, {})
            success = known.get("last_success")
            # Where another machine's instance keeps the data, this one need not.
            excused = known.get("status") == SKIPPED and now - known["last_run"] <= limit
            jobs[job.name] = {
                **known,
                "age_seconds": None if success is None else round(now - success),
                "late": not excused and (success is None or now - success > limit),
            }
        return {
            "machine": self.config.machine,
            "jobs": jobs,
            "drills": self.data["drills"],
            "complete_set": self.data["complete_set"],
            "late": sorted(name for name, job in jobs.items() if job["late"]),
        }


def metrics(config: Config, data: Json) -> str:
    """Return the metrics for the textfile collector of node-exporter."""
    jobs, drills = data["jobs"], data["drills"]

    def of(table: Json, key: str) -> list[tuple[str, float]]:
        return [(name, float(values[key])) for name, values in sorted(table.items()) if values.get(key) is not None]

    def graded(table: Json, key: str, good: Any, bad: Any) -> list[tuple[str, float]]:
        return [
            (name, 1.0 if one[key] == good else 0.0)
            for name, one in sorted(table.items())
            if one.get(key) in (good, bad)
        ]

    skipped = [(name, 1.0 if one.get("status") == SKIPPED else 0.0) for name, one in sorted(jobs.items())]
    complete = data["complete_set"]
    complete_time = set_time(complete).timestamp() if complete else 0.0
    fresh = time.time() - complete_time <= LATE_PERIODS * config.every_hours * 3600
    lines: list[str] = []
    prefix = "pantheon_backup"
    _family(
        lines,
        f"{prefix}_last_success_timestamp_seconds",
        "When the job last made a backup here.",
        of(jobs, "last_success"),
    )
    _family(lines, f"{prefix}_last_run_timestamp_seconds", "When the job last ran here.", of(jobs, "last_run"))
    _family(
        lines, f"{prefix}_last_status", "1: the last backup was made; 0: it failed.", graded(jobs, "status", OK, FAILED)
    )
    _family(lines, f"{prefix}_last_skipped", "1: the job had nothing to do here, such as on a replica.", skipped)
    _family(lines, f"{prefix}_duration_seconds", "How long the last run of the job took.", of(jobs, "seconds"))
    _family(lines, f"{prefix}_size_bytes", "How much the last backup of the job holds.", of(jobs, "bytes"))
    _family(lines, f"{prefix}_period_seconds", "How often a backup is due.", [("", config.every_hours * 3600.0)])
    _family(lines, f"{prefix}_set_complete", "1: there is a complete set that is not late.", [("", float(fresh))])
    _family(lines, f"{prefix}_complete_set_timestamp_seconds", "The newest complete set.", [("", complete_time)])
    prefix = "pantheon_restore_drill"
    _family(
        lines,
        f"{prefix}_last_success_timestamp_seconds",
        "When a restore was last tried with success.",
        of(drills, "last_success"),
    )
    _family(
        lines,
        f"{prefix}_last_status",
        "1: the last trial of a restore was right; 0: it was not.",
        graded(drills, "ok", True, False),
    )
    _family(lines, f"{prefix}_duration_seconds", "How long the last trial took.", of(drills, "seconds"))
    return "".join(f"{line}\n" for line in lines)


def _family(lines: list[str], name: str, text: str, values: Iterable[tuple[str, float]]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} gauge"]
    for job, value in values:
        label = f'{{job="{job}"}}' if job else ""
        lines.append(f"{name}{label} {value:.3f}".removesuffix(".000"))
