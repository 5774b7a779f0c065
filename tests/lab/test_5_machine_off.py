# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is off does not stop the others; when it is back, a run brings it in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import PREFIX, Lab, docker


def test_a_machine_that_is_off_misses_a_change_and_gets_it_when_it_is_back(
    lab: Lab, changed_inventory: Callable[[str, dict[str, str]], Path]
) -> None:
    absent = "nyx"
    inventory = changed_inventory("ollama", {"PANTHEON_LAB_TEST": "machine-off"})
    wanted = set(lab.containers())
    try:
        docker("stop", PREFIX + absent)
        # Without the verdict: that has to say that the platform is not whole.
        without = lab.play("--skip-tags", "verify", inventory=inventory)
        assert set(without.troubled()) == {absent}, without.problems
        assert without.stats[absent]["unreachable"] == 1
        assert {name.split("/")[0] for name in without.effects()} == {"orpheus", "kratos", "hades"}

        docker("start", PREFIX + absent)
        lab.wait(lambda: lab.booted(absent), 90, f"{absent} did not boot")
        again = lab.play("--skip-tags", "verify", inventory=inventory)
        assert again.status == 0, again.problems
        assert set(again.changed()) == {absent}, again.changed_tasks()
        assert set(again.effects()) == {f"{absent}/ollama"}
        lab.recovers()
    finally:
        docker("start", PREFIX + absent)
        lab.wait(lambda: lab.booted(absent), 90, f"{absent} did not boot")
        back = lab.play("--skip-tags", "verify")
    assert back.status == 0, back.problems
    lab.recovers()
    assert set(lab.containers()) == wanted


def test_the_first_manager_may_be_off(lab: Lab) -> None:
    """The overlay has three managers; a run has to use one that lives."""
    absent = "erebus"
    wanted = set(lab.containers())
    try:
        docker("stop", PREFIX + absent)
        without = lab.play("--skip-tags", "verify", "--tags", "base,docker,overlay")
        assert set(without.troubled()) == {absent}, without.problems
        assert without.changed() == {}, without.changed_tasks()
    finally:
        docker("start", PREFIX + absent)
        lab.wait(lambda: lab.booted(absent), 90, f"{absent} did not boot")
    # That services come back without a run is shown by test_6_reboot.py, for every machine.
    back = lab.play("--skip-tags", "verify")
    assert back.status == 0, back.problems
    assert {name.split("/")[0] for name in back.effects()} <= {absent}, back.changed_tasks()
    lab.wait(lambda: lab.settled(wanted), 240, lambda: f"not every service is healthy: {lab.unsettled(wanted)}")
    lab.assert_no_address_twice()
    lab.recovers()
    again = lab.play()
    assert again.status == 0, again.problems
    assert again.changed() == {}, again.changed_tasks()
