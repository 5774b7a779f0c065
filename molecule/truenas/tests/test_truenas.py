# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the NAS holds after the role: the state of the simulator, as its control interface shows it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

testinfra_hosts = ["local://"]

SCENARIO = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    with urllib.request.urlopen("http://127.0.0.1:18601/state", timeout=10) as answer:
        loaded: dict[str, Any] = json.load(answer)
    return loaded


def shares(state: dict[str, Any], path: str) -> dict[bool, list[str]]:
    return {share["ro"]: share["networks"] for share in state["shares"] if share["path"] == path}


def test_the_datasets_are_there_and_marked(state: dict[str, Any]) -> None:
    for name in ("tank/models", "tank/shared"):
        assert state["datasets"][name]["user_properties"]["ai.lab:owner"] == "pantheon"


def test_one_machine_writes_the_library_and_the_other_reads(state: dict[str, Any]) -> None:
    assert shares(state, "/mnt/tank/models") == {False: ["10.80.0.11/32"], True: ["10.80.0.18/32"]}


def test_all_machines_write_what_is_shared(state: dict[str, Any]) -> None:
    assert shares(state, "/mnt/tank/shared") == {False: ["10.80.0.11/32", "10.80.0.18/32"]}


def test_the_service_runs_and_starts_at_boot(state: dict[str, Any]) -> None:
    assert state["services"]["nfs"]["enable"] is True
    assert state["services"]["nfs"]["running"] is True


def test_snapshots_are_planned(state: dict[str, Any]) -> None:
    (task,) = state["snapshot_tasks"]
    assert (task["dataset"], task["lifetime_value"], task["schedule"]["hour"]) == ("tank/shared", 2, "3")


def test_folders_have_the_rights_that_were_asked_for() -> None:
    folder = SCENARIO / ".state/data/mnt/tank/shared"
    assert folder.stat().st_mode & 0o7777 == 0o777
