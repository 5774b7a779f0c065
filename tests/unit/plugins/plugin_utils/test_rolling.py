# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of the data tier is changed one machine at a time, and in which order."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.filter.rolling import FilterModule
from ansible_collections.pantheon.ai.plugins.plugin_utils import _rolling as rolling

FILTERS = FilterModule().filters()


def member(name: str, role: str, state: str) -> dict[str, Any]:
    return {"Cluster": "pantheon", "Member": name, "Role": role, "State": state, "TL": 3}


@pytest.mark.parametrize(
    ("members", "leader", "whole"),
    [
        ([member("a", "Leader", "running"), member("b", "Sync Standby", "streaming")], "a", True),
        ([member("a", "Leader", "running"), member("b", "Replica", "streaming")], "a", False),
        ([member("a", "Leader", "running"), member("b", "Sync Standby", "stopped")], "a", False),
        ([member("a", "Replica", "running"), member("b", "Replica", "running")], "", False),
        ([member("a", "Leader", "running")], "a", True),
        ([], "", False),
    ],
)
def test_a_cluster_is_whole_with_a_leader_and_a_synchronous_standby(
    members: list[dict[str, Any]], leader: str, whole: bool
) -> None:
    found = FILTERS["patroni_cluster"](json.dumps(members))
    assert (found["leader"], found["whole"]) == (leader, whole)


def test_nobody_who_answers_is_not_whole() -> None:
    assert not FILTERS["patroni_cluster"]("")["whole"]
    assert not FILTERS["patroni_cluster"]("Error: no etcd")["whole"]


def stack(action: str = "recreated", health: str = "healthy", files: tuple[str, ...] = (), name: str = "etcd") -> Any:
    """What a call in check mode says of one stack."""
    return {
        "state": "present",
        "files": dict.fromkeys(files, "changed"),
        "services": {name: {"action": action, "health": health}},
    }


def test_what_works_and_would_be_made_anew_is_rolled() -> None:
    preview = {
        "stacks": {
            "etcd": stack(files=("compose.yml",)),
            "redis": stack("created", "absent", name="redis"),
            "postgresql": stack("none", name="postgresql"),
            "litellm": stack(name="litellm"),
        }
    }
    assert FILTERS["rolling_services"](preview) == ["etcd"]


def test_what_is_broken_is_not_waited_for() -> None:
    assert FILTERS["rolling_services"]({"stacks": {"etcd": stack(health="unhealthy")}}) == []
    assert FILTERS["rolling_services"]({"stacks": {"etcd": {**stack(), "state": "absent"}}}) == []
    assert FILTERS["rolling_services"]({"skipped": True}) == []


@pytest.mark.parametrize(
    ("name", "files", "rolled"),
    [
        ("etcd", ("files/etc/etcd/tls/ca.crt", "files/etc/etcd/tls/etcd.crt"), False),
        ("etcd", ("files/etc/etcd/tls/etcd.crt",), True),
        ("postgresql", ("files/etc/patroni/patroni.yml",), True),
        ("postgresql", ("files/etc/patroni/tls/ca.crt",), False),
        ("redis", ("files/usr/local/etc/redis/users.acl",), True),
        ("redis", ("files/usr/local/etc/redis/users.acl", "files/usr/local/etc/redis/redis.conf"), False),
    ],
)
def test_another_authority_or_another_password_among_members_changes_at_once(
    name: str, files: tuple[str, ...], rolled: bool
) -> None:
    preview = {"stacks": {name: stack(files=files, name=name)}}
    assert FILTERS["rolling_services"](preview) == ([name] if rolled else [])


def site(**placement: list[str]) -> Any:
    """A site of three machines."""
    services = {name.replace("_", "-"): {"placement": {"group": name}} for name in placement}
    return SimpleNamespace(services=services, groups=placement, machines=dict.fromkeys(("a", "b", "c")))


def test_nobody_is_looked_at_where_the_run_has_seen_all_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rolling, "placed", lambda one, name: one.groups.get(name.replace("-", "_"), []))
    seen = {"docker_result": {"looks": [{"module": "compose_stack", "keys": {"etcd": "1"}, "result": {"stacks": {}}}]}}
    one = site(etcd=["a", "b", "c"], postgresql=["a", "b"], redis=["a"])
    assert rolling.rolling_to_look(one, {"hostvars": dict.fromkeys(("a", "b", "c"), seen)}) == []
    assert rolling.rolling_to_look(one, {"hostvars": {"a": seen, "b": {"docker_result": {}}, "c": seen}}) == ["b"]
    # One that was not looked at is off; it must not be the only host of a play.
    assert rolling.rolling_to_look(one, {"hostvars": {"a": {}, "b": seen, "c": seen}}) == []
    assert rolling.rolling_to_look(one, {"hostvars": {"a": {}, "b": {}, "c": {}}}) == ["a", "b", "c"]
    assert rolling.rolling_to_look(one, {}) == ["a", "b", "c"]
    assert rolling.rolling_to_look(site(etcd=["a"], postgresql=["a"], redis=["a"]), {}) == []


def test_the_leader_comes_last() -> None:
    facts = {
        "a": {"data_rolling": {"services": ["etcd", "postgresql"], "leader": "a"}},
        "b": {"data_rolling": {"services": ["postgresql"], "leader": "a"}},
        "c": {"data_rolling": {"services": [], "leader": ""}},
    }
    assert rolling.rolling_to_do(site(), {"hostvars": facts}) == ["b", "a"]
    assert rolling.rolling_to_do(site(), {}) == []
