# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted file that the role secrets leaves, and that a whole run of Ansible shows nothing of it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography import x509
from testinfra.host import Host

testinfra_hosts = ["local://"]

SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[1]
PASSWORD = "only-for-this-scenario"
EXPECTED = {
    "postgresql_superuser_password",
    "open_webui_database_password",
    "redis_password",
    "litellm_master_key",
    "edge_ca_key",
    "edge_ca_certificate",
    "edge_certificate_key",
    "edge_certificate_certificate",
}


def decrypt(file: Path) -> dict[str, str]:
    vault = VaultLib([("default", VaultSecret(PASSWORD.encode()))])
    values: dict[str, str] = yaml.safe_load(vault.decrypt(file.read_text(encoding="utf-8")))
    return values


def run(inventory: Path, *arguments: str, password: str = PASSWORD) -> subprocess.CompletedProcess[str]:
    """Run the scenario's playbook on another copy of its inventory, as a person would."""
    environment = {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_INVENTORY": str(inventory),
        "ANSIBLE_NOCOLOR": "1",
        "PANTHEON_VAULT_PASSWORD": password,
    }
    command = ["ansible-playbook", "-i", str(inventory), str(SCENARIO / "converge.yml"), *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A copy of the scenario's inventory without secrets."""
    copy = tmp_path / "inventories" / "copy"
    shutil.copytree(SCENARIO / "inventory", copy, ignore=shutil.ignore_patterns("secrets.yml", ".secrets*"))
    return copy


def test_the_file_is_encrypted_and_for_its_owner_only(host: Host) -> None:
    file = host.file(str(SCENARIO / "inventory" / "secrets.yml"))
    assert file.mode == 0o600
    assert file.content_string.startswith("$ANSIBLE_VAULT;1.")
    content = file.content_string
    assert [name for name in EXPECTED if name in content] == []


def test_every_placed_service_has_its_secrets() -> None:
    values = decrypt(SCENARIO / "inventory" / "secrets.yml")
    assert set(values) >= EXPECTED
    assert re.fullmatch(r"[\w-]{64}", values["redis_password"])
    assert re.fullmatch(r"sk-[\w-]{16,}", values["litellm_master_key"])
    passwords = [value for name, value in values.items() if not name.endswith("_certificate")]
    assert len(set(passwords)) == len(passwords)


def test_the_authority_beside_the_inventory_signed_the_certificate_of_the_domain() -> None:
    authority = x509.load_pem_x509_certificate((SCENARIO / "artifacts" / "inventory" / "ca.crt").read_bytes())
    values = decrypt(SCENARIO / "inventory" / "secrets.yml")
    certificate = x509.load_pem_x509_certificates(values["edge_certificate_certificate"].encode())[0]
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(names.get_values_for_type(x509.DNSName)) == {"test.internal", "*.test.internal"}


def test_no_value_is_shown_and_a_second_run_changes_nothing(inventory: Path) -> None:
    predicted = run(inventory, "--check", "--diff", "-vvv")
    assert predicted.returncode == 0, predicted.stdout
    assert "changed=1" in predicted.stdout
    assert not (inventory / "secrets.yml").exists()

    first = run(inventory, "--diff", "-vvv")
    assert first.returncode == 0, first.stdout
    assert "changed=1" in first.stdout
    assert "redis_password" in first.stdout
    content = (inventory / "secrets.yml").read_bytes()

    second = run(inventory, "--diff", "-vvv")
    assert second.returncode == 0, second.stdout
    assert "changed=0" in second.stdout
    assert (inventory / "secrets.yml").read_bytes() == content

    shown = "".join(done.stdout + done.stderr for done in (predicted, first, second))
    values = decrypt(inventory / "secrets.yml")
    lines = {
        name: [line for line in value.splitlines() if not line.startswith("-----")] for name, value in values.items()
    }
    assert [name for name, parts in lines.items() if any(part in shown for part in parts)] == []


def test_another_password_is_refused_and_the_file_kept(inventory: Path) -> None:
    assert run(inventory).returncode == 0
    content = (inventory / "secrets.yml").read_bytes()
    refused = run(inventory, password="another-one")
    assert refused.returncode != 0
    assert "cannot be decrypted" in refused.stdout + refused.stderr
    assert (inventory / "secrets.yml").read_bytes() == content
