# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cross-checks: what a schema cannot say, all faults at once (private to this collection)."""

from __future__ import annotations

import re
import typing as t
from collections import defaultdict
from collections.abc import Iterator

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_compose import listening
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    EDGE_SERVICE,
    MACHINES_REFERENCE,
    NAS_GROUP,
    OLLAMA_SERVICE,
    REFERENCE,
    ReferenceFault,
    backup_target,
    container_addresses,
    is_ip,
    models_of,
    on_machine,
    placed,
    published_port,
    resolve,
    secret_values,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import Problem
from ansible_collections.pantheon.ai.plugins.plugin_utils._derived import DERIVED, ENVIRONMENT
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError

_MOVING_TAG = re.compile(r"(^[^:@]+(:\d+/[^:@]+)?|:latest)$")


def check_site(site: Site) -> list[Problem]:
    """Return every fault of *site*; an empty list means that it can be deployed."""
    checks: list[t.Callable[[Site], Iterator[Problem]]] = [
        _machines,
        _groups,
        _dependencies,
        _endpoints,
        _references,
        _secrets,
        _databases,
        _redis_users,
        _files,
        _derived_environments,
        _storage,
        _names,
        _backups,
        _ports,
        _addresses,
        _memory,
        _gpus,
        _images,
        _models,
    ]
    problems = []
    for check in checks:
        try:
            problems += list(check(site))
        except SiteError as error:  # variables of a machine that cannot be read
            problems += error.problems
    return _unique(problems)


def _unique(problems: list[Problem]) -> list[Problem]:
    seen: dict[str, Problem] = {}
    for problem in problems:
        seen.setdefault(str(problem), problem)
    return list(seen.values())


def _inventory(site: Site) -> str:
    return f"{site.inventory}/hosts.yml" if site.inventory else "inventory"


def _settings_file(site: Site) -> str:
    return f"{site.inventory}/group_vars/all" if site.inventory else "group_vars/all"


def _machines(site: Site) -> Iterator[Problem]:
    if len(site.machines) == 0:
        yield Problem(
            _inventory(site),
            "machines",
            None,
            "list the machines of the platform in the group machines, or give another inventory with -i",
            "the inventory has no machines",
        )


def _groups(site: Site) -> Iterator[Problem]:
    if len(site.machines) == 0:
        return  # said already; every group would be empty, too
    wanted: dict[str, list[str]] = defaultdict(list)
    for name, data in site.services.items():
        if "group" in data["placement"]:
            wanted.setdefault(data["placement"]["group"], []).append(name)
        wanted.setdefault(data["tier"], [])
    for group, services in sorted(wanted.items()):
        hosts = site.groups.get(group)
        if hosts is None and services:
            yield Problem(
                _inventory(site),
                f"groups.{group}",
                None,
                f"add the group {group}, or leave the service out with enabled: false in an override",
                f"the group of {', '.join(services)} is not in the inventory",
            )
        elif hosts is not None and not hosts:
            yield Problem(
                _inventory(site),
                f"groups.{group}",
                None,
                "put a machine into it, or remove it together with what belongs to it",
                "the group is empty",
            )
        for host in hosts or []:
            if host not in site.machines:
                yield Problem(
                    _inventory(site),
                    f"groups.{group}",
                    host,
                    f"add {host} to the group machines, or take it out of {group}",
                    "the host is not a machine of the platform",
                )

    # The play of a tier runs on the hosts of the tier's group: what is outside of it would silently not be deployed. Beside
    # what requires it a service is deployed wherever that is.
    for name, data in site.services.items():
        for host in placed(site, name) if data["placement"]["mode"] != "beside" else []:
            if host in site.machines and host not in site.groups.get(data["tier"], []):
                yield Problem(
                    _inventory(site),
                    f"groups.{data['placement']['group']}",
                    host,
                    f"make {data['placement']['group']} a child of the group {data['tier']}",
                    f"the host is not in the group {data['tier']}, the tier of {name}",
                )


