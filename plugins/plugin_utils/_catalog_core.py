# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Placement, addresses, networks and references: what every derivation builds on (private to this collection)."""

from __future__ import annotations

import hashlib
import re
import typing as t
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address

from ansible_collections.pantheon.ai.plugins.plugin_utils import _encryption
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

#: The segment of a tier that has one of its own; services of the other tiers only join what they require.
SEGMENT_OF_TIER = {"data": "data", "compute": "ai", "edge": "edge"}
SEGMENTS = ("data", "ai", "edge")
NETWORK_PREFIX = "pantheon-"

TIERS = ("data", "compute", "tools", "edge", "observability")

#: A reference in a string of the catalog: ${address:redis.redis}. The argument must start with a letter, so that a
#: shell's ${name:-default} in a template is left alone.
REFERENCE = re.compile(r"\$\{([a-z]+):([A-Za-z][A-Za-z0-9_.-]*)\}")
MACHINES_REFERENCE = re.compile(r"\$\{machines:([a-z][a-z0-9_]*)\}")
REFERENCE_KINDS = ("address", "host", "port", "secret", "setting", "machine")

SECRET_PLACEHOLDER = "@@secret:{}@@"
SECRET_PATTERN = re.compile(r"@@secret:([a-z][a-z0-9_]*)@@")

NAS_GROUP = "truenas"
BACKUP_SECRET = "backup_password"
EDGE_SERVICE = "edge-proxy"
GATEWAY_SERVICE = "litellm"
OLLAMA_SERVICE = "ollama"


class ReferenceFault(ValueError):
    """A reference that cannot be resolved; the text says why."""


def placed(site: Site, service: str, _asking: tuple[str, ...] = ()) -> list[str]:
    """Return the machines that run *service*, in the order of the inventory.

    With the mode beside these are the machines of the services that require it.
    """
    placement = site.services[service]["placement"]
    if placement["mode"] == "beside":
        asking = (*_asking, service)  # a circle of requirements is said by check_site, which has to get that far
        users = [name for name, data in site.services.items() if service in data["requires"] and name not in asking]
        wanted = {host for name in users for host in placed(site, name, asking)}
        return [host for host in site.machines if host in wanted]
    hosts = site.groups.get(placement["group"], [])
    return hosts[:1] if placement["mode"] == "one" else list(hosts)


def services_on(site: Site, host: str, tiers: t.Collection[str] | None = None) -> list[str]:
    """Return the services on *host*, tier by tier in the order of deployment, then by name."""
    names = [
        name
        for name, data in site.services.items()
        if (tiers is None or data["tier"] in tiers) and host in placed(site, name)
    ]
    return sorted(names, key=lambda name: (TIERS.index(site.services[name]["tier"]), name))


def published_port(endpoint: dict[str, t.Any]) -> int:
    """Return the port on the machine of an endpoint that is published."""
    return int(endpoint.get("published", endpoint["port"]))


def on_machine(site: Site, service: str) -> bool:
    """Say whether *service* uses the network of its machine instead of the networks between services."""
    return bool(site.services[service]["network"] == "machine")


def address_of(
    site: Site,
    service: str,
    endpoint: str,
    host: str | None = None,
    seen_from: str | None = None,
    caller: str | None = None,
) -> str:
    """Return ``name:port`` at which other services reach *endpoint* of *service*; nothing else composes one.

    *host* asks for the instance on that machine; without it, the name stands for all instances. *seen_from* is the
    machine of the caller: on host networks, which have no shared names, its own instance is preferred, else the first.
    *caller* is the service that asks: an endpoint that only its own machine reaches is 127.0.0.1 for what uses the network
    of the machine too, and for containers a name that :func:`local_names` makes known to them.
    Raises KeyError for an unknown service or endpoint, :class:`ReferenceFault` for a service that runs nowhere.
    """
    data = site.services[service]["endpoints"][endpoint]
    if on_machine(site, service) and data["scope"] == "node":
        here = caller is not None and on_machine(site, caller)
        return f"{'127.0.0.1' if here else service}:{published_port(data)}"
    if site.settings.network == "overlay" and not on_machine(site, service):
        return f"{service}-{host}:{data['port']}" if host else f"{service}:{data['port']}"
    if host is None:
        hosts = placed(site, service)
        if not hosts:
            raise ReferenceFault(f"{service} runs on no machine")
        host = seen_from if seen_from in hosts else hosts[0]
    address = site.machines[host].address
    return f"{f'[{address}]' if ':' in address else address}:{published_port(data)}"


