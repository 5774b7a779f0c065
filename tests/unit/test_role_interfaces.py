# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every role promises: documented settings with equal defaults, its own names, a README, and no name of a machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())


def machine_names() -> set[str]:
    """Hosts of the inventories that ship with the project."""
    names: set[str] = set()

    def walk(group: dict[str, Any]) -> None:
        names.update(group.get("hosts") or {})
        for child in (group.get("children") or {}).values():
            walk(child or {})

    for inventory in ("homelab", "lab"):
        walk(yaml.safe_load((ROOT / "inventories" / inventory / "hosts.yml").read_text())["all"])
    return names


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.is_file() else None


def test_there_are_roles() -> None:
    assert {"base", "docker", "overlay", "stacks", "verify"} <= {role.name for role in ROLES}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_setting_is_documented_with_the_default_it_has(role: Path) -> None:
    defaults = load(role / "defaults/main.yml") or {}
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    required = {name for name, option in options.items() if option.get("required")}
    assert sorted(set(defaults) | required) == sorted(options)
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == {name: defaults.get(name) for name in documented}


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_every_setting_has_a_description_and_the_name_of_the_role(role: Path) -> None:
    specs = load(role / "meta/argument_specs.yml")["argument_specs"]
    for entry, spec in specs.items():
        assert spec.get("short_description"), f"{role.name}: entry {entry} has no short_description"
        for name, option in spec.get("options", {}).items():
            assert name.startswith(f"{role.name}_"), f"{name} does not start with {role.name}_"
            assert option.get("description"), f"{name} has no description"


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_a_role_has_a_readme_and_a_way_back(role: Path) -> None:
    assert len((role / "README.md").read_text().split()) > 30, f"roles/{role.name}/README.md says too little"
    tasks = load(role / "tasks/main.yml")
    assert tasks
    # A role that leaves nothing on a machine has nothing to remove.
    if f"{role.name}_state" in (load(role / "defaults/main.yml") or {}):
        assert "absent" in load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"][
            f"{role.name}_state"
        ].get("choices", [])


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_no_role_names_a_machine_or_reads_the_groups(role: Path) -> None:
    pattern = re.compile(r"\b(" + "|".join(sorted(machine_names())) + r")\b")
    for path in sorted(role.rglob("*.yml")) + sorted(role.rglob("*.j2")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split(" #", 1)[0]
            if code.lstrip().startswith("#"):
                continue
            where = f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
            # Documentation may give an example; tasks, defaults and templates may not.
            if path.name != "argument_specs.yml":
                assert not pattern.search(code), where
            assert not re.search(r"\bgroups\[|\bgroup_names\b|\bgroups\.", code), where