def _dependencies(site: Site) -> Iterator[Problem]:
    for name, data in site.services.items():
        for other in data["requires"]:
            if other in site.disabled:
                yield Problem(
                    site.source(name),
                    "requires",
                    other,
                    "enable it, or set enabled: false here, too",
                    "names a service that is not enabled",
                )
            elif other not in site.services:
                yield Problem(
                    site.source(name),
                    "requires",
                    other,
                    f"remove it, or add catalog/services/{other}.yml",
                    "names a service that is not in the catalog",
                )
            elif placed(site, name) and not placed(site, other):
                yield Problem(
                    site.source(name),
                    "requires",
                    other,
                    f"put a machine into the group {site.services[other]['placement'].get('group', 'of what requires it')}",
                    "names a service that runs on no machine",
                )
    for cycle in _cycles(site):
        yield Problem(
            site.source(cycle[0]),
            "requires",
            " -> ".join([*cycle, cycle[0]]),
            "take one of these requirements out",
            "is a cycle",
        )


def _cycles(site: Site) -> list[list[str]]:
    """Return each cycle of the requirements once, starting at its first name in the alphabet."""
    cycles: set[tuple[str, ...]] = set()
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> None:
        if name in path:
            cycle = path[path.index(name) :]
            start = cycle.index(min(cycle))
            cycles.add(tuple(cycle[start:] + cycle[:start]))
            return
        if name in done or name not in site.services:
            return
        for other in site.services[name]["requires"]:
            walk(other, [*path, name])
        done.add(name)

    for name in sorted(site.services):
        walk(name, [])
    return [list(cycle) for cycle in sorted(cycles)]


def _endpoints(site: Site) -> Iterator[Problem]:
    for name, data in site.services.items():
        uses = {
            "health.http.endpoint": data["health"].get("http", {}).get("endpoint"),
            "metrics.endpoint": data.get("metrics", {}).get("endpoint"),
            "route.endpoint": data.get("route", {}).get("endpoint"),
        }
        for field, endpoint in uses.items():
            if endpoint is None:
                continue
            if endpoint not in data["endpoints"]:
                known = ", ".join(sorted(data["endpoints"])) or "none"
                yield Problem(
                    site.source(name), field, endpoint, f"use one of: {known}", "names an endpoint that does not exist"
                )
                continue
            scope = data["endpoints"][endpoint]["scope"]
            if field == "route.endpoint" and scope not in ("edge", "public"):
                yield Problem(
                    site.source(name),
                    f"endpoints.{endpoint}.scope",
                    scope,
                    "write scope: edge",
                    "the endpoint has a route, and its scope does not let the edge reach it",
                )
            if field == "metrics.endpoint" and scope == "node":
                yield Problem(
                    site.source(name),
                    f"endpoints.{endpoint}.scope",
                    scope,
                    "write scope: mesh",
                    "the endpoint has metrics, and its scope lets only its own machine reach them",
                )
        for endpoint, spec in data["endpoints"].items():
            if spec["scope"] == "public" and name != EDGE_SERVICE:
                yield Problem(
                    site.source(name),
                    f"endpoints.{endpoint}.scope",
                    "public",
                    "use edge and a route",
                    f"only {EDGE_SERVICE} is published to the LAN",
                )


def _texts(site: Site, name: str) -> Iterator[tuple[str, str, str | None]]:
    """Yield field, text and machine of everything in which references are resolved.

    What a machine sees may differ from what another one sees, so the first machine stands for all: the reference kinds
    that can fail do so on each of them.
    """
    data = site.services[name]
    hosts = placed(site, name)
    host = hosts[0] if hosts and hosts[0] in site.machines else next(iter(site.machines), None)
    for index, text in enumerate(data.get("command", [])):
        yield f"command[{index}]", text, None
    for key, text in data["environment"].items():
        yield f"environment.{key}", text, host
    for secret in data["secrets"]:
        for text in secret.get("names", []):
            if MACHINES_REFERENCE.fullmatch(text) is None:
                yield f"secrets.{secret['name']}.names", text, None
    for entry in data["files"]:
        text = site.templates.get(entry.get("template", "")) or ""
        if text:
            yield f"files.{entry['path']}", text, host


