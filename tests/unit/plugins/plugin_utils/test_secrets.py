# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The encrypted secrets of an environment, with Ansible's own vault and loader."""

from __future__ import annotations

import multiprocessing
import re
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret

from ansible_collections.pantheon.ai.plugins.plugin_utils import _pki, _secrets

SPECIFICATION: dict[str, dict[str, Any]] = {
    "redis_password": {"kind": "password", "length": 24},
    "litellm_master_key": {"kind": "key", "prefix": "sk-", "length": 40},
    "edge_ca": {"kind": "ca"},
    "edge_certificate": {"kind": "certificate", "ca": "edge_ca", "names": ["lab.internal", "*.lab.internal"]},
}
DOMAIN = "lab.internal"


def loader(*passwords: str, identity: str = "default") -> DataLoader:
    result = DataLoader()
    result.set_vault_secrets([(identity, VaultSecret(password.encode())) for password in passwords])
    return result


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    folder = tmp_path / "inventories" / "lab"
    folder.mkdir(parents=True)
    return folder


def write(inventory: Path, values: Any, password: str = "right") -> Path:
    file = inventory / "secrets.yml"
    text = values if isinstance(values, str) else yaml.safe_dump(values)
    file.write_bytes(VaultLib([("default", VaultSecret(password.encode()))]).encrypt(text))
    return file


def test_a_first_run_makes_everything_and_a_second_run_nothing(inventory: Path) -> None:
    done, values = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    assert done.changed
    assert done.added == sorted(values) == _secrets.value_names(SPECIFICATION)
    assert re.fullmatch(r"[A-Za-z0-9_-]{24}", values["redis_password"])
    assert re.fullmatch(r"sk-[A-Za-z0-9_-]{40}", values["litellm_master_key"])
    file = inventory / "secrets.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_bytes()
    assert content.startswith(b"$ANSIBLE_VAULT;1.1;AES256\n")
    assert values["redis_password"].encode() not in content

    again, same = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    assert (again.changed, again.added, again.renewed) == (False, [], {})
    assert same == values == _secrets.load_secrets(inventory, loader("right"))
    assert file.read_bytes() == content, "a run without a change must not write the file"
    assert [path.name for path in inventory.iterdir()] == ["secrets.yml"], "nothing else is left behind"


def test_existing_and_unknown_values_are_kept(inventory: Path) -> None:
    write(inventory, {"redis_password": "chosen-by-the-owner", "mine": "something else: with spaces"})
    done, values = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    assert values["redis_password"] == "chosen-by-the-owner"
    assert values["mine"] == "something else: with spaces"
    assert (done.kept, done.unknown) == (["redis_password"], ["mine"])
    assert "litellm_master_key" in done.added
    assert "redis_password" not in done.added


def test_check_mode_says_what_it_would_add_and_writes_nothing(inventory: Path) -> None:
    done, values = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN, check_mode=True)
    assert done.added == _secrets.value_names(SPECIFICATION)
    assert values == {}
    assert list(inventory.iterdir()) == []


@pytest.mark.parametrize("passwords", [(), (_secrets.NO_PASSWORD.decode(),)])
@pytest.mark.parametrize("exists", [True, False])
def test_without_a_password_it_refuses(inventory: Path, passwords: tuple[str, ...], exists: bool) -> None:
    if exists:
        write(inventory, {"redis_password": "value"})
    with pytest.raises(_secrets.SecretsError, match="no vault password is set.*make setup"):
        _secrets.ensure(inventory, loader(*passwords), SPECIFICATION, DOMAIN)
    assert (inventory / "secrets.yml").exists() is exists


def test_the_placeholder_is_the_one_of_the_script() -> None:
    script = Path(__file__).resolve().parents[4] / "tools" / "vault-password"
    assert f'NO_PASSWORD = "{_secrets.NO_PASSWORD.decode()}"' in script.read_text()


def test_a_credential_of_the_job_runner_wins_over_the_placeholder(inventory: Path) -> None:
    _done, values = _secrets.ensure(inventory, loader("placeholder-free"), SPECIFICATION, DOMAIN)
    both = loader(_secrets.NO_PASSWORD.decode(), "placeholder-free")
    assert _secrets.load_secrets(inventory, both) == values
    _secrets.ensure(inventory, both, SPECIFICATION | {"new_password": {"kind": "password"}}, DOMAIN)
    assert "new_password" in _secrets.load_secrets(inventory, loader("placeholder-free"))


def test_another_password_is_refused_and_the_file_untouched(inventory: Path) -> None:
    file = write(inventory, {"redis_password": "value-of-old"})
    before = file.read_bytes()
    with pytest.raises(_secrets.SecretsError, match="cannot be decrypted"):
        _secrets.ensure(inventory, loader("wrong"), SPECIFICATION, DOMAIN)
    with pytest.raises(_secrets.SecretsError, match="cannot be decrypted"):
        _secrets.load_secrets(inventory, loader("wrong"))
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("redis_password: plain\n", "is not encrypted.*ansible-vault encrypt"),
        ("$ANSIBLE_VAULT;1.1;AES256\nnothex\n", "secrets.yml: (is damaged|cannot be decrypted)"),
    ],
)
def test_a_file_that_is_not_a_vault_is_refused(inventory: Path, content: str, message: str) -> None:
    (inventory / "secrets.yml").write_text(content)
    with pytest.raises(_secrets.SecretsError, match=message):
        _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    assert (inventory / "secrets.yml").read_text() == content


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"redis_password": "with space"}, "redis_password: empty, or with a character"),
        ({"redis_password": 'quo"te'}, "redis_password: empty, or with a character"),
        ({"redis_password": ""}, "redis_password: empty, or with a character"),
        ({"redis_password": 12345}, "redis_password: not a string"),
        ({"redis_password": {"nested": "x"}}, "redis_password: not a string"),
        (["a", "list"], "has to be a mapping"),
        ("top: secret: value\n", r"not YAML \(line 1\)"),
    ],
)
def test_values_that_break_are_refused_without_showing_them(inventory: Path, values: Any, message: str) -> None:
    write(inventory, values)
    with pytest.raises(_secrets.SecretsError, match=message) as caught:
        _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    for shown in ("with space", 'quo"te', "12345", "nested", "secret: value"):
        assert shown not in str(caught.value)


