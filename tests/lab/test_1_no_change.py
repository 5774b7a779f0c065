# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of a platform that is as it should be changes nothing, and is quick."""

from __future__ import annotations

import json
from pathlib import Path

from .conftest import ROOT, Lab

SECONDS = 30
RESULTS_PER_HOST = 25


def test_the_second_run_changes_nothing_and_is_quick(lab: Lab) -> None:
    before = lab.containers()
    runs = [lab.play(), lab.play()]
    for run in runs:
        assert run.status == 0, run.problems
        assert run.changed() == {}, run.changed_tasks()
        assert set(run.stats) == {*lab.machines, *lab.appliances, "localhost"}
    assert lab.containers() == before, "a run without a change restarted a container"

    results = max(len(rows) for rows in runs[0].results.values())
    seconds = min(run.seconds for run in runs)
    print(
        f"no change, ten machines: {runs[0].seconds:.1f} s, {runs[1].seconds:.1f} s; at most {results} task results per host"
    )
    assert results <= RESULTS_PER_HOST
    assert seconds <= SECONDS


def test_check_mode_of_a_deployed_platform_reports_no_change(lab: Lab) -> None:
    run = lab.play("--check", "--diff")
    assert run.status == 0, run.problems
    assert run.changed() == {}, run.changed_tasks()


def test_one_service_can_be_run_alone(lab: Lab) -> None:
    whole, alone = lab.play("--skip-tags", "verify"), lab.play("--tags", "litellm")
    assert alone.status == 0, alone.problems
    assert alone.changed() == {}
    named = {name for rows in alone.results.values() for _task, result in rows for name in (result.get("stacks") or {})}
    assert named == {"litellm"}
    assert alone.seconds < whole.seconds


def test_the_run_leaves_a_verdict(lab: Lab) -> None:
    verdict = json.loads(Path(ROOT / "artifacts" / "lab" / "verdict.json").read_text())
    assert verdict["ok"] is True


def test_every_container_of_the_platform_is_healthy(lab: Lab) -> None:
    containers = lab.containers()
    assert len(containers) >= 10, sorted(containers)
    assert {
        name: one
        for name, one in containers.items()
        if one.status != "running" or one.health not in ("healthy", "none")
    } == {}
