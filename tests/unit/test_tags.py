# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""--tags of one part of the platform leaves the other parts alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def tasks(*arguments: str) -> list[str]:
    """Return the names of the tasks that site.yml would run."""
    command = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        *("-i", "inventories/homelab", "site.yml", "--list-tasks"),
        *arguments,
    ]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    return [
        line.split("\tTAGS:")[0].strip() for line in listed.splitlines() if "\tTAGS:" in line and "play #" not in line
    ]


@pytest.mark.parametrize(
    ("tag", "there", "not_there"),
    [
        ("opnsense", "Bring the router into its state", "Bring the NAS into its state"),
        ("truenas", "Bring the NAS into its state", "Bring the router into its state"),
        ("storage", "pantheon.ai.storage : Install them", "Bring the NAS into its state"),
        ("litellm", "pantheon.ai.stacks : Reconcile the stacks of the machine", "pantheon.ai.storage : Install them"),
    ],
)
def test_a_tag_names_one_part(tag: str, there: str, not_there: str) -> None:
    found = tasks("--tags", tag)
    assert there in found
    assert not_there not in found