def _references(site: Site) -> Iterator[Problem]:
    declared = _declared_values(site)
    for name, data in site.services.items():
        if not placed(site, name):
            continue
        for field, text, host in _texts(site, name):
            for match in REFERENCE.finditer(text):
                kind, argument = match[1], match[2]
                if kind == "secret":
                    if field.startswith("command"):
                        yield Problem(
                            site.source(name),
                            field,
                            match[0],
                            "use the environment or a file",
                            "puts a secret into the process list",
                        )
                    if argument not in declared:
                        yield Problem(
                            site.source(name),
                            field,
                            match[0],
                            f"declare {argument} under secrets of the service that it belongs to",
                            "names a secret that nobody generates",
                        )
                    continue
                try:
                    resolve(site, name, match[0], host)
                except ReferenceFault as error:
                    yield Problem(site.source(name), field, match[0], "correct the reference", str(error))
                    continue
                other, _dot, endpoint = argument.partition(".")
                if kind not in ("address", "host", "port") or other == name:
                    continue
                if other not in data["requires"]:
                    yield Problem(
                        site.source(name),
                        field,
                        match[0],
                        f"add {other} to requires",
                        "names a service that is not required, and so may be in another network",
                    )
                elif (
                    on_machine(site, other)
                    and not on_machine(site, name)
                    and site.services[other]["endpoints"][endpoint]["scope"] != "node"
                ):
                    yield Problem(
                        site.source(name),
                        field,
                        match[0],
                        f"use what leads there from its own machine, such as {other}-router or {other}-pool",
                        "names an endpoint that containers do not reach, only machines",
                    )
                elif site.services[other]["endpoints"][endpoint]["scope"] == "node" and not on_machine(site, other):
                    yield Problem(
                        site.source(name),
                        field,
                        match[0],
                        f"give the endpoint {endpoint} of {other} the scope mesh",
                        "names an endpoint that only its own machine reaches",
                    )


def _declared_values(site: Site) -> set[str]:
    return {
        value
        for name, data in site.services.items()
        if placed(site, name)
        for secret in data["secrets"]
        for value in secret_values(secret["name"], secret)
    }


def _secrets(site: Site) -> Iterator[Problem]:
    specs: dict[str, tuple[str, dict[str, t.Any]]] = {}
    values: dict[str, tuple[str, str]] = {}
    declared = _declared_values(site)
    kinds = {secret["name"]: secret["kind"] for data in site.services.values() for secret in data["secrets"]}
    for name, data in site.services.items():
        variables = list(data["environment"])
        for secret in data["secrets"]:
            spec = {key: value for key, value in secret.items() if key != "env"}
            first, known = specs.setdefault(secret["name"], (name, spec))
            if known != spec:
                yield Problem(
                    site.source(name),
                    f"secrets.{secret['name']}",
                    None,
                    "make kind, length and prefix equal, or use another name",
                    f"is declared differently by {first}",
                )
            for value in secret_values(secret["name"], secret):
                owner = values.setdefault(value, (name, secret["name"]))
                if owner[1] != secret["name"]:
                    yield Problem(
                        site.source(name),
                        f"secrets.{secret['name']}",
                        value,
                        "rename one of them",
                        f"is also a value of the secret {owner[1]} of {owner[0]}",
                    )
            for text in secret.get("names", []):
                match = MACHINES_REFERENCE.fullmatch(text)
                if match and match[1] not in site.groups and placed(site, name):
                    yield Problem(
                        site.source(name),
                        f"secrets.{secret['name']}.names",
                        text,
                        f"add the group {match[1]} to the inventory",
                        "names a group that the inventory does not have",
                    )
            if secret["kind"] == "certificate" and kinds.get(secret["ca"]) != "ca":
                yield Problem(
                    site.source(name),
                    f"secrets.{secret['name']}.ca",
                    secret["ca"],
                    "declare it as a secret of kind ca",
                    "names no authority",
                )
            if "env" in secret:
                variables.append(secret["env"])
        for variable in sorted({entry for entry in variables if variables.count(entry) > 1}):
            yield Problem(
                site.source(name), "environment", variable, "set it once", "is set twice, by environment and secrets"
            )
        if not placed(site, name):
            continue
        uses = [(f"files.{entry['path']}", entry["secret"]) for entry in data["files"] if "secret" in entry]
        uses += [(f"databases.{entry['name']}", entry["secret"]) for entry in data["databases"]]
        uses += [(f"gateway_keys.{entry['alias']}", entry["secret"]) for entry in data["gateway_keys"]]
        for field, value in uses:
            if value not in declared:
                yield Problem(
                    site.source(name),
                    field,
                    value,
                    "declare it under secrets; a ca or certificate NAME gives NAME_key and NAME_certificate",
                    "names a secret that nobody generates",
                )


