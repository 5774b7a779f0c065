# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who begins the swarm, who joins it, and when nobody may."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.filter.overlay_plan import overlay_plan
from ansible_collections.pantheon.ai.plugins.plugin_utils._overlay import Plan, plan_overlay

MANAGERS = ["a", "b", "c"]
ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
NETWORKS = [{"name": "data", "subnet": "10.90.8.0/22"}, {"name": "edge", "subnet": "10.90.0.0/22"}]
ANCHOR = {"name": "anchor", "image": "pause:1"}
KNOWN = {
    item["name"]: {
        "id": item["name"],
        "subnet": item["subnet"],
        "range": item["subnet"].replace("/22", "/23"),
        "encrypted": False,
        "attachable": True,
    }
    for item in NETWORKS
}
SERVICES = {"anchor": {"image": "pause:1@sha256:0", "networks": ["data", "edge"], "mode": "global"}}


def outside(name: str, running: bool = True) -> dict[str, Any]:
    """A machine that is in no swarm."""
    swarm = {"state": "inactive", "node_id": "", "is_manager": False, "has_quorum": False}
    return {
        "hostname": name,
        "docker": {"running": running},
        "swarm": {**swarm, "managers": [], "nodes": [], "services": {}},
        "networks": {},
    }


def node(name: str, role: str = "worker", status: str = "ready", node_id: str = "") -> dict[str, Any]:
    return {"id": node_id or f"id-{name}", "name": name, "status": status, "role": role}


def inside(
    name: str, nodes: list[dict[str, Any]] | None = None, networks: Any = None, services: Any = None
) -> dict[str, Any]:
    """A member of the swarm; with nodes: a manager with a majority."""
    view = outside(name)
    view["swarm"].update(
        state="active",
        node_id=f"id-{name}",
        is_manager=nodes is not None,
        has_quorum=nodes is not None,
        managers=["10.0.0.1:2377", "10.0.0.2:2377", "10.0.0.3:2377"],
        nodes=nodes or [],
        services=SERVICES if services is None and nodes is not None else services or {},
    )
    view["networks"] = KNOWN if networks is None else networks
    return view


NODES = [node("a", "manager"), node("b", "manager"), node("c", "manager"), node("w")]


def settled() -> dict[str, Any]:
    views = {name: inside(name, NODES) for name in MANAGERS}
    views["w"] = inside("w")
    return views


def plan(views: dict[str, Any], **options: Any) -> Plan:
    return plan_overlay(
        views, **{"managers": MANAGERS, "addresses": ADDRESSES, "networks": NETWORKS, "anchor": ANCHOR, **options}
    )


def actions(found: Plan) -> dict[str, str]:
    return {name: host["action"] for name, host in found["hosts"].items()}


def test_nothing_to_do() -> None:
    found = plan(settled())
    assert found["work"] is False
    assert set(actions(found).values()) == {"none"}


def test_fresh_machines_begin_one_swarm() -> None:
    found = plan({name: outside(name) for name in ["w", *MANAGERS]})
    assert actions(found) == {"w": "join", "a": "init", "b": "join", "c": "join"}
    assert {name: host["role"] for name, host in found["hosts"].items()} == {
        "w": "worker",
        "a": "manager",
        "b": "manager",
        "c": "manager",
    }
    assert found["remote_addrs"] == ["10.0.0.1:2377"]
    assert [item["name"] for item in found["networks"]] == ["data", "edge"]
    assert found["anchor"] is True
    assert all(host["wait"] for host in found["hosts"].values())


def test_fresh_machines_with_the_first_manager_off() -> None:
    found = plan({name: outside(name) for name in ("b", "c", "w")}, asked=True)
    assert actions(found) == {"b": "init", "c": "join", "w": "join"}
    assert found["coordinator"] == "b"


def test_a_minority_never_begins_a_swarm() -> None:
    found = plan({name: outside(name) for name in ("b", "w")}, asked=True)
    assert "init" not in actions(found).values()
    assert "a, c cannot be reached" in found["hosts"]["b"]["problem"]
    assert found["networks"] == []
    assert found["anchor"] is False


def test_a_swarm_that_is_somewhere_is_never_doubled() -> None:
    views = {name: outside(name) for name in MANAGERS}
    views["w"] = inside("w")
    found = plan(views, asked=True)
    assert "init" not in actions(found).values()
    assert "a swarm exists (w is in it)" in found["hosts"]["a"]["problem"]


