# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of postgresql_databases, postgresql_cluster and of the look ahead at both."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.pantheon.ai.plugins.action import machine_state, postgresql_cluster, postgresql_databases
from ansible_collections.pantheon.ai.plugins.module_utils._looks import _module
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError

VALUE = "value-of-a-secret-Lm42"
PLUGINS = {
    "machine_state": machine_state,
    "postgresql_cluster": postgresql_cluster,
    "postgresql_databases": postgresql_databases,
}


class Secrets(dict[str, str]):
    """Every secret has a value."""

    def __contains__(self, _name: object) -> bool:
        return True

    def get(self, name: str, _default: Any = None) -> Any:
        return self[name]

    def __missing__(self, name: str) -> str:
        return f"{VALUE}-{name}"


class Run:
    """A run of a playbook on three machines, of which one and two have PostgreSQL. Keeps what reaches the modules."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.sent: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {"changed": True, "invocation": {"module_args": {}}}
        self.secrets: dict[str, str] | None = Secrets()
        (folder / "hosts.yml").write_text("all: {}\n")
        machines = ["one", "two", "three"]
        self.variables: dict[str, Any] = {
            "inventory_dir": str(folder),
            "groups": {
                "all": machines,
                "machines": machines,
                "etcd": machines,
                "postgresql": ["one", "two"],
                "open_webui": ["three"],
                "redis": ["three"],
                "ollama": ["three"],
            },
            "hostvars": {host: {"ansible_host": f"10.0.0.{number}"} for number, host in enumerate(machines, 1)},
            "ansible_play_hosts": ["one", "two"],
            "pantheon_domain": "test.internal",
        }

        def load_secrets(*_arguments: Any) -> dict[str, str]:
            if self.secrets is None:
                raise SecretsError("there are no secrets for this environment yet")
            return self.secrets

        monkeypatch.setattr(postgresql_databases, "load_secrets", load_secrets)
        monkeypatch.setattr(machine_state, "load_secrets", load_secrets)
        monkeypatch.setattr(machine_state, "render_stacks", lambda *_arguments: [])  # has tests of its own

    def call(self, module: str, host: str = "one", check: bool = False, **arguments: Any) -> dict[str, Any]:
        task = Task.load({"name": "x", "action": f"pantheon.ai.{module}", "args": arguments})
        task.check_mode = check
        templar = MagicMock()
        templar.template = lambda value: value
        plugin = PLUGINS[module].ActionModule(
            task=task,
            connection=MagicMock(),
            play_context=MagicMock(check_mode=check),
            loader=DataLoader(),
            templar=templar,
            shared_loader_obj=MagicMock(),
        )

        def execute(module_name: str, module_args: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
            assert module_name == f"pantheon.ai.{module}"
            self.sent.append(module_args)
            return dict(self.answer)

        self.monkeypatch.setattr(plugin, "_execute_module", execute)
        known = self.variables["hostvars"][host]
        result: dict[str, Any] = plugin.run(task_vars={**self.variables, **known, "inventory_hostname": host})
        return result

    def look_ahead(self, host: str, results: dict[str, dict[str, Any]]) -> None:
        """Let machine_state look at a machine, and find these modules in order."""
        self.call("machine_state", host, look_ahead=True)
        asked = self.sent.pop()["looks"]
        self.answer = {
            "changed": False,
            "looks": [
                {"module": look["module"], "result": results[look["module"]]}
                for look in asked
                if look["module"] in results
            ],
        }
        self.variables["hostvars"][host]["docker_result"] = self.call("machine_state", host, look_ahead=True)
        self.sent.clear()
        self.answer = {"changed": True}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


def test_every_member_is_asked_for_the_databases_of_the_catalog(run: Run) -> None:
    for host in ("one", "two"):
        result = run.call("postgresql_databases", host, wait=30)
        assert "invocation" not in result
    first, second = run.sent
    assert first == second
    (database,) = first["databases"]
    assert (database["user"], database["password"]) == ("open_webui", f"{VALUE}-open_webui_database_password")
    assert first["pooler"] == {"user": "pgbouncer", "password": f"{VALUE}-postgresql_pooler_password"}
    assert {one["user"]: one["password"] for one in first["accounts"]} == {
        "replicator": f"{VALUE}-postgresql_replication_password",
        "rewind": f"{VALUE}-postgresql_rewind_password",
        "postgres": f"{VALUE}-postgresql_superuser_password",
    }
    assert run.call("postgresql_databases", "three")["skipped"] is True


def test_the_accounts_of_the_cluster_can_be_given_alone(run: Run) -> None:
    accounts = [{"user": "replicator", "secret": "postgresql_replication_password"}]
    run.call("postgresql_databases", databases=[], accounts=accounts)
    (sent,) = run.sent
    assert sent["databases"] == []
    assert "pooler" not in sent
    assert sent["accounts"] == [{**accounts[0], "password": f"{VALUE}-postgresql_replication_password"}]
    run.secrets = {}
    with pytest.raises(AnsibleActionFail, match=r"postgresql_replication_password: there is no such secret"):
        run.call("postgresql_databases", databases=[], accounts=accounts)


def test_databases_of_a_person_have_no_pool_unless_it_is_given(run: Run) -> None:
    own = [{"name": "own", "user": "own", "password": "given"}]
    run.secrets = None
    run.call("postgresql_databases", databases=own)
    assert not {"pooler", "accounts"} & set(run.sent[0])
    run.call("postgresql_databases", databases=own, pooler={"password": "given"})
    assert run.sent[1]["pooler"] == {"password": "given"}
    with pytest.raises(AnsibleActionFail, match="no secrets for this environment"):
        run.call("postgresql_databases", databases=own, pooler={"user": "pool"})
    run.call("postgresql_databases", databases=own, pooler={"user": "pool"}, check=True)
    assert run.sent[2]["pooler"]["password"] == "not-made-before-the-real-run"


def test_the_cluster_is_asked_with_its_members_and_who_may_be_missing(run: Run) -> None:
    run.variables["ansible_play_hosts"] = ["one"]
    run.call("postgresql_cluster", wait=180)
    (sent,) = run.sent
    assert sent["members"] == {"one": "https://10.0.0.1:8008", "two": "https://10.0.0.2:8008"}
    assert (sent["tolerate"], sent["wait"], sent["scope"]) == (["two"], 180, "pantheon")
    assert sent["dynamic"]["synchronous_mode"] is True
    assert VALUE not in str(sent)
    run.call("postgresql_cluster", tolerate=[], members={"x": "https://10.0.0.9:8008"}, tls={})
    assert run.sent[1]["members"] == {"x": "https://10.0.0.9:8008"}
    assert "dynamic" not in run.sent[1]


def test_without_postgresql_there_is_no_cluster(run: Run) -> None:
    run.variables["groups"]["postgresql"] = []
    assert run.call("postgresql_cluster")["skipped"] is True
    assert run.sent == []


def test_the_look_ahead_asks_what_the_modules_understand_and_does_not_wait(run: Run) -> None:
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    run.call("machine_state", "one", look_ahead=True)
    looks = {look["module"]: look["parameters"] for look in run.sent[0]["looks"]}
    for module in ("postgresql_databases", "postgresql_cluster"):
        assert not ArgumentSpecValidator(_module(module)[0]).validate(looks[module]).error_messages
    assert looks["postgresql_databases"]["wait"] == 0
    assert "tolerate" not in looks["postgresql_cluster"]
    run.sent.clear()
    run.call("machine_state", "three", look_ahead=True)
    assert not {"postgresql_databases", "postgresql_cluster"} & {look["module"] for look in run.sent[0]["looks"]}


CLUSTER = {"changed": False, "leader": "one", "members": []}
PRIMARY = {"changed": False, "role": "primary"}
STANDBY = {"changed": False, "role": "standby"}


def test_what_was_seen_in_order_is_not_asked_again(run: Run) -> None:
    run.look_ahead("one", {"postgresql_cluster": CLUSTER, "postgresql_databases": PRIMARY})
    run.look_ahead("two", {"postgresql_cluster": CLUSTER, "postgresql_databases": STANDBY})
    assert run.call("postgresql_cluster", wait=180)["leader"] == "one"
    assert run.call("postgresql_databases", "one", service="postgresql", wait=30)["role"] == "primary"
    assert run.call("postgresql_databases", "two", service="postgresql", wait=30)["role"] == "standby"
    assert run.sent == []


def test_a_standby_is_asked_again_if_its_leader_was_not_in_order(run: Run) -> None:
    """It may have become the leader while the cluster restarted."""
    run.look_ahead("one", {})
    run.look_ahead("two", {"postgresql_cluster": CLUSTER, "postgresql_databases": STANDBY})
    run.call("postgresql_databases", "two", service="postgresql", wait=30)
    run.call("postgresql_cluster", wait=180)
    assert len(run.sent) == 2


@pytest.mark.parametrize(
    "setting", [{"pantheon_postgresql": {"parameters": {"work_mem": "8MB"}}}, {"pantheon_root": "/srv/pantheon"}]
)
def test_another_setting_is_another_question(run: Run, setting: dict[str, Any]) -> None:
    for host in ("one", "two"):
        run.look_ahead(host, {"postgresql_cluster": CLUSTER})
    run.variables |= setting
    run.call("postgresql_cluster", wait=180)
    assert len(run.sent) == 1


def test_a_stack_that_changed_since_ends_the_use_of_looks(run: Run) -> None:
    for host in ("one", "two"):
        run.look_ahead(host, {"postgresql_cluster": CLUSTER})
    run.variables["hostvars"]["two"]["stacks_result"] = {"changed": True}
    run.call("postgresql_cluster", wait=180)
    assert len(run.sent) == 1
