# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that are run: with their output, or with a stream from one into another.

Secrets go through the environment or the standard input of a program, never through its arguments, which every process of
the machine can read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

from pantheon_backup.model import BackupError, Skipped

#: What a program exits with that has nothing to do here (EX_TEMPFAIL), for example on a replica.
SKIP = 75
BLOCK = 1 << 20


@dataclass(frozen=True)
class Completed:
    """A program that has ended."""

    argv: tuple[str, ...]
    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        """Return the output as text, without the line break at its end."""
        return self.out.decode("utf-8", "replace").rstrip("\n")

    def json(self) -> Any:
        """Return the output, which has to be JSON."""
        try:
            return json.loads(self.out)
        except ValueError:
            raise BackupError(f"{name_of(self.argv)} did not answer with JSON but with {self.text[:200]!r}.") from None


@dataclass(frozen=True)
class Stream:
    """What went from one program into another."""

    bytes: int
    sha256: str
    sink: Completed


def name_of(argv: Sequence[str]) -> str:
    """Return how a program is called in a message: its first words."""
    words = [word for word in argv if not word.startswith("-")]
    return " ".join(words[:4])


def last_words(text: str, limit: int = 600) -> str:
    """Return the end of what a program complained about, on one line."""
    return " | ".join(line.strip() for line in text.strip().splitlines()[-4:])[-limit:] or "it says nothing"


class Runner:
    """Runs programs on this machine. Tests give a runner of their own with the same methods."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | None = None,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
        check: bool = True,
    ) -> Completed:
        """Run a program to its end. With *check*, a status other than 0 is a :class:`BackupError`, 75 is :class:`Skipped`.

        *env* is added to the environment. A program that is not there, or takes longer than *timeout*, is always an error.
        """
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                env=environment(env),
                timeout=timeout,
                check=False,
            )
        except FileNotFoundError:
            raise BackupError(f"The program {argv[0]} is not installed.") from None
        except subprocess.TimeoutExpired:
            raise BackupError(f"{name_of(argv)} did not end within {timeout:.0f} seconds.") from None
        completed = Completed(tuple(argv), done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
        if check:
            demand(completed)
        return completed

    def pipe(
        self,
        source: Sequence[str],
        sink: Sequence[str],
        *,
        source_env: Mapping[str, str] | None = None,
        sink_env: Mapping[str, str] | None = None,
    ) -> Stream:
        """Run two programs, the output of *source* being the input of *sink*, and return what went through.

        When the source fails, the sink never sees the end of its input but is ended first: half a stream must not look like
        a whole one. A source that exits with 75 is :class:`Skipped`, everything else than 0 a :class:`BackupError`.
        """
        with contextlib.ExitStack() as stack:
            reading = stack.enter_context(_started(source, environment(source_env), stdin=False))
            writing = stack.enter_context(_started(sink, environment(sink_env), stdin=True))
            assert reading.stdout and reading.stderr and writing.stdin and writing.stdout and writing.stderr
            source_err, sink_out, sink_err = _Drain(reading.stderr), _Drain(writing.stdout), _Drain(writing.stderr)
            digest, size, beginning = hashlib.sha256(), 0, b""
            broken = False
            while block := reading.stdout.read1(BLOCK):  # type: ignore[attr-defined]
                digest.update(block)
                size += len(block)
                if len(beginning) < 4096:
                    beginning += block[:4096]
                try:
                    writing.stdin.write(block)
                except BrokenPipeError:
                    broken = True
                    break
            if broken:
                reading.terminate()
            status = reading.wait()
            # Only what skips has its words there; the beginning of real data would be nothing to show.
            taken = Completed(tuple(source), status, beginning if status == SKIP else b"", source_err.text())
            if not broken:
                demand(taken)  # leaving the block ends the sink before its input is closed
                with contextlib.suppress(BrokenPipeError):
                    writing.stdin.close()
            status = writing.wait()
            done = Completed(tuple(sink), status, sink_out.data(), sink_err.text())
            demand(done)
            if broken:
                raise BackupError(f"{name_of(sink)} ended before it had read everything.")
            return Stream(bytes=size, sha256=digest.hexdigest(), sink=done)


def environment(more: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of a program: ours, in a language that can be read by programs, and *more*."""
    return {**os.environ, "LC_ALL": "C.UTF-8", **(more or {})}


def demand(completed: Completed) -> None:
    """Raise unless the program ended well."""
    if completed.status == SKIP:
        raise Skipped(reason_of(completed))
    if completed.status:
        words = last_words(completed.err or completed.text)
        raise BackupError(f"{name_of(completed.argv)} failed with status {completed.status}: {words}")


def reason_of(completed: Completed) -> str:
    """Return why a program skipped: {"skip": "..."} on its output or its error output, or its last words."""
    for text in (completed.text, completed.err):
        for line in reversed(text.strip().splitlines()):
            with contextlib.suppress(ValueError):
                said = json.loads(line)
                if isinstance(said, dict) and said.get("skip"):
                    return str(said["skip"])
    return last_words(completed.err or completed.text)


@contextlib.contextmanager
def _started(argv: Sequence[str], env: Mapping[str, str], *, stdin: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program and see to it that it has ended, whatever happens."""
    try:
        process = subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
        )
    except FileNotFoundError:
        raise BackupError(f"The program {argv[0]} is not installed.") from None
    try:
        yield process
    finally:
        if process.poll() is None:
            # First the order to end, as from a keyboard: older restic takes back its lock only then; docker tells the container.
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()


class _Drain:
    """Reads a pipe to its end beside everything else, so that no program waits for somebody to read its complaints."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._parts: list[bytes] = []
        self._pipe = pipe
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while block := self._pipe.read1(BLOCK):  # type: ignore[attr-defined]
                self._parts.append(block)

    def data(self) -> bytes:
        self._thread.join()
        return b"".join(self._parts)

    def text(self) -> str:
        return self.data().decode("utf-8", "replace")
