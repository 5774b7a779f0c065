# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decide what has to happen so that machines form one swarm with its overlay networks. Pure functions.

Private to the collection. The input is what :mod:`machine_state` reports per machine; nothing is asked or changed here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

MEMBER = ("active", "pending", "locked", "error")


class HostPlan(TypedDict):
    """What one machine has to do."""

    action: str  # none, init, join, rejoin, later (check mode on a machine without Docker)
    role: str  # manager or worker
    wait: bool  # whether an overlay network is not known on it yet
    problem: str  # why nothing can be done, and the remedy; empty if all is well
    clashes: list[dict[str, str]]  # containers with an address that another one has: container, address, command


class Plan(TypedDict):
    """What the machines of a run have to do together."""

    work: bool
    hosts: dict[str, HostPlan]
    coordinator: str  # the manager on which swarm-wide changes are made; empty if none is known
    remote_addrs: list[str]
    ask: list[str]  # managers outside this run whose view may be needed
    stale: list[dict[str, str]]  # nodes of reinstalled machines: id, role, name
    roles: list[dict[str, str]]  # nodes to promote or demote: id, role
    networks: list[dict[str, Any]]  # networks to create
    anchor: bool  # whether the anchor has to be created or updated
    rejoined: bool


def plan_overlay(
    views: Mapping[str, Mapping[str, Any]],
    managers: Sequence[str],
    addresses: Mapping[str, str],
    networks: Sequence[Mapping[str, Any]],
    encrypted: bool = False,
    anchor: Mapping[str, str] | None = None,
    hosts: Sequence[str] | None = None,
    asked: bool = False,
    check_mode: bool = False,
) -> Plan:
    """Compare the machines with the wanted overlay.

    Args:
        views: what machine_state reported, by machine; machines that are off are missing.
        managers: machines that are to be managers.
        addresses: address of each manager.
        networks: wanted networks: name, subnet, and encrypted if it differs from the argument of that name.
        encrypted: whether networks are encrypted between machines.
        anchor: name and image of the anchor service; empty or without image: none.
        hosts: machines of this run (default: all of views).
        asked: whether the managers outside this run have been asked already.
        check_mode: whether this is a dry run.
    """
    mine = list(hosts if hosts is not None else views)
    swarm = {name: view["swarm"] for name, view in views.items()}
    live = [name for name in managers if name in swarm and swarm[name]["is_manager"] and swarm[name]["has_quorum"]]
    coordinator = _main_swarm(live, swarm)
    members = [name for name in views if swarm[name]["state"] in MEMBER]
    nodes = {node["id"]: node for node in swarm[coordinator]["nodes"]} if coordinator else {}
    plans: dict[str, HostPlan] = {
        name: {
            "action": "none",
            "role": "manager" if name in managers else "worker",
            "wait": False,
            "problem": "",
            "clashes": [],
        }
        for name in mine
    }
    for name, found_here in _clashes(views, networks, (anchor or {}).get("name", "")).items():
        if name in plans:
            plans[name]["clashes"] = found_here

    first = ""
    if not coordinator and not members:
        present = [name for name in managers if name in views and views[name]["docker"]["running"]]
        if 2 * len(present) > len(managers):
            first = present[0]

    for name, plan in plans.items():
        view = views.get(name)
        if view is None:
            plan["problem"] = "the machine was not looked at"
        elif not view["docker"]["running"]:
            if check_mode:
                plan["action"] = "later"
            else:
                plan["problem"] = "Docker is not running on it. Apply the role docker first."
        elif swarm[name]["state"] == "inactive":
            plan["action"] = "init" if name == first else "join"
            if not first and not coordinator and asked:
                plan["problem"] = _cannot_join(name, managers, views, members)
        elif coordinator and swarm[name]["node_id"] not in nodes:
            ours = {f"{address}:2377" for address in addresses.values()}
            if not swarm[name]["is_manager"] and ours & set(swarm[name]["managers"]):
                plan["action"] = "rejoin"  # it was removed from our swarm while it was off
            else:
                plan["problem"] = (
                    f"it is in another swarm than {coordinator}. If that swarm is not needed, run `docker swarm leave "
                    "--force` on it and start again."
                )
        if anchor and anchor.get("image") and plan["action"] != "later" and not plan["problem"]:
            known = view["networks"] if view else {}
            plan["wait"] = any(network["name"] not in known for network in networks)

    found = views[coordinator]["networks"] if coordinator else {}
    missing, wrong = [], []
    for network in networks:
        want = {
            "name": network["name"],
            "subnet": network["subnet"],
            # The half of the subnet that the engine gives away; the other is the platform's (container_addresses).
            "range": str(next(ipaddress.IPv4Network(network["subnet"]).subnets(1))),
            "encrypted": network.get("encrypted", encrypted),
        }
        there = found.get(network["name"])
        if there is None:
            missing.append(want)
        elif (there["subnet"], there["range"], there["encrypted"], there["attachable"]) != (
            want["subnet"],
            want["range"],
            want["encrypted"],
            True,
        ):
            wrong.append(
                f"overlay network {want['name']} is there with subnet {there['subnet']} (of which the engine gives away "
                f"{there['range'] or 'all'}), encrypted {there['encrypted']}; wanted are subnet {want['subnet']} "
                f"({want['range']}), encrypted {want['encrypted']}. A network cannot be changed: stop the "
                "stacks on it and remove it (docs/machines.md), or correct the inventory."
            )
    for plan in plans.values():
        if wrong and not plan["problem"]:
            plan["problem"] = " ".join(wrong)

    acting = any(plan["action"] != "none" or plan["wait"] or plan["problem"] for plan in plans.values())
    clashing = any(plan["clashes"] for plan in plans.values())
    known_swarm = bool(coordinator or first)
    stale = _stale(views, mine, nodes) if coordinator else []
    gone = {node["id"] for node in stale}
    roles = _roles(mine, managers, swarm, nodes, gone) if coordinator else []
    anchor_due = known_swarm and _anchor_due(anchor, networks, swarm.get(coordinator, {}).get("services", {}))
    missing = missing if known_swarm else []
    return {
        "work": bool(acting or clashing or stale or roles or missing or anchor_due),
        "hosts": plans,
        "coordinator": coordinator or first,
        "remote_addrs": [f"{addresses[name]}:2377" for name in live or ([first] if first else [])],
        "ask": []
        if asked or not acting or coordinator
        else [name for name in managers if name not in views and name not in mine],
        "stale": stale,
        "roles": roles,
        "networks": missing,
        "anchor": anchor_due,
        "rejoined": any(plan["action"] == "rejoin" for plan in plans.values()),
    }