@dataclass(frozen=True)
class BackupTarget:
    """Where backups go: the same path on every machine; ``mount`` is it of the NAS."""

    path: str
    mount: bool

    @property
    def bound(self) -> str:
        """The directory that a container is given.

        For a mount point it is the one above: a container that starts must not touch a NAS that is away.
        """
        return self.path.rpartition("/")[0] if self.mount else self.path


def backup_target(site: Site) -> BackupTarget | None:
    """Return where backups go, None where the inventory has neither a NAS with that storage nor a path for them."""
    wanted = site.settings.backup
    if not wanted.enabled:
        return None
    if wanted.path:
        return BackupTarget(wanted.path, False)
    shares = {share.name: share.path for share in site.settings.storage}
    if wanted.storage in shares and site.groups.get(NAS_GROUP):
        return BackupTarget(shares[wanted.storage], True)
    return None


def networks_of(site: Site, service: str) -> list[str]:
    """Return the overlay networks that *service* joins: as few as its requirements and its route allow.

    With host networks there are none.
    """
    if site.settings.network != "overlay" or on_machine(site, service):
        return []
    data = site.services[service]
    segments = {
        _segment(site, name) for name in data["requires"] if name in site.services and not on_machine(site, name)
    }
    if any(service in other["requires"] for other in site.services.values()):
        segments.add(SEGMENT_OF_TIER.get(data["tier"]))
    if "route" in data or service == EDGE_SERVICE:
        segments.add("edge")
    return [NETWORK_PREFIX + segment for segment in SEGMENTS if segment in segments]


def local_names(site: Site, service: str) -> list[str]:
    """Return the services that containers of *service* reach on their own machine, by the name of the service."""
    if on_machine(site, service):
        return []
    return [
        name
        for name in sorted(site.services[service]["requires"])
        if name in site.services
        and on_machine(site, name)
        and any(endpoint["scope"] == "node" for endpoint in site.services[name]["endpoints"].values())
    ]


def expand_names(site: Site, service: str, names: t.Iterable[str]) -> list[str]:
    """Return the names of a certificate: references resolved, ${machines:GROUP} as names and addresses of the group."""
    result: dict[str, None] = {}
    for name in names:
        match = MACHINES_REFERENCE.fullmatch(name)
        if match is None:
            result[resolve(site, service, name)] = None
            continue
        hosts = site.groups.get(match[1])
        if hosts is None:
            raise ReferenceFault(f"there is no group {match[1]} in the inventory")
        for host in hosts:
            result[host] = None
            result[site.machines[host].address] = None
    return list(result)


def container_addresses(site: Site, network: str) -> dict[tuple[str, str], str]:
    """Return the address on an overlay network of each service on each machine.

    The swarm would give addresses away by itself. But a manager that becomes the leader because the last one stopped may
    take addresses for free that are in use, and hand them out again (docs/failures.md). So containers get theirs from here,
    from the upper half of the subnet; the engine gives away the lower half only.

    An address follows from the name of service and machine. Where two names come to the same one, the later in the alphabet
    goes on to another, so that a new service seldom moves an old one. Raises :class:`ReferenceFault` when they do not fit.
    """
    upper = list(IPv4Network(site.settings.overlay_networks[network]).subnets(1))[1]
    size = upper.num_addresses - 1  # the last address of the subnet is its broadcast address
    waiting = sorted(
        (name, host) for name in site.services if network in networks_of(site, name) for host in placed(site, name)
    )
    if len(waiting) > size // 2:
        raise ReferenceFault(
            f"{network} has {size} addresses for containers, which is too few for {len(waiting)}: half of them have to be free"
        )
    found: dict[tuple[str, str], str] = {}
    taken: set[int] = set()
    turn = 0
    while waiting:
        left = []
        for member in waiting:
            digest = hashlib.sha256(f"{member[0]}\n{member[1]}\n{turn}".encode()).digest()
            slot = int.from_bytes(digest[:8], "big") % size
            if slot in taken:
                left.append(member)
                continue
            taken.add(slot)
            found[member] = str(upper[slot])
        waiting = left
        turn += 1
    return found


def _segment(site: Site, service: str) -> str | None:
    return SEGMENT_OF_TIER.get(site.services[service]["tier"])


def is_ip(address: str) -> bool:
    """Say whether *address* is an IP address rather than a name."""
    try:
        ip_address(address)
    except ValueError:
        return False
    return True


