# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed engine leaves behind must not keep the next one from starting."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.driver import engine


def test_a_pid_file_whose_number_went_to_another_process_is_removed(tmp_path: Path) -> None:
    file = tmp_path / "docker.pid"
    file.write_text(f"{os.getpid()}\n")
    assert engine.forget_dead(file, "dockerd") is True
    assert not file.exists()


def test_a_pid_file_of_the_program_itself_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "docker.pid"
    file.write_text(str(os.getpid()))
    assert engine.forget_dead(file, Path("/proc/self/comm").read_text().strip()) is False
    assert file.exists()


@pytest.mark.parametrize("content", [None, "", "no number"])
def test_what_is_no_pid_file_is_left_alone(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "docker.pid"
    if content is not None:
        file.write_text(content)
    assert engine.forget_dead(file, "dockerd") is False
    assert file.exists() is (content is not None)
