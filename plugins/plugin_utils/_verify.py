# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a working platform shows: the plan of the checks, derived from the site, and the verdict (private).

Pure functions: the checks themselves are in _verify_checks.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    EDGE_SERVICE as EDGE,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    GATEWAY_SERVICE as GATEWAY,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    gateway_models,
    models_of,
    networks_of,
    placed,
    published_port,
    services_on,
    to_routes,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import on_machine
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

INTERFACE = "open-webui"

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. seconds is how long it took; fix says what to do when it failed."""

    name: str
    state: str
    seconds: float
    detail: str
    fix: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the check as it stands in the verdict; ok is None for a check that was not performed."""
        outcome = {OK: True, FAILED: False}.get(self.state)
        return {
            "name": self.name,
            "ok": outcome,
            "state": self.state,
            "seconds": round(self.seconds, 3),
            "detail": self.detail,
            "fix": self.fix,
        }


@dataclass(frozen=True)
class Model:
    """A model that the gateway offers; ids are the deployments that may answer, answer is a text it must contain."""

    name: str
    role: str
    ids: frozenset[str]
    answer: str | None = None
    machines: tuple[str, ...] = ()


@dataclass(frozen=True)
class EdgePoint:
    """A machine that answers for the platform, with the ports that it publishes (None: not published)."""

    machine: str
    address: str
    https: int
    http: int | None


@dataclass(frozen=True)
class Ports:
    """What must answer, and what must not, on the address of a machine, seen from outside."""

    machine: str
    address: str
    public: Mapping[int, str]  # port -> service.endpoint
    closed: Mapping[int, str]
    skip: str = ""  # why it cannot be looked at


@dataclass(frozen=True)
class Host:
    """A machine; port is where its ssh answers, None when it is not managed over ssh."""

    name: str
    address: str
    port: int | None


@dataclass(frozen=True)
class Probe:
    """A connection from the container of a service; expect is open or closed."""

    source: str
    target: str
    port: int
    expect: str

    def as_dict(self) -> dict[str, Any]:
        """Return the probe in the form that the module segment_probe takes."""
        return {"source": self.source, "target": self.target, "port": self.port, "expect": self.expect}


@dataclass(frozen=True)
class Plan:
    """Everything that the checks need to know about the platform; no secret is in it, only names of secrets."""

    environment: str
    edges: tuple[EdgePoint, ...] = ()
    names: tuple[str, ...] = ()  # host names that the edge answers for
    interface: str = ""  # host name of Open WebUI
    gateway: str = ""  # host name of LiteLLM
    models: tuple[Model, ...] = ()
    admin_email: str = ""
    admin_secret: str = ""
    key_secret: str = ""
    ca_secrets: tuple[str, ...] = ()
    hosts: tuple[Host, ...] = ()
    ports: tuple[Ports, ...] = ()
    probes: Mapping[str, tuple[Probe, ...]] = field(default_factory=dict)
    urls: Mapping[str, str] = field(default_factory=dict)


def make_plan(
    site: Site,
    specification: Mapping[str, Mapping[str, Any]],
    connections: Mapping[str, int | None] | None = None,
    controllers: Collection[str] = (),
    only: Iterable[str] | None = None,
) -> Plan:
    """Derive the checks from the site.

    specification is what secrets_of(site) returns; connections gives the ssh port of each machine (None: not over ssh);
    controllers names the machines that are the one that looks;
    only limits the machines whose ports and networks are looked at.
    """
    connections = connections or {}
    machines = [name for name in site.machines if only is None or name in set(only)]
    edges = _edges(site)
    suffix = f":{edges[0].https}" if edges and edges[0].https != 443 else ""
    routes = to_routes(site)
    hosts_of = {route["service"]: list(route["hosts"]) for route in routes}
    return Plan(
        environment=site.settings.environment,
        edges=tuple(edges),
        names=tuple(name for route in routes for name in route["hosts"]),
        interface=next(iter(hosts_of.get(INTERFACE, [])), ""),
        gateway=next(iter(hosts_of.get(GATEWAY, [])), ""),
        models=tuple(_models(site)),
        admin_email=site.settings.admin_email,
        admin_secret=_secret_for(site, INTERFACE, "WEBUI_ADMIN_PASSWORD"),
        key_secret=_gateway_key(site),
        ca_secrets=tuple(f"{name}_certificate" for name, spec in specification.items() if _trusted(spec)),
        hosts=tuple(Host(name, site.machines[name].address, connections.get(name, 22)) for name in machines),
        ports=tuple(_ports(site, name, name in controllers, bool(controllers)) for name in machines),
        probes={name: probes for name in machines if (probes := tuple(segment_probes(site, name)))},
        urls={service: f"https://{names[0]}{suffix}" for service, names in hosts_of.items() if edges and names},
    )