def _all_requirements(site: Site, service: str) -> set[str]:
    """Return what *service* requires, and what that requires in turn."""
    found: set[str] = set()
    waiting = list(site.services[service]["requires"])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += site.services.get(name, {}).get("requires", [])
    return found


def _databases(site: Site) -> Iterator[Problem]:
    owners: dict[tuple[str, str], str] = {}
    users: dict[tuple[str, str], tuple[str, str]] = {}
    for name, data in site.services.items():
        for entry in data["databases"]:
            field = f"databases.{entry['name']}"
            if entry["service"] not in _all_requirements(site, name):
                yield Problem(
                    site.source(name),
                    field,
                    entry["service"],
                    f"add {entry['service']} to requires",
                    "lives in a service that is not required",
                )
            key = (entry["service"], entry["name"])
            if owners.setdefault(key, name) != name:
                yield Problem(
                    site.source(name), field, entry["name"], "choose another name", f"belongs to {owners[key]} already"
                )
            user = users.setdefault((entry["service"], entry["user"]), (name, entry["secret"]))
            if user[1] != entry["secret"]:
                yield Problem(
                    site.source(name),
                    f"{field}.user",
                    entry["user"],
                    "choose another user",
                    f"has another password in {user[0]}",
                )


def _redis_users(site: Site) -> Iterator[Problem]:
    owners: dict[tuple[str, str], str] = {}
    for name, data in site.services.items():
        for entry in data["redis"]:
            field = f"redis.{entry['user']}"
            if entry["service"] not in _all_requirements(site, name):
                yield Problem(
                    site.source(name),
                    field,
                    entry["service"],
                    f"add {entry['service']}-router to requires",
                    "is a user of a service that is not required",
                )
            key = (entry["service"], entry["user"])
            if owners.setdefault(key, name) != name:
                yield Problem(
                    site.source(name), field, entry["user"], "choose another user", f"belongs to {owners[key]} already"
                )
            if entry["secret"] not in {secret["name"] for secret in data["secrets"]}:
                yield Problem(
                    site.source(name),
                    f"{field}.secret",
                    entry["secret"],
                    f"add {entry['secret']} to secrets",
                    "is no secret of this service",
                )


def _files(site: Site) -> Iterator[Problem]:
    for name, data in site.services.items():
        seen: set[str] = set()
        targets = [("files", entry["path"]) for entry in data["files"]]
        targets += [("volumes", entry["path"]) for entry in data["volumes"] if "path" in entry]
        for field, path in targets:
            if path in seen:
                yield Problem(site.source(name), field, path, "mount it once", "is mounted twice")
            seen.add(path)
        for entry in data["files"]:
            template = entry.get("template")
            if template is not None and site.templates.get(template) is None:
                yield Problem(
                    site.source(name),
                    f"files.{entry['path']}.template",
                    template,
                    f"add catalog/templates/{template}",
                    "names a template that does not exist",
                )
            derived = entry.get("derived")
            if derived is not None and derived not in DERIVED:
                yield Problem(
                    site.source(name),
                    f"files.{entry['path']}.derived",
                    derived,
                    f"use one of: {', '.join(sorted(DERIVED))}",
                    "names a function that does not exist",
                )


def _derived_environments(site: Site) -> Iterator[Problem]:
    for name, data in site.services.items():
        function = data.get("derived_environment")
        if function is None:
            continue
        if function not in ENVIRONMENT:
            remedy = f"use one of: {', '.join(sorted(ENVIRONMENT))}"
            yield Problem(
                site.source(name), "derived_environment", function, remedy, "names a function that does not exist"
            )
            continue
        for host in placed(site, name)[:1]:
            try:
                ENVIRONMENT[function](site, host)
            except ReferenceFault as error:
                yield Problem(site.source(name), "derived_environment", function, "change the inventory", str(error))


def _storage(site: Site) -> Iterator[Problem]:
    known = [share.name for share in site.settings.storage]
    for name, data in site.services.items():
        for volume in data["volumes"]:
            if "storage" not in volume or not placed(site, name):
                continue
            field = f"volumes.{volume['name']}.storage"
            if volume["storage"] not in known:
                remedy = f"use one of: {', '.join(sorted(known)) or 'none'}, or add it to pantheon_storage"
                yield Problem(site.source(name), field, volume["storage"], remedy, "is not in pantheon_storage")
            elif not site.groups.get(NAS_GROUP):
                remedy = (
                    f"put the NAS into the group {NAS_GROUP}, or leave {name} out with enabled: false in an override"
                )
                yield Problem(
                    site.source(name), field, volume["storage"], remedy, "needs a NAS, and the inventory has none"
                )


