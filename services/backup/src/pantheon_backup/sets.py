# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sets at the target: a folder for each, with a part for each machine and a manifest of all of them.

Machines write at the same time and share no lock. Each writes its own part, then the manifest out of all parts that are
there; whoever writes the manifest looks again afterwards, so that the last one has seen every part.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from pantheon_backup import versions
from pantheon_backup.model import OK, SKIPPED, BackupError, Json, Part, is_set, set_time

MANIFEST = "manifest.json"


def write(path: Path, data: Any, mode: int = 0o600) -> None:
    """Write a JSON file in one step: a reader sees the old one or the new one."""
    write_text(path, json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n", mode)


def write_text(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a text file in one step."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(fresh, mode)
        os.replace(fresh, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()


def read(path: Path) -> Json:
    """Return a JSON file; one that is damaged is an error that names it."""
    try:
        data: Json = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise BackupError(f"{path} cannot be read: {error}. Remove it, or get it from a snapshot of the NAS.") from None
    if not isinstance(data, dict) or data.get("form", 0) > versions.FORM:
        raise BackupError(f"{path} was written by a later version of pantheon-backup. Install that one.")
    return data


class Sets:
    """The sets below a folder of the target; *expected* are the machines that belong to a complete one."""

    def __init__(self, folder: Path, expected: Sequence[str], environment: str) -> None:
        self.folder, self.expected, self.environment = folder, tuple(expected), environment

    def ids(self) -> list[str]:
        """Return all ids, the oldest first."""
        try:
            return sorted(name for name in os.listdir(self.folder) if is_set(name))
        except FileNotFoundError:
            return []

    def part(self, set_id: str, machine: str) -> Json:
        """Return the part of a machine."""
        try:
            return read(self.folder / set_id / f"{machine}.json")
        except FileNotFoundError:
            raise BackupError(
                f"{machine} has no part in the set {set_id}. Take another set: pantheon-backup list."
            ) from None

    def jobs(self, set_id: str, machine: str) -> dict[str, Part]:
        """Return what the jobs of a machine left in a set."""
        return {name: Part.from_json(data) for name, data in self.part(set_id, machine)["jobs"].items()}

    def manifest(self, set_id: str) -> Json:
        """Return the manifest of a set, an empty one where there is none.

        A client of NFS may show a file as it was some seconds ago, but not hide a new name. So where there are parts that the
        manifest does not know, what it says is worked out anew.
        """
        try:
            manifest = read(self.folder / set_id / MANIFEST)
        except FileNotFoundError:
            manifest = {"set": set_id, "complete": False, "missing": [], "parts": {}}
        if not manifest["complete"]:
            texts = _parts(self.folder / set_id)
            if set(texts) - set(manifest["parts"]):
                return self._manifest(set_id, str(manifest.get("by", "")), texts)
        return manifest

    def newest_complete(self) -> str:
        """Return the newest complete set, or an empty text."""
        for set_id in reversed(self.ids()):
            with contextlib.suppress(BackupError):
                if self.manifest(set_id)["complete"]:
                    return set_id
        return ""

    def add(
        self,
        set_id: str,
        machine: str,
        wanted: Sequence[str],
        jobs: Mapping[str, Part],
        started: str,
        *,
        partial: bool = False,
    ) -> Json:
        """Write the part of a machine, and the manifest; returns the manifest. *partial*: only some jobs were asked for.

        What an earlier run left in the same set stays, unless there is something newer that is not worse.
        """
        path = self.folder / set_id / f"{machine}.json"
        merged: Json = {}
        with contextlib.suppress(FileNotFoundError):
            before = read(path)
            merged, partial = before["jobs"], partial and bool(before.get("partial"))
        for name, part in jobs.items():
            if part.status == OK or merged.get(name, {}).get("status") != OK:
                merged[name] = part.to_json()
        write(
            path,
            {
                "form": versions.FORM,
                "set": set_id,
                "machine": machine,
                "environment": self.environment,
                "started": started,
                "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
                "wanted": sorted(wanted),
                "partial": partial,
                "jobs": merged,
            },
        )
        return self.make_manifest(set_id, machine)

    def make_manifest(self, set_id: str, machine: str) -> Json:
        """Write the manifest out of all parts, again until no part came while it was written."""
        folder = self.folder / set_id
        while True:
            texts = _parts(folder)
            manifest = self._manifest(set_id, machine, texts)
            write(folder / MANIFEST, manifest)
            if _parts(folder) == texts:
                return manifest

    def _manifest(self, set_id: str, machine: str, texts: Mapping[str, bytes]) -> Json:
        parts, missing = {}, []
        for name, text in texts.items():
            try:
                parts[name] = json.loads(text)
            except ValueError:
                missing.append({"machine": name, "job": "", "reason": "its part is damaged"})
        for name in self.expected:
            if name not in texts:
                missing.append({"machine": name, "job": "", "reason": "it has no part in the set"})
        kept = {job for part in parts.values() for job, data in part["jobs"].items() if data["status"] == OK}
        for name, part in sorted(parts.items()):
            for job in part["wanted"]:
                data = part["jobs"].get(job)
                if data is None:
                    missing.append({"machine": name, "job": job, "reason": "it was not backed up"})
                elif data["status"] == SKIPPED and job not in kept:
                    reason = f"nobody keeps it; here: {data['reason']}"
                    missing.append({"machine": name, "job": job, "reason": reason})
                elif data["status"] not in (OK, SKIPPED):
                    missing.append({"machine": name, "job": job, "reason": data["reason"]})
        return {
            "form": versions.FORM,
            "set": set_id,
            "environment": self.environment,
            "complete": not missing,
            # Made for one service, before a restore for example: what is missing in it is no fault.
            "partial": bool(parts) and all(part.get("partial") for part in parts.values()),
            "missing": missing,
            "expected": list(self.expected),
            "parts": {
                name: {
                    "sha256": hashlib.sha256(texts[name]).hexdigest(),
                    "jobs": {job: data["status"] for job, data in part["jobs"].items()},
                }
                for name, part in sorted(parts.items())
            },
            "written": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "by": machine,
            "versions": {"pantheon-backup": versions.PROGRAM},
        }

    def check(self, set_id: str, machine: str) -> None:
        """Raise if the part of a machine is not the one that the manifest knows."""
        known = self.manifest(set_id)["parts"].get(machine)
        text = _parts(self.folder / set_id).get(machine)
        if known and text is not None and hashlib.sha256(text).hexdigest() != known["sha256"]:
            raise BackupError(
                f"{self.folder / set_id / machine}.json is not the file that the manifest of the set knows."
            )

    def expire(self, keep: Mapping[str, int], machine: str, now: datetime) -> list[str]:
        """Remove this machine's part of all sets that need not stay, and sets without a part; returns what stays."""
        found = []
        for set_id in self.ids():
            complete = False
            with contextlib.suppress(BackupError):
                complete = bool(self.manifest(set_id)["complete"])
            found.append((set_id, complete))
        stay = kept(found, keep, now)
        for set_id, _complete in found:
            if set_id in stay:
                continue
            folder = self.folder / set_id
            with contextlib.suppress(FileNotFoundError):
                (folder / f"{machine}.json").unlink()
            # Parts of machines that are no more keep nobody.
            if not set(_parts(folder)) & set(self.expected):
                shutil.rmtree(folder, ignore_errors=True)
        return sorted(stay)


def _parts(folder: Path) -> dict[str, bytes]:
    texts = {}
    for path in sorted(folder.glob("*.json")):
        if path.name != MANIFEST and not path.name.startswith("."):
            with contextlib.suppress(FileNotFoundError):
                texts[path.stem] = path.read_bytes()
    return texts


def kept(sets: Iterable[tuple[str, bool]], keep: Mapping[str, int], now: datetime) -> set[str]:
    """Return which sets stay, out of ids with whether they are complete.

    Of each of the last days, weeks and months that have sets, the last complete one, or without any the last one. The newest
    complete set always stays, and so does everything of the last day: what was made before a restore can be asked for.
    """
    ordered = sorted(sets)
    stay = {set_id for set_id, _complete in ordered if now - set_time(set_id) < timedelta(days=1)}
    stay |= set([set_id for set_id, complete in ordered if complete][-1:])
    for period, form in (("daily", "%Y-%m-%d"), ("weekly", "%G-%V"), ("monthly", "%Y-%m")):
        best: dict[str, tuple[bool, str]] = {}
        for set_id, complete in ordered:
            span = set_time(set_id).strftime(form)
            best[span] = max(best.get(span, (False, "")), (complete, set_id))
        number = keep.get(period, 0)
        if number:
            stay |= {best[span][1] for span in sorted(best)[-number:]}
    return stay


def scheduled(now: datetime, at: str, every_hours: int) -> str:
    """Return the id for the scheduled time that was last; *now* is in the zone that the schedule is meant in.

    It is the same on every machine, also on one that was off at that time and is late.
    """
    hour, minute = (int(part) for part in at.split(":"))
    start = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if start > now:
        start -= timedelta(days=1)
    periods = (now - start) // timedelta(hours=every_hours)
    return (start + periods * timedelta(hours=every_hours)).astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