def models_of(site: Site, role: str | None = None) -> list[dict[str, t.Any]]:
    """Return the wanted models: name, role, and the machines that serve them (groups resolved, in inventory order)."""
    serving = placed(site, OLLAMA_SERVICE) if OLLAMA_SERVICE in site.services else []
    result = []
    for model in site.settings.models:
        names = model.get("machines") or [site.services[OLLAMA_SERVICE]["placement"]["group"]] if serving else []
        wanted = {host for name in names for host in site.groups.get(name, [name])}
        entry = {
            "name": str(model["name"]),
            "role": str(model.get("role", "chat")),
            "machines": [host for host in serving if host in wanted],
        }
        if role is None or entry["role"] == role:
            result.append(entry)
    return result


def settings_of(site: Site) -> dict[str, str]:
    """Return what ${setting:NAME} may name. The models are the first of their role."""
    settings = site.settings
    values = {
        "domain": settings.domain,
        "network": settings.network,
        "root": settings.root,
        "timezone": settings.timezone,
        "admin_email": settings.admin_email,
        "environment": settings.environment,
    }
    for role in ("chat", "embedding"):
        models = models_of(site, role)
        if models:
            values[f"{role}_model"] = models[0]["name"]
    return values


def secrets_of(site: Site) -> dict[str, dict[str, t.Any]]:
    """Return the secrets that the placed services declare, by name, each with kind, length, prefix, ca and names.

    A ca or certificate NAME stands for two values, NAME_key and NAME_certificate (:func:`secret_values`).
    """
    result: dict[str, dict[str, t.Any]] = {}
    for service, data in site.services.items():
        if not placed(site, service):
            continue
        for secret in data["secrets"]:
            spec = {key: value for key, value in secret.items() if key not in ("name", "env")}
            if "names" in spec:
                spec["names"] = expand_names(site, service, spec["names"])
            result.setdefault(secret["name"], spec)
    if site.settings.encryption:
        result[_encryption.SECRET] = dict(_encryption.SECRET_SPEC)
    if backup_target(site) and site.machines:
        # What opens the backups of all machines; it belongs to no service.
        result.setdefault(BACKUP_SECRET, {"kind": "password", "length": 40})
    return dict(sorted(result.items()))


def secret_values(name: str, spec: t.Mapping[str, t.Any]) -> list[str]:
    """Return the names of the values that a declared secret yields."""
    if spec.get("kind") in ("ca", "certificate"):
        return [f"{name}_key", f"{name}_certificate"]
    return [name]


def resolve(site: Site, service: str, text: str, host: str | None = None) -> str:
    """Return *text* of *service* with its references resolved, as seen from *host*.

    Secrets become placeholders. Raises :class:`ReferenceFault` for a reference that cannot be resolved.
    """
    if "${" not in text:
        return text
    return REFERENCE.sub(lambda match: _resolve_one(site, service, match[1], match[2], host), text)


def _resolve_one(site: Site, service: str, kind: str, argument: str, host: str | None) -> str:
    if kind == "secret":
        return SECRET_PLACEHOLDER.format(argument)
    if kind == "setting":
        values = settings_of(site)
        if argument not in values:
            if argument in ("chat_model", "embedding_model"):
                raise ReferenceFault(f"no model in pantheon_models has the role {argument.removesuffix('_model')}")
            raise ReferenceFault(f"there is no setting {argument}; known are {', '.join(sorted(values))}")
        return values[argument]
    if kind == "machine":
        if argument not in ("name", "address"):
            raise ReferenceFault(f"a machine has no {argument}; known are name and address")
        if host is None:
            raise ReferenceFault("the machine is not known here; use it in the environment or a file")
        return host if argument == "name" else site.machines[host].address
    if kind in ("address", "host", "port"):
        other, _dot, endpoint = argument.partition(".")
        if other not in site.services:
            raise ReferenceFault(f"there is no service {other}")
        endpoints = site.services[other]["endpoints"]
        if endpoint not in endpoints:
            known = ", ".join(sorted(endpoints)) or "none"
            raise ReferenceFault(f"{other} has no endpoint {endpoint}; known are {known}")
        address = address_of(site, other, endpoint, seen_from=host, caller=service)
        name, _colon, port = address.rpartition(":")
        return {"address": address, "host": name, "port": port}[kind]
    raise ReferenceFault(f"there is no reference of the kind {kind}; known are {', '.join(REFERENCE_KINDS)}")