def _names(site: Site) -> Iterator[Problem]:
    labels: dict[str, str] = {}
    aliases: dict[str, str] = {}
    keys: dict[str, str] = {}
    for name, data in site.services.items():
        names = list(data.get("dns", {}).get("aliases", []))
        if "route" in data:
            names.insert(0, data["route"]["host"])
        for label in names:
            first = labels.setdefault(label, name)
            if first != name or names.count(label) > 1:
                yield Problem(
                    site.source(name),
                    "route.host" if "route" in data and label == data["route"]["host"] else "dns.aliases",
                    label,
                    "choose another name",
                    f"is a name of {first} already",
                )
        # "ollama-gpu" on a machine "x" and "ollama" on a machine "gpu-x" would share a name on the network.
        for alias in [name, *(f"{name}-{host}" for host in placed(site, name))]:
            if aliases.setdefault(alias, name) != name:
                yield Problem(
                    site.source(name),
                    "name",
                    alias,
                    "rename the service or the machine",
                    f"is also the address of an instance of {aliases[alias]}",
                )
        for key in data["gateway_keys"]:
            if keys.setdefault(key["alias"], name) != name:
                yield Problem(
                    site.source(name),
                    "gateway_keys",
                    key["alias"],
                    "choose another alias",
                    f"is a key of {keys[key['alias']]} already",
                )
            for model in key.get("models", []):
                if model not in [entry["name"] for entry in site.settings.models]:
                    yield Problem(
                        site.source(name),
                        f"gateway_keys.{key['alias']}.models",
                        model,
                        "use a name from pantheon_models",
                        "names an unknown model",
                    )


def _backups(site: Site) -> Iterator[Problem]:
    target = backup_target(site)
    if target and target.mount and target.path.count("/") < 2:
        yield Problem(
            _inventory(site),
            "pantheon_storage",
            target.path,
            "mount it below a directory of its own, such as /backups/nas",
            "is where backups go, and containers are given the directory above it",
        )
    if site.settings.backup.storage != "backups" and target is None and site.settings.backup.enabled:
        yield Problem(
            _inventory(site),
            "pantheon_backup.storage",
            site.settings.backup.storage,
            "name an entry of pantheon_storage and have a NAS in the inventory, or give a path instead",
            "is not there",
        )
    for name, data in site.services.items():
        volumes = [volume["name"] for volume in data["volumes"] if "backup_target" not in volume]
        for volume in data["backup"].get("volumes", []):
            if volume not in volumes:
                yield Problem(
                    site.source(name),
                    "backup.volumes",
                    volume,
                    f"use one of: {', '.join(volumes) or 'none'}",
                    "names a volume that does not exist",
                )


def _ports(site: Site) -> Iterator[Problem]:
    """Compare what is published on each machine; a port on one address also collides with it on all addresses."""
    taken: dict[tuple[str, str, int], list[tuple[str, str, str]]] = defaultdict(list)
    unnamed: set[str] = set()
    for name in site.services:
        ports = listening(site, name)
        for host in placed(site, name) if ports else []:
            if host not in site.machines:
                continue
            machine = site.machines[host]
            for endpoint, spec in ports:
                protocol = "udp" if spec["protocol"] == "udp" else "tcp"
                address = "127.0.0.1" if spec["scope"] == "node" else machine.address
                if not is_ip(address):
                    address = "*"
                    machine_only = on_machine(site, name)
                    if (site.settings.network == "host" or machine_only) and host not in unnamed:
                        unnamed.add(host)
                        yield Problem(
                            _inventory(site),
                            f"{host}.pantheon_address",
                            machine.address,
                            f"set pantheon_address of {host} to the IP address on which it serves the others",
                            "is no IP address, so ports cannot be bound to it alone "
                            + (
                                f"({name} uses the network of its machine)"
                                if machine_only
                                else "(pantheon_network is host)"
                            ),
                        )
                rivals = taken[(host, protocol, published_port(spec))]
                for other, other_endpoint, other_address in rivals:
                    if address == other_address or "*" in (address, other_address):
                        yield Problem(
                            site.source(name),
                            f"endpoints.{endpoint}",
                            published_port(spec),
                            "give one of them another port with published",
                            f"collides on {host} with the endpoint {other_endpoint} of {other}",
                        )
                rivals.append((name, endpoint, address))
    for name, data in site.services.items():
        seen: dict[tuple[str, int], str] = {}
        for endpoint, spec in data["endpoints"].items():
            key = ("udp" if spec["protocol"] == "udp" else "tcp", spec["port"])
            if key in seen:
                yield Problem(
                    site.source(name),
                    f"endpoints.{endpoint}.port",
                    spec["port"],
                    "give it the port on which it listens",
                    f"is the port of the endpoint {seen[key]} already",
                )
            seen.setdefault(key, endpoint)


