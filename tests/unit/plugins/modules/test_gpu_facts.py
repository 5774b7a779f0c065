# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module gpu_facts: what it takes, what it gives, and that it neither hangs nor writes."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args

from ansible_collections.pantheon.ai.plugins.modules import gpu_facts

_spec = importlib.util.spec_from_file_location("gpu_trees", Path(__file__).resolve().parents[2] / "gpu_trees.py")
assert _spec and _spec.loader
trees: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trees)


def call(capsys: pytest.CaptureFixture[str], **arguments: Any) -> dict[str, Any]:
    """Run the module and return what it prints."""
    with patch_module_args(arguments), pytest.raises(SystemExit):
        gpu_facts.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in sorted(root.rglob("*"))}


def test_wrong_parameters_are_named_all_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, root="here", command_path=["bin"], timeout=0)
    assert result["failed"]
    for part in ("timeout is 0.", "root is 'here'.", "command_path has 'bin'.", "absolute path"):
        assert part in result["msg"]


@pytest.mark.parametrize("check_mode", [True, False])
def test_facts_of_a_recorded_machine(check_mode: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = trees.nvidia_runtime().write(tmp_path / "machine")
    before = snapshot(root)
    result = call(capsys, root=str(root), command_path=[str(root / "bin")], _ansible_check_mode=check_mode)
    assert result["changed"] is False
    assert "diff" not in result
    facts = result["ansible_facts"]["pantheon_gpu"]
    assert (facts["state"], facts["vram_mib"]) == ("ready", 24564)
    assert call(capsys, root=str(root), command_path=str(root / "bin"))["ansible_facts"]["pantheon_gpu"] == facts
    assert snapshot(root) == before


def test_hanging_nvidia_smi(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = trees.pci_nvidia().nvidia_module("550.163.01").program("nvidia-smi", "trap '' TERM\nsleep 60\n")
    root = tree.write(tmp_path / "machine")
    started = time.monotonic()
    result = call(capsys, root=str(root), command_path=[str(root / "bin")], timeout=0.5)
    assert time.monotonic() - started < 5
    facts = result["ansible_facts"]["pantheon_gpu"]
    assert facts["state"] == "driver_error"
    assert "gave no answer in time" in facts["fix"]


def test_this_very_machine_can_be_asked(capsys: pytest.CaptureFixture[str]) -> None:
    facts = call(capsys)["ansible_facts"]["pantheon_gpu"]
    assert facts["backend"] in ("cuda", "rocm", "vulkan", "cpu")
    assert bool(facts["fix"]) or facts["state"] in ("ready", "none")


def test_documentation_says_what_the_module_takes() -> None:
    options = yaml.safe_load(gpu_facts.DOCUMENTATION)["options"]
    documented = {
        name: {key: option[key] for key in ("type", "elements", "default") if key in option}
        for name, option in options.items()
    }
    assert documented == gpu_facts.ARGUMENTS


def test_every_result_is_documented(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    returned = yaml.safe_load(gpu_facts.RETURN)["ansible_facts"]["contains"]["pantheon_gpu"]
    root = trees.mixed().write(tmp_path / "machine")
    facts = call(capsys, root=str(root), command_path=[str(root / "bin")])["ansible_facts"]["pantheon_gpu"]
    assert set(facts) == set(returned["contains"]) == set(returned["sample"])
    assert set(facts["devices"][0]) == set(returned["sample"]["devices"][0])
    assert set(facts["container"]) == set(returned["sample"]["container"])


@pytest.mark.parametrize(
    ("machine", "arch", "memory"),
    [("orpheus", "sm_89", 24564), ("kratos", "sm_86", 24576), ("nyx", "sm_86", 49140), ("hades", "gfx1100", 24560)],
)
def test_machines_of_the_lab(
    machine: str, arch: str, memory: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trees.replay.main([machine, str(tmp_path / "gpu")]) == 0
    assert "command_path" in capsys.readouterr().out
    facts = call(capsys, root=str(tmp_path / "gpu"), command_path=[str(tmp_path / "gpu/bin")])["ansible_facts"]
    found = facts["pantheon_gpu"]
    assert (found["state"], found["arch"], found["vram_mib"], found["fix"]) == ("ready", arch, memory, "")
    assert len(list((tmp_path / "gpu").rglob("*"))) < 120, "small enough to be copied to a machine"
