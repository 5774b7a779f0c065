# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions as a playbook sees them: what is shown, what is written, what is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
PLAY = """
- hosts: localhost
  gather_facts: false
  tasks:
    - name: Make the secrets complete
      pantheon.ai.secrets:
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ignore = shutil.ignore_patterns("secrets.yml", ".secrets.yml.*")
    shutil.copytree(ROOT / "inventories" / "lab", tmp_path / "inventories" / "lab", ignore=ignore)
    (tmp_path / "play.yml").write_text(PLAY)
    return tmp_path


def play(project: Path, password: str, *arguments: str) -> tuple[int, str]:
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "PANTHEON_VAULT_PASSWORD": password,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        ["ansible-playbook", "-i", str(project / "inventories" / "lab"), "play.yml", *arguments],
        check=False,
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_secrets_are_made_once_and_only_names_are_shown(project: Path) -> None:
    from ansible.parsing.vault import VaultLib, VaultSecret

    file = project / "inventories" / "lab" / "secrets.yml"
    status, text = play(project, "pass-1", "--check", "--diff")
    assert status == 0, text
    assert "+redis_replication_password: (new)" in text
    assert not file.exists()
    assert not (project / "artifacts").exists()

    status, text = play(project, "pass-1", "--diff", "-vvv")
    assert status == 0, text
    assert "changed=1" in text
    plain = VaultLib([("default", VaultSecret(b"pass-1"))]).decrypt(file.read_bytes()).decode()
    values = [line.split(": ", 1)[1] for line in plain.splitlines() if ": " in line and "_key: " in line]
    assert values
    assert not [value for value in values if len(value) > 12 and value in text]
    authority = project / "artifacts" / "lab" / "ca.crt"
    assert authority.read_text().startswith("-----BEGIN CERTIFICATE-----")
    assert authority.stat().st_mode & 0o777 == 0o644

    status, text = play(project, "pass-1")
    assert (status, "changed=0" in text) == (0, True), text

    status, text = play(project, "pass-2")
    assert status != 0
    assert "cannot be decrypted with the vault password" in " ".join(text.split())
    assert "Traceback" not in text


def test_a_verdict_about_nothing_is_not_ok(project: Path) -> None:
    """Machines of documentation addresses that nobody answers at: every check fails or is skipped, none is ok."""
    hosts = project / "inventories" / "lab" / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("10.77.0.", "127.255.255."))
    assert play(project, "pass-1")[0] == 0
    (project / "play.yml").write_text(
        PLAY.replace("Make the secrets complete", "Verify").replace(
            "pantheon.ai.secrets:", "pantheon.ai.verify: {settle: 0, connect_timeout: 0.2, port_timeout: 0.2}"
        )
    )
    status, text = play(project, "pass-1")
    assert status != 0
    verdict = json.loads((project / "artifacts" / "lab" / "verdict.json").read_text())
    assert verdict["ok"] is False
    assert verdict["environment"] == "lab"
    edge = [check for check in verdict["checks"] if check["name"].startswith("edge ")]
    assert [check["ok"] for check in edge] == [False]
    assert not [check for check in verdict["checks"] if check["ok"] and not check["name"].startswith("machine ")]
    assert "Verdict for lab: NOT OK" in text
    assert "Traceback" not in text

    assert play(project, "pass-1", "--check")[0] == 0, "in check mode there is nothing to verify yet"
