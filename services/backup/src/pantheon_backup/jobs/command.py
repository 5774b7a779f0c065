# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that give and take their data as a stream: ``dump`` and ``load``, with ``count`` and ``drill`` to compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pantheon_backup import exchange
from pantheon_backup.model import OK, BackupError, Comparison, Context, Part, Verdict, exec_command
from pantheon_backup.process import Completed
from pantheon_backup.restic import Saved
from pantheon_backup.scratch import SERVICE, Scratch, is_running, stopped_for_backup, volumes_of

#: The one file in a snapshot.
STREAM = "stream"
#: How often the dump is made again because the counts before and after it differ.
TRIES = 3


class Command:
    """The job kind ``command``; its options are dump, load, count, drill and offline."""

    def backup(self, context: Context) -> Part:
        """Keep what ``dump`` writes, with the counts of just before and just after."""
        if not is_running(context):
            raise BackupError(f"{context.job.container} does not run. Deploy {context.job.name} with site.yml first.")
        offline = bool(context.job.options.get("offline"))
        for left in reversed(range(1 if offline else TRIES)):
            before = self._count(context)
            if offline:
                saved = self._dump_offline(context)
            else:
                saved = context.restic.save(exec_command(context.job.container, _argv(context, "dump")), STREAM)
            after = self._count(context)
            if before == after or not left:
                break
            context.restic.forget([saved.snapshot])
        return Part(
            status=OK,
            snapshot=saved.snapshot,
            bytes=saved.bytes,
            sha256={STREAM: saved.sha256},
            versions=context.versions(),
            counts=before,
            details={} if before == after else {"after": after},
        )

    def _dump_offline(self, context: Context) -> Saved:
        """Dump with a container of the same image on the service's volumes, while the service is stopped."""
        with stopped_for_backup(context), Scratch(context, purpose="dump", volumes=SERVICE) as scratch:
            return context.restic.save(scratch.command(_argv(context, "dump"), stdin=False), STREAM)

    def drill(self, context: Context, part: Part) -> Verdict:
        """Load the stream into new volumes, count there, and compare."""
        with Scratch(context) as scratch:
            return self._load_and_compare(context, part, scratch)

    def restore(self, context: Context, part: Part) -> None:
        """Load the stream into new volumes; if that is what was promised, they take the place of the service's."""
        with Scratch(context, purpose="restore") as scratch:
            verdict = self._load_and_compare(context, part, scratch)
            if not verdict.ok:
                raise BackupError(f"The backup is not what it promises, so nothing was touched: {verdict.reason}")
            scratch.remove()
            pairs = [
                (scratch.volume(name), place)
                for name, place in volumes_of(context.runner, context.job).items()
                if any(scratch.volume(name).iterdir())
            ]
            if not pairs:
                raise BackupError(f"Loading left nothing in the volumes of {context.job.name}; nothing was touched.")
            with exchange.stopped(context):
                exchange.replace(context, pairs)

    def _load_and_compare(self, context: Context, part: Part, scratch: Scratch) -> Verdict:
        loading = scratch.command(_argv(context, "load"))
        try:
            context.restic.load(part.snapshot, STREAM, loading, sha256=part.sha256.get(STREAM, ""))
        finally:
            scratch.remove()
        found = counts_of(scratch.run(_argv(context, "drill")))
        return Verdict.of(compare(part.counts, part.details.get("after"), found))

    def _count(self, context: Context) -> dict[str, Any]:
        return counts_of(context.exec_in(context.job.container, _argv(context, "count")))


def _argv(context: Context, name: str) -> Sequence[str]:
    """Return one of the commands of the catalog."""
    argv: Sequence[str] = context.job.options.get(name) or ()
    if not argv:
        raise BackupError(f"{context.job.name}: backup.{name} is missing in the catalog. Give a command for it.")
    return argv


def counts_of(done: Completed) -> dict[str, Any]:
    """Return what a command counted: one JSON object of numbers and strings."""
    counts = done.json()
    if not isinstance(counts, dict) or not counts:
        raise BackupError(f"{done.argv[-1]} has to count something as one JSON object, not {done.text[:100]!r}.")
    return counts


def compare(before: Mapping[str, Any], after: Mapping[str, Any] | None, found: Mapping[str, Any]) -> list[Comparison]:
    """Compare what a copy has with what was counted before and after the backup; a number may lie in between."""
    compared = []
    for what in sorted({*before, *found}):
        first, last, has = before.get(what), (after or before).get(what), found.get(what)
        if first != last and isinstance(first, (int, float)) and isinstance(last, (int, float)):
            compared.append(Comparison(what, min(first, last), has, max(first, last)))
        else:
            # Of a text that changed, only the two that were seen are right.
            compared.append(Comparison(what, last if has == last else first, has))
    return compared
