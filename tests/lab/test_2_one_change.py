# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One variable of one service: the announcement is exact, and nothing else restarts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .conftest import Lab


def test_check_mode_names_exactly_what_the_run_then_changes(
    lab: Lab, changed_inventory: Callable[[str, dict[str, str]], Path]
) -> None:
    inventory = changed_inventory("litellm", {"PANTHEON_LAB_TEST": "one-change"})
    before = lab.containers()

    announced = lab.play("--check", "--diff", inventory=inventory)
    assert not announced.troubled(), announced.problems
    assert lab.containers() == before, "check mode restarted a container"

    try:
        real = lab.play("--diff", inventory=inventory)
        assert real.status == 0, real.problems
        assert announced.effects(), "check mode announced nothing"
        assert real.effects() == announced.effects()
        assert real.changed() == announced.changed()

        # The service on its two machines, and nothing else.
        touched = {name.split("/")[1] for name in real.effects()}
        assert touched == {"litellm"}
        assert {name.split("/")[0] for name in real.effects()} == {"orpheus", "kratos"}
        for effect in real.effects().values():
            assert effect["services"] == {"litellm": "recreated"}
            assert ".env" in effect["files"] or "compose.yml" in effect["files"]

        after = lab.containers()
        restarted = {name for name in after if name not in before or after[name].started != before[name].started}
        assert {name.split("/")[0] for name in restarted} == {"orpheus", "kratos"}
        assert all("litellm" in name for name in restarted), restarted
        assert set(after) == set(before)
    finally:
        back = lab.play()
    assert back.status == 0, back.problems
    assert {name.split("/")[1] for name in back.effects()} == {"litellm"}
    assert lab.play("--skip-tags", "verify").changed() == {}