def test_join_through_any_live_manager() -> None:
    views = settled()
    del views["a"]
    views["new"] = outside("new")
    found = plan(views)
    assert actions(found)["new"] == "join"
    assert found["coordinator"] in ("b", "c")
    assert found["remote_addrs"] == ["10.0.0.2:2377", "10.0.0.3:2377"]


def test_managers_outside_the_run_are_asked_once() -> None:
    first = plan({"new": outside("new")}, hosts=["new"])
    assert first["work"] is True
    assert first["ask"] == MANAGERS
    assert first["hosts"]["new"]["problem"] == ""
    answered = plan({"new": outside("new"), "b": inside("b", NODES)}, hosts=["new"], asked=True)
    assert answered["ask"] == []
    assert actions(answered) == {"new": "join"}


def test_limited_run_without_work_asks_nobody() -> None:
    found = plan({"w": inside("w")}, hosts=["w"])
    assert (found["work"], found["ask"]) == (False, [])


def test_one_machine_is_a_swarm() -> None:
    found = plan({"a": outside("a")}, managers=["a"], addresses={"a": "10.0.0.1"})
    assert actions(found) == {"a": "init"}


def test_reinstalled_manager_replaces_its_old_node() -> None:
    nodes = [node("a", "manager"), node("b", "manager", "down"), node("c", "manager")]
    views = {"a": inside("a", nodes), "b": outside("b"), "c": inside("c", nodes)}
    found = plan(views)
    assert actions(found)["b"] == "join"
    assert found["stale"] == [{"id": "id-b", "name": "b", "role": "manager"}]


def test_node_of_a_machine_that_is_only_off_is_kept() -> None:
    nodes = [*NODES[:3], node("w", status="down")]
    views = {name: inside(name, nodes) for name in MANAGERS}
    assert plan(views)["stale"] == []
    assert plan(views)["work"] is False


def test_node_with_the_same_name_that_lives_is_kept() -> None:
    nodes = [*NODES, node("new", node_id="somebody")]
    views = {name: inside(name, nodes) for name in MANAGERS}
    views["new"] = outside("new")
    assert plan(views)["stale"] == []


def test_host_name_unlike_the_inventory_removes_nothing() -> None:
    nodes = [*NODES, node("debian", status="down", node_id="old")]
    views = {name: inside(name, nodes) for name in MANAGERS}
    views["new"] = outside("debian")
    assert plan(views)["stale"] == []


def test_node_removed_while_it_was_off_joins_again() -> None:
    views = {name: inside(name, NODES[:3]) for name in MANAGERS}
    views["w"] = inside("w")
    assert actions(plan(views))["w"] == "rejoin"


def test_machine_in_a_foreign_swarm_is_left_to_a_person() -> None:
    views = {name: inside(name, NODES[:3]) for name in MANAGERS}
    views["w"] = inside("w")
    views["w"]["swarm"]["managers"] = ["192.168.1.5:2377"]
    found = plan(views)
    assert actions(found)["w"] == "none"
    assert "docker swarm leave --force" in found["hosts"]["w"]["problem"]


def test_manager_left_in_a_swarm_of_its_own() -> None:
    views = settled()
    views["a"] = inside("a", [node("a", "manager")])
    for name in ("b", "c"):
        views[name]["swarm"]["nodes"] = [item for item in NODES if item["name"] != "a"]
    found = plan(views)
    assert found["coordinator"] == "b"
    assert "another swarm" in found["hosts"]["a"]["problem"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subnet": "10.1.0.0/16"}, "subnet 10.1.0.0/16"),
        ({"range": ""}, "of which the engine gives away all"),
        ({"encrypted": True}, "encrypted True"),
        ({"attachable": False}, "data"),
    ],
)
def test_network_that_differs_is_left_to_a_person(change: dict[str, Any], said: str) -> None:
    views = settled()
    for view in views.values():
        view["networks"] = {**KNOWN, "data": {**KNOWN["data"], **change}}
    found = plan(views)
    assert found["networks"] == []
    assert all(said in host["problem"] for host in found["hosts"].values())


def test_network_that_is_added_brings_the_anchor_along() -> None:
    more = [*NETWORKS, {"name": "ai", "subnet": "10.90.4.0/22", "encrypted": True}]
    found = plan(settled(), networks=more)
    assert found["networks"] == [{"name": "ai", "subnet": "10.90.4.0/22", "range": "10.90.4.0/23", "encrypted": True}]
    assert found["anchor"] is True


