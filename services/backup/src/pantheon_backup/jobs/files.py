# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services whose data are files that may be copied while they run, and directories of the machine."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from pantheon_backup import exchange
from pantheon_backup.model import OK, BackupError, Comparison, Context, Json, Part, Verdict
from pantheon_backup.restic import Saved
from pantheon_backup.scratch import Scratch, is_running, stopped_for_backup, volumes_of

#: On the machine's disk, for copies of directories that are no volumes.
SCRATCH = Path("/var/lib/pantheon/backup/scratch")
RESTORED = Path("/var/lib/pantheon/restored")
TRIES = 3


class Files:
    """The job kind ``files``; its options are volumes (all, if left out) and offline, or paths."""

    def backup(self, context: Context) -> Part:
        """Keep the directories, with a digest of what is where."""
        roots = self._roots(context)
        offline = bool(context.job.options.get("offline")) and is_running(context)
        with stopped_for_backup(context) if offline else nullcontext():
            saved = self._save(context, roots)
        listing = context.restic.listing(saved.snapshot)
        return Part(
            status=OK,
            snapshot=saved.snapshot,
            bytes=saved.bytes,
            versions=context.versions(),
            counts={name: summary(promised(listing, str(root))) for name, root in roots.items()},
            details={"roots": {name: str(root) for name, root in roots.items()}},
        )

    def drill(self, context: Context, part: Part) -> Verdict:
        """Write the files elsewhere, and compare what is where with what was written down."""
        with _space(context) as folder:
            return self._fetch_and_compare(context, part, folder)

    def restore(self, context: Context, part: Part) -> None:
        """Put the files of a service into its volumes; other directories are only written where a person can look."""
        if context.job.options.get("paths"):
            folder = RESTORED / context.set_id / context.job.name
            if folder.exists():
                raise BackupError(f"{folder} is there already. Remove it, or look there.")
            folder.mkdir(mode=0o700, parents=True)
            verdict = self._fetch_and_compare(context, part, folder)
            if not verdict.ok:
                raise BackupError(f"The files in {folder} are not what the backup promises: {verdict.reason}")
            context.log(
                f"{context.job.name}: the files are in {folder}; site.yml makes those in place from the inventory."
            )
            return
        places = self._roots(context)
        with _space(context) as folder:
            verdict = self._fetch_and_compare(context, part, folder)
            if not verdict.ok:
                raise BackupError(f"The backup is not what it promises, so nothing was touched: {verdict.reason}")
            pairs = [(_below(folder, root), places[name]) for name, root in _roots_of(part).items() if name in places]
            if not pairs:
                raise BackupError(
                    f"{context.job.name} has none of the volumes that the backup has; nothing was touched."
                )
            with exchange.stopped(context):
                exchange.replace(context, pairs)

    def _roots(self, context: Context) -> dict[str, Path]:
        """Return the directories by name: of volumes, or as they are."""
        paths = context.job.options.get("paths")
        if paths:
            roots = {path: Path(path) for path in paths if Path(path).exists()}
            if not roots:
                raise BackupError(
                    f"{context.job.name}: none of {', '.join(paths)} is there. Deploy with site.yml first."
                )
            return roots
        volumes = volumes_of(context.runner, context.job)
        wanted = context.job.options.get("volumes") or sorted(volumes)
        missing = [name for name in wanted if name not in volumes]
        if missing or not wanted:
            raise BackupError(
                f"{context.job.name} has no volume {missing[0] if missing else 'at all'}; it has "
                f"{', '.join(sorted(volumes)) or 'none'}. Correct backup.volumes in the catalog."
            )
        return {name: volumes[name] for name in wanted}

    def _save(self, context: Context, roots: dict[str, Path]) -> Saved:
        for left in reversed(range(TRIES)):
            try:
                return context.restic.save_paths(list(roots.values()))
            except BackupError as error:
                # A file may go between being seen and being read.
                if not left:
                    raise
                context.log(f"{context.job.name}: once more, since {error}")
        raise AssertionError("not reached")

    def _fetch_and_compare(self, context: Context, part: Part, folder: Path) -> Verdict:
        context.restic.fetch(part.snapshot, folder)
        compared = []
        for name, root in _roots_of(part).items():
            wanted, found = part.counts.get(name, {}), summary(on_disk(_below(folder, root)))
            compared += [Comparison(f"{name}: {what}", wanted.get(what), value) for what, value in found.items()]
        return Verdict.of(compared)


def _roots_of(part: Part) -> dict[str, str]:
    roots: dict[str, str] = part.details.get("roots", {})
    return roots


def _below(folder: Path, root: str) -> Path:
    return folder / root.lstrip("/")


@contextmanager
def _space(context: Context) -> Iterator[Path]:
    """Give an empty directory for a copy: a scratch volume for a service's data, so that it lies where these lie."""
    if context.job.options.get("paths"):
        folder = SCRATCH / context.job.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    with Scratch(context, purpose="drill") as scratch:
        names = context.job.options.get("volumes") or sorted(volumes_of(context.runner, context.job))
        yield scratch.volume(names[0])


# -- what is where -------------------------------------------------------------------------------------------------------

#: Path below the root, kind, size, permissions, owner, group.
Entry = tuple[str, str, int, int, int, int]


def promised(listing: Iterable[Json], root: str) -> Iterator[Entry]:
    """Return what a snapshot holds below a directory."""
    start = root.rstrip("/") + "/"
    for entry in listing:
        path, kind = entry["path"], entry["type"]
        if path.startswith(start) and kind in ("file", "dir", "symlink"):
            size = int(entry.get("size", 0)) if kind == "file" else 0
            mode = 0 if kind == "symlink" else int(entry.get("mode", 0)) & 0o777
            yield path[len(start) :], kind, size, mode, int(entry.get("uid", 0)), int(entry.get("gid", 0))


def on_disk(root: Path) -> Iterator[Entry]:
    """Return what there is below a directory."""
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                kind, size, mode = "symlink", 0, 0
            elif stat.S_ISDIR(status.st_mode):
                kind, size, mode = "dir", 0, status.st_mode & 0o777
            elif stat.S_ISREG(status.st_mode):
                kind, size, mode = "file", status.st_size, status.st_mode & 0o777
            else:
                continue
            yield str(path.relative_to(root)), kind, size, mode, status.st_uid, status.st_gid


def summary(entries: Iterable[Entry]) -> Json:
    """Return number and size of the files, and a digest of paths, kinds, sizes, permissions and owners.

    What is in the files need not be part of it: restic keeps data under their own SHA-256 and compares that on reading.
    """
    files = size = 0
    lines = []
    for entry in entries:
        if entry[1] == "file":
            files += 1
            size += entry[2]
        lines.append("\t".join(map(str, entry)))
    digest = hashlib.sha256("\n".join(sorted(lines)).encode("utf-8", "surrogateescape"))
    return {"files": files, "bytes": size, "tree": digest.hexdigest()[:32]}
