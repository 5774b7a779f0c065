# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict has to notice a broken platform: one that is always green says nothing."""

from __future__ import annotations

import json

import pytest

from .conftest import ROOT, Lab

VERIFY = "playbooks/verify.yml"


@pytest.mark.parametrize(
    ("machine", "service"), [("hephaestus", "edge-proxy"), ("hades", "ollama"), ("orpheus", "open-webui")]
)
def test_a_stopped_service_is_noticed(lab: Lab, machine: str, service: str) -> None:
    container = f"docker ps -aq --filter label=ai.pantheon.service={service}"
    assert lab.on(machine, container).split(), f"{service} has no container on {machine}"
    lab.on(machine, f"docker stop -t 2 $({container})")
    try:
        broken = lab.play(playbook=VERIFY)
        verdict = json.loads((ROOT / "artifacts/lab/verdict.json").read_text())
        assert broken.status != 0
        assert verdict["ok"] is False
    finally:
        lab.on(machine, f"docker start $({container})")
        lab.wait(lambda: lab.settled(set(lab.containers())), 180, f"{service} did not become healthy again")
    whole = lab.play(playbook=VERIFY)
    assert whole.status == 0, whole.problems
    assert json.loads((ROOT / "artifacts/lab/verdict.json").read_text())["ok"] is True
