# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of the modules of a machine, and what a look ahead answers."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import yaml

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    POOLER_SECRET,
    STORAGE_DEFAULTS,
    answer,
    client_digests,
    cluster_key,
    cluster_parameters,
    cluster_to_do,
    config_hash,
    key_of,
    leader_was_in_order,
    looks_of,
    storage_key,
    wanted_pooler,
    with_passwords,
    with_pooler_password,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import COLLECTION
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import Stack


def stack(content: str, path: str = "a", mode: str = "0644") -> Stack:
    return Stack(
        name="x",
        tier="data",
        project="pantheon-x",
        networks=[],
        images=[],
        storage=[],
        services={"x": {}},
        secret_names=[],
        files=[{"path": path, "content": content, "mode": mode, "uid": 0, "gid": 0, "sensitive": False}],
    )


def test_the_hash_changes_with_everything_that_containers_see() -> None:
    secrets = {"s": "1"}
    base = config_hash(stack("k=@@secret:s@@ @@config-hash@@"), secrets)
    others = [
        config_hash(stack("k=@@secret:s@@ @@config-hash@@"), {"s": "2"}),
        config_hash(stack("k=@@secret:s@@  @@config-hash@@"), secrets),
        config_hash(stack("k=@@secret:s@@ @@config-hash@@", mode="0600"), secrets),
        config_hash(stack("k=@@secret:s@@ @@config-hash@@", path="b"), secrets),
    ]
    assert len({base, *others}) == 5
    assert base == config_hash(stack("k=@@secret:s@@ @@config-hash@@"), {"s": "1", "other": "x"})
    assert len(base) == hashlib.sha256().digest_size * 2


def test_a_key_does_not_depend_on_the_order_of_names() -> None:
    assert key_of({"a": 1, "b": [1, 2]}) == key_of({"b": [1, 2], "a": 1})
    assert key_of({"a": 1, "b": [1, 2]}) != key_of({"a": 1, "b": [2, 1]})


LOOK = {"module": "ollama_models", "keys": {"models": "k"}, "result": {"changed": False, "models": {}}}


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 0),
        ({"docker_result": {"changed": False}}, 0),
        ({"docker_result": {"looks": [LOOK]}}, 1),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {"looks": [LOOK]}}, 1),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {}}, 0),
        ({"docker_result": {"looks": [LOOK]}, "stacks_result": {"changed": True}}, 0),
    ],
)
def test_the_latest_result_decides_whether_looks_hold(variables: dict[str, Any], count: int) -> None:
    assert len(looks_of(variables)) == count


def test_only_the_same_question_has_an_answer() -> None:
    looks = looks_of({"docker_result": {"looks": [LOOK]}})
    assert answer(looks, "ollama_models", {"models": "k"}) == {"changed": False, "models": {}}
    assert answer(looks, "ollama_models", {"models": "other"}) is None
    assert answer(looks, "postgresql_databases", {"models": "k"}) is None


def test_passwords_come_from_secrets_or_the_error_says_which_is_missing() -> None:
    databases = [{"name": "chat", "user": "chat", "secret": "chat_password"}, {"name": "own", "password": "given"}]
    assert [entry["password"] for entry in with_passwords(databases, {"chat_password": "p"}, "inv")] == ["p", "given"]
    with pytest.raises(SecretsError, match=r"inv/secrets.yml: chat_password: .*database chat"):
        with_passwords(databases, {}, "inv")
    assert with_passwords(databases, {}, "inv", "later")[0]["password"] == "later"


def test_the_client_lies_where_the_role_puts_it() -> None:
    """The controller compares what the role installs without rendering it: both have to name the same files."""
    folder = COLLECTION / "roles" / "storage"
    wanted = yaml.safe_load((folder / "vars" / "main.yml").read_text())
    places = {
        entry["path"]
        .replace("{{ __storage_helper }}", wanted["__storage_helper"])
        .replace("{{ __storage_library }}", wanted["__storage_library"])
        for entry in wanted["__storage_client_files"]
    }
    assert places == set(client_digests())
    assert len(set(client_digests().values())) == len(places)


def test_the_defaults_of_the_storage_are_those_of_the_role() -> None:
    defaults = yaml.safe_load((COLLECTION / "roles" / "storage" / "defaults" / "main.yml").read_text())
    assert {name: defaults[f"storage_{name}"] for name in STORAGE_DEFAULTS} == STORAGE_DEFAULTS


def test_how_long_to_wait_is_not_part_of_the_question() -> None:
    asked = {"mounts": [{"name": "models", "path": "/models"}]}
    assert storage_key(asked) == storage_key({**asked, **STORAGE_DEFAULTS, "wait": 3})
    assert storage_key(asked) != storage_key({**asked, "backend": "fuse"})
    assert storage_key(asked) != storage_key({"mounts": [{"name": "models", "path": "/other"}]})


