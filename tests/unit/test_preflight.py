# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The first play, run as a job runner runs it: with ansible-runner, and with its own inventory argument."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ansible_runner = pytest.importorskip("ansible_runner")

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(
    not (ROOT / "site.yml").is_file(), reason="the collection without the project around it"
)


def run(folder: Path, inventory: Path, playbook: str) -> Any:
    """Run a playbook of the checkout from a private data directory, as AWX lays it out."""
    (folder / "project").symlink_to(ROOT)
    environment = {
        "PANTHEON_VAULT_PASSWORD": "only-for-this-test",
        "PATH": f"{ROOT / '.venv/bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
    }
    return ansible_runner.run(
        private_data_dir=str(folder),
        playbook=playbook,
        inventory=str(inventory),
        envvars=environment,
        quiet=True,
        timeout=100,
    )


def texts(result: Any) -> str:
    """Everything that the run said."""
    return str(Path(result.config.artifact_dir, "stdout").read_text())


@pytest.mark.parametrize("playbook", ["site.yml", "playbooks/preflight.yml"])
def test_an_inventory_without_hosts_fails(tmp_path: Path, playbook: str) -> None:
    """ansible-runner always passes <private data>/inventory; an empty one would otherwise succeed with nothing done."""
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text("all: {}\n")
    result = run(tmp_path, inventory, playbook)
    assert result.status == "failed"
    assert result.rc != 0
    assert "no host in the group machines" in " ".join(texts(result).split())


def test_groups_without_hosts_fail(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory"
    inventory.mkdir()
    (inventory / "hosts.yml").write_text(
        "all: {children: {machines: {hosts: {}}, appliances: {hosts: {router: {}}}}}\n"
    )
    assert run(tmp_path, inventory, "playbooks/preflight.yml").rc != 0


@pytest.mark.parametrize("environment", ["lab", "homelab", "single"])
def test_the_inventories_of_the_project_pass(tmp_path: Path, environment: str) -> None:
    """The catalog and each inventory fit together, and the secrets are made, encrypted, without touching a machine."""
    inventory = tmp_path / environment
    shutil.copytree(ROOT / "inventories" / environment, inventory, ignore=shutil.ignore_patterns("secrets.yml"))
    result = run(tmp_path, inventory, "playbooks/preflight.yml")
    assert result.rc == 0, texts(result)
    assert set(result.stats["ok"]) == {"localhost"}
    secrets = inventory / "secrets.yml"
    assert secrets.read_text().startswith("$ANSIBLE_VAULT;")
    assert secrets.stat().st_mode & 0o777 == 0o600