def test_characters_that_need_no_escaping_are_accepted(inventory: Path) -> None:
    write(inventory, {"redis_password": "aZ09_.~-"})
    assert _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)[1]["redis_password"] == "aZ09_.~-"


def test_the_vault_id_of_the_file_is_kept(inventory: Path) -> None:
    secrets = [("one", VaultSecret(b"first")), ("two", VaultSecret(b"second"))]
    file = inventory / "secrets.yml"
    file.write_bytes(VaultLib(secrets).encrypt("mine: value", secret=secrets[1][1], vault_id="two"))
    both = DataLoader()
    both.set_vault_secrets(secrets)
    _secrets.ensure(inventory, both, SPECIFICATION, DOMAIN)
    assert file.read_bytes().startswith(b"$ANSIBLE_VAULT;1.2;AES256;two\n")
    assert _secrets.load_secrets(inventory, loader("second", identity="two"))["mine"] == "value"


def test_a_file_that_others_can_read_is_closed(inventory: Path) -> None:
    _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    file = inventory / "secrets.yml"
    file.chmod(0o644)
    done, _values = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any("its mode is 0600 now" in warning for warning in done.warnings)


def _run(inventory: str, start: Any, results: Any) -> None:
    start.wait(20)
    done, values = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    results.put((done.added, values["redis_password"], values["edge_ca_certificate"]))


def test_two_runs_at_once_agree(inventory: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_run, args=(str(inventory), start, results)) for _index in range(4)]
    for process in processes:
        process.start()
    start.set()
    found = [results.get(timeout=30) for _process in processes]
    for process in processes:
        process.join(30)
    assert len({(password, ca) for _added, password, ca in found}) == 1, "both runs hold the same values"
    assert sum(bool(added) for added, _password, _ca in found) == 1, "exactly one of them made the values"
    assert _secrets.load_secrets(inventory, loader("right"))["redis_password"] == found[0][1]


def test_the_certificate_is_renewed_only_when_needed(inventory: Path) -> None:
    _done, first = _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)
    other = {**SPECIFICATION, "edge_certificate": {"kind": "certificate", "ca": "edge_ca", "names": ["new.internal"]}}
    done, second = _secrets.ensure(inventory, loader("right"), other, DOMAIN)
    assert done.renewed == {"edge_certificate": "the names changed"}
    assert done.added == []
    assert _pki.certificate_names(second["edge_certificate_certificate"]) == ["new.internal"]
    assert second["edge_ca_certificate"] == first["edge_ca_certificate"]
    assert second["redis_password"] == first["redis_password"]
    early, _values = _secrets.ensure(inventory, loader("right"), other, DOMAIN, renew_days=400)
    assert "it ends in 39" in early.renewed["edge_certificate"]


def test_half_an_authority_is_not_replaced_silently(inventory: Path) -> None:
    write(inventory, {"edge_ca_key": "something"})
    with pytest.raises(_secrets.SecretsError, match="edge_ca_certificate is not. Restore"):
        _secrets.ensure(inventory, loader("right"), SPECIFICATION, DOMAIN)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ({"a": {"kind": "riddle"}}, "unknown kind 'riddle'"),
        ({"a": {"kind": "certificate"}}, "no secret of kind ca"),
        ({"a": {"kind": "password", "length": 4}}, "at least 16 characters"),
    ],
)
def test_a_specification_that_cannot_be_met_is_refused(
    inventory: Path, specification: dict[str, dict[str, Any]], message: str
) -> None:
    with pytest.raises(_secrets.SecretsError, match=message):
        _secrets.ensure(inventory, loader("right"), specification, DOMAIN)
    assert list(inventory.iterdir()) == []


def test_no_value_looks_like_an_option() -> None:
    # Every character is chosen from what is offered; the worst choice is a dash wherever one is allowed.
    value = _secrets.generate({"length": 20}, lambda letters: letters[-1])
    assert value == "9" + "-" * 18 + "9"


def test_reading_secrets_that_are_not_there_says_what_makes_them(inventory: Path) -> None:
    with pytest.raises(_secrets.SecretsError, match="there are no secrets.*preflight.yml"):
        _secrets.load_secrets(inventory, loader("right"))


def test_the_inventory_may_be_a_file(inventory: Path) -> None:
    hosts = inventory / "hosts.yml"
    hosts.write_text("all: {}\n")
    assert _secrets.secrets_file(hosts) == inventory / "secrets.yml"


def test_artifacts_lie_outside_the_inventory(tmp_path: Path) -> None:
    (tmp_path / "inventories" / "lab").mkdir(parents=True)
    (tmp_path / "molecule" / "inventory").mkdir(parents=True)
    assert _secrets.artifacts_directory(tmp_path / "inventories" / "lab") == tmp_path / "artifacts" / "lab"
    other = _secrets.artifacts_directory(tmp_path / "molecule" / "inventory")
    assert other == tmp_path / "molecule" / "artifacts" / "inventory"


def test_public_files_are_written_once(tmp_path: Path) -> None:
    file = tmp_path / "artifacts" / "ca.crt"
    assert _secrets.write_public(file, "text\n") is True
    assert _secrets.write_public(file, "text\n") is False
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