# --- databases and their cluster ---------------------------------------------------------------------------------------


class Site:
    """As much of a site as these functions look at."""

    def __init__(self, groups: dict[str, list[str]], addresses: dict[str, str] | None = None) -> None:
        names = ("postgresql", "postgresql-pool")
        self.groups = groups
        self.services = {
            name: {"placement": {"mode": "all", "group": name}, "resources": {"memory_mb": 1024}, "databases": []}
            for name in names
        }
        given = addresses or {}
        self.machines = {name: type("M", (), {"address": given.get(name, f"10.0.0.{name}")})() for name in "12"}
        self.settings = type("S", (), {"root": "/srv/pantheon", "postgresql": {}})()


def test_the_members_are_asked_where_their_machines_are() -> None:
    site: Any = Site({"postgresql": ["1", "2"]}, {"2": "fd00::2"})
    parameters = cluster_parameters(site)
    assert parameters is not None
    assert parameters["members"] == {"1": "https://10.0.0.1:8008", "2": "https://[fd00::2]:8008"}
    assert parameters["tls"]["key"] == "/srv/pantheon/postgresql/files/etc/patroni/tls/server.key"
    assert parameters["dynamic"]["synchronous_mode"] is True
    assert cluster_key(parameters) == cluster_key({**parameters, "wait": 7, "tolerate": ["1"]})
    assert cluster_key(parameters) != cluster_key({**parameters, "dynamic": {}})


def test_without_a_machine_there_is_no_cluster() -> None:
    site: Any = Site({})
    assert cluster_parameters(site) is None
    assert cluster_to_do(site, {}) == []


def seen(site: Any, **hosts: Any) -> dict[str, Any]:
    """Return variables of a run in which these machines were looked at; None stands for nothing found to be in order."""
    key = cluster_key(cluster_parameters(site) or {})
    look = {"module": "postgresql_cluster", "keys": key, "result": {"changed": False, "leader": "1"}}
    results = {name[1:]: {"docker_result": {"looks": [look] if good else []}} for name, good in hosts.items()}
    return {"hostvars": results}


def test_a_cluster_that_every_member_saw_in_order_is_left_alone() -> None:
    site: Any = Site({"postgresql": ["1", "2"]})
    assert cluster_to_do(site, seen(site, _1=True, _2=True)) == []
    assert cluster_to_do(site, seen(site, _1=True, _2=False)) == ["1", "2"]
    assert cluster_to_do(site, seen(site, _1=True)) == ["1", "2"], "a machine that is off"
    assert cluster_to_do(site, {}) == ["1", "2"], "nobody looked, or a syntax check"
    later = seen(site, _1=True, _2=True)
    later["hostvars"]["2"]["stacks_result"] = {"changed": True}
    assert cluster_to_do(site, later) == ["1", "2"], "a container was restarted since"
    site.settings.root = "/opt/pantheon"
    assert cluster_to_do(site, seen(Site(site.groups), _1=True, _2=True)) == [], (
        "the inventory's settings are not known"
    )


def test_a_standby_knows_nothing_without_its_leader() -> None:
    key = {"databases": "k"}

    def result(role: str, **keys: str) -> dict[str, Any]:
        look = {"module": "postgresql_databases", "keys": {**key, **keys}, "result": {"changed": False, "role": role}}
        return {"docker_result": {"looks": [look]}}

    def known(**hosts: Any) -> bool:
        return leader_was_in_order({"hostvars": hosts}, ["a", "b", "off"], key)

    assert known(a=result("primary"), b=result("standby"))
    assert not known(a={"docker_result": {"looks": []}}, b=result("standby"))
    assert not known(a=result("primary", databases="other"), b=result("standby"))
    assert not known(c=result("primary")), "of another cluster"


def test_the_pool_has_its_password_from_the_secrets() -> None:
    site: Any = Site({"postgresql": ["1"], "postgresql-pool": ["1"]})
    pooler = wanted_pooler(site)
    assert pooler == {"user": "pgbouncer"}
    assert wanted_pooler(site, "postgresql-of-somebody") is None
    assert wanted_pooler(Site({"postgresql": ["1"]})) is None  # type: ignore[arg-type]
    assert with_pooler_password(pooler, {POOLER_SECRET: "p"}, "inv")["password"] == "p"
    assert with_pooler_password({**pooler, "password": "own"}, {}, "inv")["password"] == "own"
    assert with_pooler_password(pooler, {}, "inv", "later")["password"] == "later"
    with pytest.raises(SecretsError, match=r"inv/secrets.yml: postgresql_pooler_password: .*preflight"):
        with_pooler_password(pooler, {}, "inv")