def _memory(site: Site) -> Iterator[Problem]:
    needs: dict[str, dict[str, int]] = defaultdict(dict)
    for name, data in site.services.items():
        for host in placed(site, name):
            needs[host][name] = data["resources"]["memory_mb"]
    for host, services in needs.items():
        if host not in site.machines:
            continue
        memory = site.machines[host].memory_mb
        total = sum(services.values())
        if memory is not None and total > memory:
            parts = ", ".join(f"{name} {need}" for name, need in sorted(services.items(), key=lambda item: -item[1]))
            yield Problem(
                _inventory(site),
                f"{host}.pantheon_memory_mb",
                memory,
                "move a service to another machine, or lower resources.memory_mb in an override",
                f"is less than the {total} MB of the services on it ({parts})",
            )


def _gpus(site: Site) -> Iterator[Problem]:
    for name, data in site.services.items():
        if data["placement"]["gpu"] != "required":
            continue
        for host in placed(site, name):
            # With auto nobody knows before the machine was looked at.
            if host in site.machines and site.machines[host].gpu_options.declared == "none":
                yield Problem(
                    site.source(name),
                    "placement.gpu",
                    "required",
                    f"set pantheon_gpu of {host}, or take it out of the group {data['placement']['group']}",
                    f"{host} has no GPU",
                )


def _addresses(site: Site) -> Iterator[Problem]:
    for network, subnet in site.settings.overlay_networks.items():
        try:
            container_addresses(site, network)
        except ReferenceFault as error:
            yield Problem(
                _settings_file(site),
                f"pantheon_overlay_networks.{network}",
                subnet,
                "give it a larger subnet",
                str(error),
            )


def _images(site: Site) -> Iterator[Problem]:
    for service, image in sorted(site.settings.images.items()):
        field = f"pantheon_images.{service}"
        if service not in site.services and service not in site.disabled:
            known = ", ".join(sorted(site.services))
            yield Problem(
                _settings_file(site), field, image, f"use one of: {known}", "names a service that is not in the catalog"
            )
        if _MOVING_TAG.search(image):
            yield Problem(
                _settings_file(site), field, image, "name the exact version or digest", "follows the newest image"
            )


def _models(site: Site) -> Iterator[Problem]:
    if len(site.machines) == 0:
        return  # said already; every model would be served nowhere, too
    file = _settings_file(site)
    seen: set[str] = set()
    served = {model["name"]: model["machines"] for model in models_of(site)}
    serving = placed(site, OLLAMA_SERVICE) if OLLAMA_SERVICE in site.services else []
    for index, model in enumerate(site.settings.models):
        field = f"pantheon_models[{index}]"
        if model["name"] in seen:
            yield Problem(file, f"{field}.name", model["name"], "remove one of them", "is there twice")
            continue
        seen.add(model["name"])
        unknown = False
        for name in model.get("machines", []):
            if name not in site.groups and name not in site.machines:
                unknown = True
                yield Problem(
                    file,
                    f"{field}.machines",
                    name,
                    "use the name of a machine or group of the inventory",
                    "names nothing in the inventory",
                )
            elif not set(site.groups.get(name, [name])) & set(serving):
                unknown = True
                yield Problem(
                    file,
                    f"{field}.machines",
                    name,
                    f"use a machine of the group {OLLAMA_SERVICE}",
                    f"runs no {OLLAMA_SERVICE}",
                )
        if not served[model["name"]] and not unknown:
            yield Problem(file, field, model["name"], "put a machine into the group ollama", "is served by no machine")
