# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running other programs: everything they say goes to a log, the newest line to the person."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_POLL_SECONDS = 0.1
_running: set[subprocess.Popen[bytes]] = set()


class LabError(Exception):
    """Something the lab cannot go on after: what happened, and what the person can do."""

    def __init__(self, message: str, remedy: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.log = log


class CommandError(LabError):
    """A program ended with an error."""


def _with_parent(command: Sequence[str]) -> list[str]:
    # When the driver is killed, what it started must not go on behind the back of the next run.
    program = shutil.which("setpriv")
    return [program, "--pdeathsig", "TERM", "--", *command] if program else list(command)


def run(
    command: Sequence[str],
    log: Path,
    tick: Callable[[str], None] = lambda line: None,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: Path | None = None,
    timeout: float = 3600.0,
    remedy: str = "",
) -> None:
    """Run a program to its end, or raise CommandError.

    The output goes into the log file itself, not through a pipe: a process that the program leaves behind (an ssh
    master) could keep a pipe open for minutes.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as sink, log.open("rb") as reader, open(stdin or os.devnull, "rb") as source:
        sink.write(f"\n$ {shlex.join(command)}\n".encode())
        sink.flush()
        reader.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            _with_parent(command),
            stdin=source,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        _running.add(process)
        try:
            code = _wait(process, reader.read, tick, time.monotonic() + timeout)
        except BaseException:
            stop(process)
            raise
        finally:
            _running.discard(process)
    if code is None:
        raise CommandError(f"{command[0]} did not end within {timeout:.0f} seconds", remedy, log)
    if code != 0:
        raise CommandError(f"{Path(command[0]).name} ended with code {code}", remedy, log)


def _wait(
    process: subprocess.Popen[bytes], read: Callable[[], bytes], tick: Callable[[str], None], deadline: float
) -> int | None:
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_POLL_SECONDS)
        lines = [line for line in read().decode(errors="replace").splitlines() if line.strip()]
        tick(lines[-1] if lines else "")
        if time.monotonic() > deadline:
            stop(process)
            return None


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program and what it started: first politely, then not."""
    for number, patience in ((signal.SIGTERM, 8.0), (signal.SIGKILL, 5.0)):
        if process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)


def stop_all() -> None:
    """End everything that runs in any thread, so that an interrupted step does not wait for its siblings."""
    for process in list(_running):
        stop(process)


def capture(
    command: Sequence[str], *, timeout: float = 60.0, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short program and return its result; one that is missing or hangs counts as failed."""
    try:
        return subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "", f"{command[0]} did not answer within {timeout:.0f} s")


def output(command: Sequence[str], *, timeout: float = 60.0, stdin: str | None = None, remedy: str = "") -> str:
    """Run a short program and return what it printed, or raise CommandError with its complaint."""
    result = capture(command, timeout=timeout, stdin=stdin)
    if result.returncode != 0:
        complaint = (result.stderr or result.stdout).strip() or f"code {result.returncode}"
        raise CommandError(f"{shlex.join(command[:4])} failed: {complaint}", remedy)
    return result.stdout


def write_atomically(path: Path, content: str, mode: int = 0o644) -> bool:
    """Write a file so that a reader sees the old or the new one, never a half; return whether it changed."""
    if path.is_file() and path.read_text(encoding="utf-8") == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            os.fchmod(stream.fileno(), mode)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return True


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log that say something."""
    if not log.is_file():
        return []
    with log.open("rb") as stream:
        stream.seek(0, os.SEEK_END)
        stream.seek(max(0, stream.tell() - 512 * 1024))
        text = stream.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-count:]