def _trusted(spec: Mapping[str, Any]) -> bool:
    """Say whether a secret is an authority that people trust."""
    return spec.get("kind") == "ca" and not spec.get("internal")


def segment_probes(site: Site, host: str) -> list[Probe]:
    """Return the connections to try from the containers of this machine.

    What a service requires has to be open to it. What shares no network with it has to be closed: by its name in the
    networks, and on the address of its machine. Services that share a network without needing each other are left out.
    With host networks there are no segments, and so no probes; nor are there from what uses the network of its machine, which
    reaches whatever the machine reaches. Its own ports are closed to containers, on whatever machine.
    """
    if site.settings.network != "overlay":
        return []
    probes: list[Probe] = []
    for source in services_on(site, host):
        if on_machine(site, source):
            continue
        own = set(networks_of(site, source))
        for target, data in sorted(site.services.items()):
            machines = placed(site, target)
            if target == source or not machines:
                continue
            outside = on_machine(site, target)
            required = target in data_of(site, source, "requires") and not outside
            if not required and own & set(networks_of(site, target)):
                continue
            ports = [
                endpoint
                for endpoint in data["endpoints"].values()
                if endpoint.get("protocol", "tcp") != "udp" and endpoint["scope"] in ("mesh", "edge")
            ]
            for endpoint in ports:
                port = int(endpoint["port"])
                if not outside:  # what is in no network has no name in one
                    probes.append(Probe(source, target, port, "open" if required else "closed"))
                if not required:
                    addresses = {site.machines[machine].address for machine in machines if machine in site.machines}
                    probes += [
                        Probe(source, address, published_port(endpoint), "closed")
                        for address in sorted(addresses)
                        if _is_outside_address(address)
                    ]
    return list(dict.fromkeys(probes))


def data_of(site: Site, service: str, name: str) -> list[str]:
    """Return a list of the service that may be missing."""
    return list(site.services[service].get(name) or [])


def verdict(
    plan: Plan, checks: Sequence[Check], answers: Mapping[str, str], started: str, seconds: float
) -> dict[str, Any]:
    """Return the verdict: ok only when something was checked and nothing failed."""
    performed = [check for check in checks if check.state != SKIPPED]
    return {
        "ok": bool(performed) and all(check.state == OK for check in performed),
        "environment": plan.environment,
        "started": started,
        "seconds": round(seconds, 2),
        "checks": [check.as_dict() for check in checks],
        "answers": dict(answers),
        "urls": dict(plan.urls),
    }


def table(result: Mapping[str, Any]) -> str:
    """Return the verdict for people: a line per check, and what to do about each that failed."""
    checks = result["checks"]
    count = {state: sum(check["state"] == state for check in checks) for state in (OK, FAILED, SKIPPED)}
    head = (
        f"Verdict for {result['environment']}: {'ok' if result['ok'] else 'NOT OK'} "
        f"({count[OK]} ok, {count[FAILED]} failed, {count[SKIPPED]} skipped, {result['seconds']:.1f} s)"
    )
    width = min(max((len(check["name"]) for check in checks), default=0), 60)
    lines = [head]
    for check in checks:
        word = check["state"].upper() if check["state"] == FAILED else check["state"]
        lines.append(f"  {word:<8}{check['seconds']:>6.2f} s  {check['name']:<{width}}  {check['detail']}".rstrip())
        if check["state"] == FAILED and check["fix"]:
            lines.append(f"  {'':<8}{'':>8}  -> {check['fix']}")
    if not checks:
        lines.append("  Nothing was checked: no service of the catalog runs on a machine of this inventory.")
    lines += [f"  {name}: {url}" for name, url in sorted(result["urls"].items())]
    return "\n".join(lines)