def _clashes(
    views: Mapping[str, Mapping[str, Any]], networks: Sequence[Mapping[str, Any]], anchor: str
) -> dict[str, list[dict[str, str]]]:
    """Return the containers that share an address of a network, by machine.

    All of them have to move: if one stayed, the swarm would take its address for free as soon as another gives it up.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    for network in (item["name"] for item in networks):
        users: dict[str, list[tuple[str, str]]] = {}
        for machine, view in views.items():
            for end, address in view["networks"].get(network, {}).get("addresses", {}).items():
                users.setdefault(address, []).append((machine, end))
        for address, ends in users.items():
            for machine, end in ends if len(ends) > 1 else []:
                if end == f"{network}-endpoint":
                    continue  # the machine's own end; no container to move
                # Swarm itself puts a new task, with a new address, in the place of one that stops.
                command = "stop" if anchor and end.startswith(f"{anchor}.") else "restart"
                found.setdefault(machine, {})[end] = {"container": end, "address": address, "command": command}
    return {machine: [ends[end] for end in sorted(ends)] for machine, ends in found.items()}


def _main_swarm(live: Sequence[str], swarm: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a live manager of the swarm with the most nodes: a manager left in a swarm of its own is not our swarm."""
    return max(live, key=lambda name: len(swarm[name]["nodes"]), default="")


def _cannot_join(
    name: str, managers: Sequence[str], views: Mapping[str, Mapping[str, Any]], members: Sequence[str]
) -> str:
    """Say why there is no swarm to join and none may be made."""
    silent = [manager for manager in managers if manager not in views]
    if members:
        return (
            f"a swarm exists ({', '.join(sorted(members))} is in it), but none of its managers ({', '.join(managers)}) can "
            "be reached or has a majority. Bring back the managers that are off, then run again."
        )
    return (
        f"no swarm is known, and only a majority of the managers may begin one: {', '.join(silent) or name} cannot be "
        "reached. Bring them back, or take them off overlay_managers."
    )


def _stale(
    views: Mapping[str, Mapping[str, Any]], mine: Sequence[str], nodes: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Return the nodes that machines of this run left behind when they were installed anew.

    Only where the machine's own name is its name in the inventory: two machines with the same host name must not take
    each other for their past.
    """
    current = {view["swarm"]["node_id"] for view in views.values()}
    names = {name for name in mine if name in views and views[name]["hostname"].split(".")[0] == name.split(".")[0]}
    return [
        {"id": node["id"], "name": node["name"], "role": node["role"]}
        for node in nodes.values()
        if node["status"] == "down"
        and node["id"] not in current
        and node["name"] in {views[name]["hostname"] for name in names}
    ]


def _roles(
    mine: Sequence[str],
    managers: Sequence[str],
    swarm: Mapping[str, Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
    gone: set[str],
) -> list[dict[str, str]]:
    """Return the nodes whose role is not the wanted one; promotions come first, so that a majority remains."""
    changes = []
    for name in mine:
        node = nodes.get(swarm[name]["node_id"]) if name in swarm else None
        wanted = "manager" if name in managers else "worker"
        if node and node["id"] not in gone and node["role"] != wanted:
            changes.append({"id": str(node["id"]), "name": name, "role": wanted})
    return sorted(changes, key=lambda change: (change["role"] == "worker", change["name"]))


def _anchor_due(
    anchor: Mapping[str, str] | None, networks: Sequence[Mapping[str, Any]], services: Mapping[str, Mapping[str, Any]]
) -> bool:
    """Say whether the anchor service is missing or differs; the digest that swarm adds to an image does not count."""
    if not anchor or not anchor.get("image"):
        return False
    there = services.get(anchor["name"])
    if there is None:
        return True
    pinned = "@" in anchor["image"]
    image = there["image"] if pinned else there["image"].split("@")[0]
    wanted = sorted(network["name"] for network in networks)
    return bool(image != anchor["image"] or there["networks"] != wanted or there["mode"] != "global")
