# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the person sees: step k of n, what it does, how long it takes."""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

HEARTBEAT_SECONDS = 20.0
"""How often a step that takes long says so where the output is not a terminal."""
REDRAW_SECONDS = 0.2
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds.

    >>> clock(75.2)
    '1:15'
    """
    whole = int(seconds)
    return f"{whole // 60}:{whole % 60:02d}"


def tidy(line: str) -> str:
    """Return one line of a program's output without control characters, decoration and surrounding space."""
    text = _CONTROL.sub("", line).strip()
    return re.sub(r"\*{3,}$", "", text).strip()


def shorten(text: str, width: int) -> str:
    """Cut the text to the width, with an ellipsis where something is missing."""
    if width <= 0:
        return ""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def step_line(index: int, total: int, title: str, seconds: float, detail: str, width: int) -> str:
    """Return the line of a running step, never wider than the terminal."""
    head = f"{prefix(index, total)} {title}  {clock(seconds)}"
    room = width - len(head) - 2
    return shorten(f"{head}  {shorten(detail, room)}".rstrip(), width)


def prefix(index: int, total: int) -> str:
    """Return the step counter.

    >>> prefix(3, 12)
    '[ 3/12]'
    """
    return f"[{index:>{len(str(total))}}/{total}]"


@dataclass
class Timing:
    """How long one step took, and what it says about itself."""

    title: str
    seconds: float
    detail: str


@dataclass
class Progress:
    """Prints the steps: a line that redraws itself on a terminal, plain lines elsewhere."""

    total: int
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    now: Callable[[], float] = time.monotonic
    timings: list[Timing] = field(default_factory=list)
    _index: int = 0
    _title: str = ""
    _began: float = 0.0
    _shown: float = 0.0
    _detail: str = ""

    def __post_init__(self) -> None:
        self.live = self.stream.isatty()
        self.started = self.now()

    @property
    def title(self) -> str:
        """The step that runs now, or ran last."""
        return self._title

    @contextmanager
    def step(self, title: str) -> Iterator[Progress]:
        """Run one step; an exception passes through after the step is marked as failed."""
        self._index += 1
        self._title, self._detail = title, ""
        self._began = self._shown = self.now()
        if self.live:
            self._redraw()
        else:
            self._write(f"{prefix(self._index, self.total)} {title} ...")
        try:
            yield self
        except BaseException:
            self._end("FAILED")
            raise
        self._end("done")

    def tick(self, line: str = "") -> None:
        """Show that the step is alive; line is the newest output of what it runs."""
        line = tidy(line)
        if line:
            self._detail = line
        pause = REDRAW_SECONDS if self.live else HEARTBEAT_SECONDS
        if self.now() - self._shown < pause:
            return
        self._shown = self.now()
        if self.live:
            self._redraw()
        else:
            self._write(f"        {clock(self.now() - self._began)}  {shorten(self._detail, 110)}".rstrip())

    def say(self, detail: str) -> None:
        """Set what the finished step says about itself."""
        self._detail = detail

    def note(self, text: str) -> None:
        """Print a line of its own, in the middle of a step."""
        if self.live:
            self.stream.write("\r\x1b[K")
        self._write(f"        {text}")

    def _redraw(self) -> None:
        width = shutil.get_terminal_size((100, 24)).columns
        line = step_line(self._index, self.total, self._title, self.now() - self._began, self._detail, width - 1)
        self.stream.write("\r\x1b[K" + line)
        self.stream.flush()

    def _end(self, word: str) -> None:
        seconds = self.now() - self._began
        detail = "" if word != "done" else self._detail
        self.timings.append(Timing(self._title, round(seconds, 1), detail or word))
        if self.live:
            self.stream.write("\r\x1b[K")
        tail = f"  {detail}" if detail else ""
        self._write(f"{prefix(self._index, self.total)} {self._title}  {clock(seconds)}  {word}{tail}")

    def _write(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()
