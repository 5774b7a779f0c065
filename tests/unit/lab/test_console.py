# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io

import pytest

from lab.driver.console import Progress, clock, prefix, shorten, step_line, tidy


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.9, "0:59"), (75.2, "1:15"), (3601, "60:01")])
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_prefix_aligns_the_counters() -> None:
    assert [prefix(3, 12), prefix(12, 12), prefix(1, 7)] == ["[ 3/12]", "[12/12]", "[1/7]"]


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("\x1b[0;32mok: [nyx]\x1b[0m\r\n", "ok: [nyx]"),
        ("TASK [Install | Docker] ****************************", "TASK [Install | Docker]"),
        ("  Get:1 http://x\t", "Get:1 http://x"),
        ("\x07\x00", ""),
    ],
)
def test_tidy(raw: str, text: str) -> None:
    assert tidy(raw) == text


@pytest.mark.parametrize(("width", "text"), [(10, "0123456789"), (5, "0123…"), (1, "…"), (0, ""), (-3, "")])
def test_shorten(width: int, text: str) -> None:
    assert shorten("0123456789", width) == text


@pytest.mark.parametrize("width", [10, 30, 60, 200])
def test_a_step_line_is_never_wider_than_the_terminal(width: int) -> None:
    line = step_line(3, 12, "Build the service images", 75, "litellm: " + "x" * 300, width)
    assert len(line) <= width
    assert line.startswith("[ 3/12]")


def test_a_step_line_holds_counter_title_time_and_detail() -> None:
    assert step_line(3, 12, "Build", 75, "litellm", 80) == "[ 3/12] Build  1:15  litellm"


def test_plain_output_has_a_line_at_the_start_a_heartbeat_and_a_line_at_the_end() -> None:
    now, stream = Clock(), io.StringIO()
    progress = Progress(2, stream, now)
    with progress.step("Build"):
        now.seconds += 5
        progress.tick("early line")
        now.seconds += 20
        progress.tick("late line")
        progress.tick("too soon after")
        progress.say("built 3")
        now.seconds += 50
    assert stream.getvalue().splitlines() == [
        "[1/2] Build ...",
        "        0:25  late line",
        "[1/2] Build  1:15  done  built 3",
    ]
    assert [(timing.title, timing.seconds) for timing in progress.timings] == [("Build", 75.0)]


def test_a_failed_step_says_so_and_lets_the_error_through() -> None:
    now, stream = Clock(), io.StringIO()
    progress = Progress(1, stream, now)
    with pytest.raises(ValueError, match="broken"), progress.step("Build"):
        progress.tick("some line")
        raise ValueError("broken")
    assert stream.getvalue().splitlines()[-1] == "[1/1] Build  0:00  FAILED"


def test_a_terminal_line_redraws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    now, stream = Clock(), Terminal()
    progress = Progress(1, stream, now)
    with progress.step("Build"):
        now.seconds += 1
        progress.tick("y" * 100)
    drawn = stream.getvalue().split("\r\x1b[K")
    assert drawn[1] == "[1/1] Build  0:00"
    assert drawn[2].startswith("[1/1] Build  0:01  yyy")
    assert len(drawn[2]) < 60
    assert drawn[-1].endswith("\n")
