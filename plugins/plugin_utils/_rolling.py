# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machines of the data tier are changed one after the other, and in which order (private to this collection).

A change of image or files makes a container anew. Where several machines hold one thing together, doing that on all at once
is an outage, and one at a time is none.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import answer, looks_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import placed
from ansible_collections.pantheon.ai.plugins.plugin_utils._postgresql import ETCD_SERVICE, POSTGRESQL_SERVICE
from ansible_collections.pantheon.ai.plugins.plugin_utils._redis import REDIS_SERVICE, SENTINEL_SERVICE
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

ROLLING = (ETCD_SERVICE, REDIS_SERVICE, SENTINEL_SERVICE, POSTGRESQL_SERVICE)

TOGETHER: dict[str, tuple[frozenset[str], ...]] = {
    ETCD_SERVICE: (frozenset({"files/etc/etcd/tls/ca.crt"}),),
    POSTGRESQL_SERVICE: (frozenset({"files/etc/patroni/tls/ca.crt"}),),
    REDIS_SERVICE: (frozenset({"files/usr/local/etc/redis/redis.conf", "files/usr/local/etc/redis/users.acl"}),),
    SENTINEL_SERVICE: (frozenset({"files/usr/local/etc/redis/sentinel.conf", "files/usr/local/etc/redis/users.acl"}),),
}
"""Sets of files that, when all of them change, may mean another authority or other passwords among the members.

One that has the new ones would not be let in by those that have the old ones, and would never be healthy: these change at
once. Passwords of PostgreSQL are no such case, as the server gets them before its members do.
"""


def rolling_services(preview: t.Mapping[str, t.Any]) -> list[str]:
    """Return the services of a machine that work now and that a run would make anew, from a call in check mode."""
    found = []
    for name in ROLLING:
        stack = (preview.get("stacks") or {}).get(name)
        if not stack or stack.get("state") != "present":
            continue
        changed = set(stack.get("files") or {})
        if any(together <= changed for together in TOGETHER.get(name, ())):
            continue
        service = (stack.get("services") or {}).get(name) or {}
        # What is broken anyway is not waited for: it may need the others to be healthy again.
        if service.get("action") == "recreated" and service.get("health") == "healthy":
            found.append(name)
    return found


def rolling_to_look(site: Site, variables: t.Mapping[str, t.Any]) -> list[str]:
    """Return the machines of which it has to be found out; none where this run has seen all of them in order.

    Where this is asked for the hosts of a play, variables of the inventory are not known: see cluster_to_do.
    """
    machines: list[str] = []
    for name in ROLLING:
        members = placed(site, name) if name in site.services else []
        if len(members) > 1:
            machines += [host for host in members if host not in machines]
    hostvars = variables.get("hostvars") or {}
    looked = [host for host in machines if host in hostvars and "docker_result" in hostvars[host]]
    # Where anybody was looked at, a machine that was not is off or left out; a play whose only machine is off ends the run.
    return [host for host in looked or machines if host not in looked or not _in_order(hostvars[host])]


def _in_order(variables: t.Mapping[str, t.Any]) -> bool:
    return answer(looks_of(variables), "compose_stack", {}) is not None


def rolling_to_do(site: Site, variables: t.Mapping[str, t.Any]) -> list[str]:
    """Return the machines that have something to do, the leader of PostgreSQL last: it hands over once, to one that is done."""
    hostvars = variables.get("hostvars") or {}
    found: dict[str, bool] = {}
    for host in site.machines:
        known = hostvars[host] if host in hostvars else {}  # noqa: SIM401 - HostVars has no get
        rolling = known["data_rolling"] if "data_rolling" in known else None  # noqa: SIM401
        if isinstance(rolling, t.Mapping) and rolling.get("services"):
            found[host] = rolling.get("leader") == host
    return sorted(found, key=lambda host: found[host])


def patroni_cluster(members: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Return who leads, and who stands by with everything that is acknowledged, from `patronictl list -f json`."""
    leaders = [str(one["Member"]) for one in members if one.get("Role") == "Leader" and one.get("State") == "running"]
    streaming = [
        str(one["Member"]) for one in members if one.get("Role") != "Leader" and one.get("State") == "streaming"
    ]
    standbys = [
        str(one["Member"])
        for one in members
        if one.get("Role") in ("Sync Standby", "Quorum Standby") and one.get("State") == "streaming"
    ]
    return {
        "leader": leaders[0] if len(leaders) == 1 else "",
        "standbys": standbys,
        "streaming": streaming,
        # One server needs no standby, and several do.
        "whole": len(leaders) == 1 and (len(members) == 1 or bool(standbys)),
        "members": len(members),
    }
