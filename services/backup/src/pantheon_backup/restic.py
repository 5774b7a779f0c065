# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository of a machine: one for each, so that no machine ever waits for another one's lock."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pantheon_backup.model import BackupError, Json
from pantheon_backup.process import Completed, Runner, Stream, demand


@dataclass(frozen=True)
class Saved:
    """A snapshot that was made. *bytes* is what it holds, *added* what the repository grew by."""

    snapshot: str
    bytes: int
    added: int
    sha256: str = ""


class Restic:
    """restic, with the repository, the password and the tags of one job in one set."""

    def __init__(self, runner: Runner, path: Path, password: str, *, machine: str, job: str, set_id: str) -> None:
        self.runner, self.path = runner, path
        self._password = password
        self._machine, self._job, self._set = machine, job, set_id

    # -- writing -------------------------------------------------------------------------------------------------------

    def save(self, argv: Sequence[str], name: str, *, env: Mapping[str, str] | None = None) -> Saved:
        """Keep what a program writes to its output, as one file called *name*.

        A program that exits with 75 is ``Skipped``, with another status a ``BackupError``; in both cases nothing is kept.
        """
        sink = ["restic", "backup", "--json", "--stdin", "--stdin-filename", f"/{name}", *self._marks()]
        stream = self.runner.pipe(argv, sink, source_env=env, sink_env=self.env())
        return self._saved(stream.sink, size=stream.bytes, sha256=stream.sha256)

    def save_paths(self, paths: Sequence[Path], *, exclude: Sequence[str] = ()) -> Saved:
        """Keep directories and files of this machine."""
        argv = ["restic", "backup", "--json", *self._marks()]
        argv += [part for pattern in exclude for part in ("--exclude", pattern)]
        done = self.runner.run([*argv, "--", *map(str, paths)], env=self.env(), check=False)
        if done.status == 3:
            raise BackupError(f"Some files of {', '.join(map(str, paths))} could not be read: {_words(done)}")
        demand(done)
        return self._saved(done)

    def forget(self, snapshots: Sequence[str]) -> None:
        """Remove snapshots, and what only they needed."""
        if snapshots:
            self._unlock()
            self.runner.run(["restic", "forget", "--quiet", "--prune", *snapshots], env=self.env())

    def make(self) -> None:
        """Make the repository if there is none; take away locks of runs that were killed."""
        if not (self.path / "config").exists():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.runner.run(["restic", "init"], env=self.env())
        self._unlock()

    def _unlock(self) -> None:
        """Take away the locks of programs that are no more."""
        self.runner.run(["restic", "unlock", "--quiet"], env=self.env())

    # -- reading -------------------------------------------------------------------------------------------------------

    def load(
        self,
        snapshot: str,
        name: str,
        argv: Sequence[str],
        *,
        sha256: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Stream:
        """Give a file that :meth:`save` kept to a program's input. It has to have the digest *sha256*, if one is given."""
        source = ["restic", "dump", *self._reading(), snapshot, f"/{name}"]
        stream = self.runner.pipe(source, argv, source_env=self.env(), sink_env=env)
        if sha256 and stream.sha256 != sha256:
            raise BackupError(
                f"{name} of {snapshot[:8]} has the digest {stream.sha256}, and {sha256} was written down."
            )
        return stream

    def fetch(self, snapshot: str, folder: Path) -> None:
        """Write all files of a snapshot below a folder, at their full paths, and read them again to compare."""
        argv = ["restic", "restore", *self._reading(), "--verify", "--target", str(folder), snapshot]
        self.runner.run(argv, env=self.env())

    def listing(self, snapshot: str) -> list[Json]:
        """Return what a snapshot holds: an entry with path, type, size, mode, uid, gid for each file and directory."""
        done = self.runner.run(["restic", "ls", *self._reading(), "--json", snapshot], env=self.env())
        entries = [json.loads(line) for line in done.text.splitlines() if line.strip()]
        return [entry for entry in entries if entry.get("struct_type") == "node"]

    def snapshots(self) -> list[Json]:
        """Return all snapshots of the repository, with id, time, tags and paths."""
        found: list[Json] = self.runner.run(["restic", "snapshots", "--json"], env=self.env()).json() or []
        return found

    def version(self) -> str:
        """Return the version of the program."""
        words = self.runner.run(["restic", "version"]).text.split()
        return words[1] if len(words) > 1 else "unknown"

    # -- how -----------------------------------------------------------------------------------------------------------

    def env(self) -> dict[str, str]:
        """Return what restic reads from its environment."""
        return {"RESTIC_REPOSITORY": str(self.path), "RESTIC_PASSWORD": self._password, "RESTIC_PROGRESS_FPS": "0.01"}

    def _marks(self) -> list[str]:
        marks = ["--host", self._machine, "--tag", f"job={self._job}", "--tag", f"set={self._set}"]
        return [*marks, "--no-cache"]

    @staticmethod
    def _reading() -> list[str]:
        # Never from the cache: what is read has to be what the target holds.
        return ["--no-cache"]

    @staticmethod
    def _saved(done: Completed, *, size: int | None = None, sha256: str = "") -> Saved:
        summary: Json = {}
        for line in done.text.splitlines():
            if line.startswith("{") and '"summary"' in line:
                summary = json.loads(line)
        if not summary.get("snapshot_id"):
            raise BackupError(f"restic did not say which snapshot it made: {_words(done)}")
        total = int(summary.get("total_bytes_processed", 0)) if size is None else size
        return Saved(str(summary["snapshot_id"]), total, int(summary.get("data_added", 0)), sha256)


def _words(done: Completed) -> str:
    from pantheon_backup.process import last_words

    return last_words(done.err or done.text)


#: A way to make the wrapper for a job; the frame has one, tests another.
Maker = Callable[[str, str], Restic]
