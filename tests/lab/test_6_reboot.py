# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every machine reboots at once, as after a power cut: the platform comes back without a run."""

from __future__ import annotations

from .conftest import PREFIX, Lab, docker


def test_all_services_are_back_after_a_reboot_of_every_machine(lab: Lab) -> None:
    before = lab.containers()
    boots = {
        machine: docker("inspect", "--format", "{{.State.StartedAt}}", PREFIX + machine) for machine in lab.machines
    }
    for machine in lab.machines:
        lab.on(machine, "systemctl reboot", check=False)

    def rebooted(machine: str) -> bool:
        return docker("inspect", "--format", "{{.State.StartedAt}}", PREFIX + machine) != boots[machine] and lab.booted(
            machine
        )

    lab.wait(lambda: all(rebooted(machine) for machine in lab.machines), 180, "not every machine booted")
    seconds = lab.wait(lambda: lab.settled(set(before)), 420, "not every service came back by itself")
    print(f"all services healthy {seconds:.0f} s after the last machine had booted")
    after = lab.containers()
    assert all(after[name].started != before[name].started for name in before), "something did not reboot"

    print(f"the verdict is good {lab.recovers():.0f} s later")
    run = lab.play("--skip-tags", "verify")
    assert run.status == 0, run.problems
    assert run.changed() == {}, run.changed_tasks()