def test_anchor_follows_its_image() -> None:
    assert plan(settled(), anchor={"name": "anchor", "image": "pause:2"})["anchor"] is True
    assert plan(settled(), anchor={"name": "anchor", "image": ""})["work"] is False


def test_roles_follow_the_list_of_managers() -> None:
    found = plan(settled(), managers=["a", "b", "w"], addresses={**ADDRESSES, "w": "10.0.0.4"})
    assert found["roles"] == [
        {"id": "id-w", "name": "w", "role": "manager"},
        {"id": "id-c", "name": "c", "role": "worker"},
    ]


def test_dry_run_on_machines_without_docker() -> None:
    views = {name: outside(name, running=False) for name in MANAGERS}
    assert set(actions(plan(views, check_mode=True)).values()) == {"later"}
    assert "Apply the role docker first" in plan(views)["hosts"]["a"]["problem"]


def test_filter_prefers_the_newest_look_and_ignores_machines_that_did_not_answer() -> None:
    options: dict[str, Any] = {"managers": ["a"], "addresses": {"a": "10.0.0.1"}, "networks": NETWORKS, "hosts": ["a"]}
    old, new = outside("a"), inside("a", [node("a", "manager")])
    skipped = {"changed": False, "skipped": True}
    assert overlay_plan({"a": skipped}, looked={"a": old}, **options)["hosts"]["a"]["action"] == "init"
    assert overlay_plan({"a": new}, looked={"a": old}, **options)["work"] is False
    unreachable = {"item": "b", "unreachable": True}
    asked = overlay_plan({"a": new}, asked=[unreachable, {**inside("c"), "item": "c"}], **options)
    assert list(asked["hosts"]) == ["a"]


def using(view: dict[str, Any], **addresses: dict[str, str]) -> None:
    """Let a machine use addresses: network -> container -> address."""
    view["networks"] = {name: {**there, "addresses": addresses.get(name, {})} for name, there in KNOWN.items()}


def test_containers_that_share_an_address_both_move() -> None:
    views = settled()
    using(views["a"], data={"redis": "10.90.8.2", "data-endpoint": "10.90.8.6"})
    using(views["w"], data={"anchor.id-w.t1": "10.90.8.2", "data-endpoint": "10.90.8.7"})
    found = plan(views)
    assert found["work"] is True
    assert found["hosts"]["a"]["clashes"] == [{"container": "redis", "address": "10.90.8.2", "command": "restart"}]
    assert found["hosts"]["w"]["clashes"] == [
        {"container": "anchor.id-w.t1", "address": "10.90.8.2", "command": "stop"}
    ]
    assert found["hosts"]["b"]["clashes"] == []
    assert set(actions(found).values()) == {"none"}


def test_one_container_on_two_networks_moves_once() -> None:
    views = settled()
    using(views["a"], data={"redis": "10.90.8.2"}, edge={"redis": "10.90.0.2"})
    using(views["w"], data={"web": "10.90.8.2"}, edge={"web": "10.90.0.2"})
    assert [item["container"] for item in plan(views)["hosts"]["w"]["clashes"]] == ["web"]


def test_a_container_with_the_address_of_a_machines_own_end_moves() -> None:
    views = settled()
    using(views["a"], data={"redis": "10.90.8.6"})
    using(views["w"], data={"data-endpoint": "10.90.8.6"})
    found = plan(views)
    assert [item["container"] for item in found["hosts"]["a"]["clashes"]] == ["redis"]
    assert found["hosts"]["w"]["clashes"] == []


def test_two_own_ends_with_one_address_cannot_be_moved() -> None:
    views = settled()
    using(views["a"], data={"data-endpoint": "10.90.8.6"})
    using(views["w"], data={"data-endpoint": "10.90.8.6"})
    assert plan(views)["work"] is False


def test_addresses_of_different_networks_do_not_clash() -> None:
    views = settled()
    using(views["a"], data={"redis": "10.90.8.2"})
    using(views["w"], edge={"web": "10.90.8.2"}, data={"web": "10.90.8.3"})
    assert plan(views)["work"] is False


def test_only_machines_of_the_run_are_touched() -> None:
    views = settled()
    using(views["a"], data={"redis": "10.90.8.2"})
    using(views["w"], data={"web": "10.90.8.2"})
    found = plan(views, hosts=["w"])
    assert list(found["hosts"]) == ["w"]
    assert found["hosts"]["w"]["clashes"]
