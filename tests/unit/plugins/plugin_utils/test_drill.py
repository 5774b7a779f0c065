# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill makes of what its writers saw."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.filter.drill import FilterModule
from ansible_collections.pantheon.ai.plugins.plugin_utils import _drill as drill

FILTERS = FilterModule().filters()


def said(moments: list[float], seconds: float = 20.0, **more: Any) -> dict[str, Any]:
    """A writer that began at 1000 s."""
    acknowledged = [[number, moment] for number, moment in enumerate(moments, 1)]
    return {"acknowledged": acknowledged, "errors": [], "missing": [], "seconds": seconds, "started": 1000.0, **more}


def test_numbers_become_ranges() -> None:
    assert drill.ranges([3, 1, 2, 7, 9, 10]) == "1-3,7,9-10"
    assert drill.ranges([]) == ""


def test_the_gap_is_the_longest_time_without_an_acknowledgement() -> None:
    found = drill.writes(said([0.1, 0.2, 5.0, 8.5, 19.5], errors=[[5.1, "gone"]], missing=[2]), fault=1005.1)
    assert found == {
        "acknowledged": 5,
        "refused": 1,
        "lost": 1,
        "gap_seconds": 11.0,
        "resumed": True,
        "numbers": "1-5",
        "seconds_from_fault": 14.4,
    }


def test_a_writer_that_was_not_served_again_says_so_and_its_gap_lasts_to_the_end() -> None:
    found = drill.writes(said([0.1, 4.0, 5.0]))
    assert not found["resumed"]
    assert found["gap_seconds"] == 15.0
    assert "seconds_from_fault" not in found


def test_a_count_of_missing_keys_is_taken_as_it_is() -> None:
    assert drill.writes(said([0.1, 19.9], missing=3))["lost"] == 3


def test_a_writer_that_wrote_nothing_is_an_error_with_its_reason() -> None:
    with pytest.raises(Exception, match="wrote nothing at all: no route"):
        FILTERS["drill_writes"](json.dumps(said([], errors=[[0.1, "no route"]])))
    with pytest.raises(Exception, match="drill_writes"):
        FILTERS["drill_writes"]("Traceback")


def round_of(gap: float, **more: Any) -> dict[str, Any]:
    """One round that went well."""
    figures = {"acknowledged": 100, "refused": 0, "lost": 0, "gap_seconds": gap, "resumed": True, "numbers": "1-100"}
    return {"machines": ["a"], "postgresql": figures, "redis": None, "problems": [], "standby_seconds": 11.4, **more}


def test_the_summary_has_the_median_and_the_extremes() -> None:
    found = drill.summary([round_of(3.0), round_of(2.0), round_of(9.0)])
    assert found["postgresql"]["gap_median"] == 3.0
    assert (found["postgresql"]["gap_smallest"], found["postgresql"]["gap_largest"]) == (2.0, 9.0)
    assert found["ok"]
    assert "redis" not in found
    assert found["table"][1].split() == ["1", "a", "3.00", "s", "0", "of", "100", "-", "-", "11", "s", "-", "-"]


def test_a_lost_row_and_writes_that_did_not_resume_are_problems_but_lost_keys_of_redis_are_not() -> None:
    lost, stuck, redis = round_of(1.0), round_of(1.0), round_of(1.0)
    lost["postgresql"] = {**lost["postgresql"], "lost": 2}
    stuck["postgresql"] = {**stuck["postgresql"], "resumed": False}
    redis["redis"] = {**redis["postgresql"], "lost": 5}
    redis["problems"] = ["a: not every container came back"]
    found = drill.summary([lost, stuck, redis])
    assert not found["ok"]
    assert found["problems"] == [
        "round 1: 2 acknowledged rows of PostgreSQL are gone",
        "round 2: postgresql took no writes again before the writer ended",
        "round 3: a: not every container came back",
    ]
    assert found["redis"]["lost"] == 5


def test_the_master_of_redis_needs_its_replicas() -> None:
    master = "# Replication\r\nrole:master\r\nconnected_slaves:1\r\nslave0:ip=192.0.2.2,port=6379,state=online,offset=5,lag=0\r\n"
    replica = "role:slave\r\nmaster_link_status:up\r\n"
    results = [{"item": "a", "stdout": replica}, {"item": "b", "stdout": master}]
    assert FILTERS["drill_replication"](results) == {"master": "b", "replicas": 1, "whole": True}
    results[1]["stdout"] = master.replace("online", "wait_bgsave")
    assert not FILTERS["drill_replication"](results)["whole"]
    assert FILTERS["drill_replication"]([{"item": "a"}, {"item": "b", "stdout": master}])["master"] == "b"
    assert (
        FILTERS["drill_replication"]([{"item": "a", "stdout": master}, {"item": "b", "stdout": master}])["master"] == ""
    )