def failures(result: Mapping[str, Any]) -> str:
    """Return one sentence per failed check, with its remedy."""
    failed = [check for check in result["checks"] if check["state"] == FAILED]
    if not failed and not result["ok"]:
        return "Nothing was checked. Put machines into the groups of the services, or run without --limit."
    return "\n".join(f"{check['name']}: {check['detail']}. {check['fix']}".rstrip() for check in failed)


def _edges(site: Site) -> list[EdgePoint]:
    if EDGE not in site.services:
        return []
    endpoints = site.services[EDGE]["endpoints"]
    public = {name: published_port(data) for name, data in endpoints.items() if data["scope"] == "public"}
    if "https" not in public:
        return []
    return [
        EdgePoint(machine, site.machines[machine].address, public["https"], public.get("http"))
        for machine in placed(site, EDGE)
    ]


def _models(site: Site) -> list[Model]:
    if GATEWAY not in site.services or not placed(site, GATEWAY):
        return []
    answers = {str(model["name"]): model.get("answer") for model in site.settings.models}
    ids: dict[str, set[str]] = {}
    for entry in gateway_models(site).get("model_list", []):
        ids.setdefault(str(entry["model_name"]), set()).add(str(entry.get("model_info", {}).get("id", "")))
    return [
        Model(
            name=model["name"],
            role=model["role"],
            ids=frozenset(ids.get(model["name"], set()) - {""}),
            answer=answers.get(model["name"]),
            machines=tuple(model["machines"]),
        )
        for model in models_of(site)
    ]


def _ports(site: Site, machine: str, local: bool, from_inside: bool = False) -> Ports:
    """Return which ports of a machine people reach and which nobody does.

    local: the machine is the one that looks. from_inside: that one is a machine of the platform, to which the firewall opens
    the mesh endpoints of what uses the network of its machine.
    """
    here = set(services_on(site, machine))
    public: dict[int, str] = {}
    closed: dict[int, str] = {}
    for service, data in sorted(site.services.items()):
        for name, endpoint in sorted(data["endpoints"].items()):
            if endpoint.get("protocol", "tcp") == "udp":
                continue
            if endpoint["scope"] == "public":
                if service in here:
                    public[published_port(endpoint)] = f"{service}.{name}"
            elif not (from_inside and service in here and on_machine(site, service) and endpoint["scope"] == "mesh"):
                for port in (int(endpoint["port"]), published_port(endpoint)):
                    closed.setdefault(port, f"{service}.{name}")
    address = site.machines[machine].address
    skip = ""
    if site.settings.network != "overlay":
        skip = "pantheon_network is host: services listen on the machine's address, and its firewall guards them"
    elif local or not _is_outside_address(address):
        skip = "this machine is the one that looks, so its loopback ports say nothing about outside"
    return Ports(machine, address, public, {port: who for port, who in closed.items() if port not in public}, skip)


def _is_outside_address(address: str) -> bool:
    """Say whether an address can be reached from elsewhere; names count, except localhost."""
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"


def _secret_for(site: Site, service: str, variable: str) -> str:
    for secret in data_of_secrets(site, service):
        if secret.get("env") == variable:
            return str(secret["name"])
    return ""


def _gateway_key(site: Site) -> str:
    """Return the secret with the key that the checks use: the one with the alias verify, else the master key."""
    for service, data in sorted(site.services.items()):
        for key in data.get("gateway_keys") or []:
            if key["alias"] == "verify" and placed(site, service):
                return str(key["secret"])
    return _secret_for(site, GATEWAY, "LITELLM_MASTER_KEY")


def data_of_secrets(site: Site, service: str) -> list[dict[str, Any]]:
    """Return the secrets that a service declares; none for a service that is not in the catalog."""
    return list(site.services.get(service, {}).get("secrets") or [])
