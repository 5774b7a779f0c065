# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The contents of directories replaced, so that at any moment the old or the new ones are whole, and the old can come back."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from pantheon_backup.model import BackupError, Context
from pantheon_backup.process import Runner
from pantheon_backup.scratch import is_running, start_service, stop_service

#: In a directory whose contents are being replaced: what was there before.
BEFORE = ".pantheon-before-restore"


@contextlib.contextmanager
def stopped(context: Context) -> Iterator[None]:
    """Keep the service stopped in the block; if the block fails, it runs as before again."""
    was_running = is_running(context)
    stop_service(context)
    try:
        yield
    except BaseException:
        if was_running:
            try:
                start_service(context)
            except BackupError as error:
                context.log(f"{context.job.name} does not come back: {error}")
        raise


def replace(context: Context, pairs: Sequence[tuple[Path, Path]]) -> None:
    """Replace the contents of directories: pairs of the new (emptied by that) and the one in place; starts the service.

    When anything fails, also the start or the health of the service, the old contents are back in place.
    """
    places = [place for _new, place in pairs]
    for place in places:
        put_back(place)  # of a run that was killed
    try:
        for new, place in pairs:
            _set_aside(place)
            for entry in sorted(os.listdir(new)):
                _move(context.runner, new / entry, place / entry)
        context.log(f"{context.job.name} starts with what was restored.")
        start_service(context)
    except BaseException:
        context.log(f"{context.job.name}: what was there before is put back.")
        with contextlib.suppress(BackupError):
            stop_service(context)
        for place in places:
            put_back(place)
        raise
    for place in places:
        shutil.rmtree(place / BEFORE, ignore_errors=True)


def put_back(place: Path) -> None:
    """Give a directory the contents again that were set aside, if there are any."""
    aside = place / BEFORE
    if not aside.is_dir():
        return
    finished = aside / ".complete"
    if finished.exists():
        for entry in os.listdir(place):
            if entry != BEFORE:
                _delete(place / entry)
        finished.unlink()
    # Without the mark it was not all set aside yet, and nothing new has come in its place.
    for entry in os.listdir(aside):
        os.rename(aside / entry, place / entry)
    aside.rmdir()


def _set_aside(place: Path) -> None:
    aside = place / BEFORE
    aside.mkdir(mode=0o700)
    for entry in os.listdir(place):
        if entry != BEFORE:
            os.rename(place / entry, aside / entry)
    (aside / ".complete").touch()


def _move(runner: Runner, source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        runner.run(["cp", "--archive", "--no-target-directory", "--", str(source), str(target)])


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
