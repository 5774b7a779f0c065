# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The compose project of a service: base, what a machine adds, environment (private to this collection)."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils import _encryption, _gpu
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    SECRET_PLACEHOLDER,
    ReferenceFault,
    backup_target,
    container_addresses,
    is_ip,
    local_names,
    networks_of,
    on_machine,
    published_port,
    resolve,
    services_on,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import Problem
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError

CONFIG_HASH = "@@config-hash@@"

#: Values that every parser of .env files takes as they are.
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,~-]*")


def project_of(service: str) -> str:
    """Return the name of the compose project."""
    return f"pantheon-{service}"


def image_of(site: Site, service: str, gpu: str = "none") -> str:
    """Return the full image reference: the owner's, else the catalog's for this kind of GPU."""
    if service in site.settings.images:
        return site.settings.images[service]
    image = site.services[service]["image"]
    name = f"{image['registry']}/{image['repository']}"
    variant = image["variants"].get(gpu)
    if variant:
        return f"{name}:{variant}"
    return f"{name}@{image['digest']}" if "digest" in image else f"{name}:{image['tag']}"


def escape(text: str) -> str:
    """Return *text* for a compose file, where a dollar sign would start a variable."""
    return text.replace("$", "$$")


def to_compose(site: Site, service: str) -> dict[str, t.Any]:
    """Return the base project of *service*, which is the same on every machine."""
    data = site.services[service]
    health = data["health"]
    networks = networks_of(site, service)
    container: dict[str, t.Any] = {
        "image": escape(image_of(site, service)),
        "env_file": [".env"],
        "restart": "unless-stopped",
        "healthcheck": {
            "test": ["CMD", *(escape(part) for part in health["command"])],
            "interval": f"{health['interval_seconds']}s",
            "timeout": f"{health['timeout_seconds']}s",
            "retries": health["retries"],
            "start_period": f"{health['start_seconds']}s",
        },
        "labels": _labels(data),
        # Without a bound, a chatty container fills the disk of its machine.
        "logging": {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}},
        "security_opt": ["no-new-privileges:true"],
    }
    if site.settings.health_start_interval:
        # Without it a service is asked for the first time when a whole interval is over, and who requires it waits so long.
        container["healthcheck"]["start_interval"] = f"{site.settings.health_start_interval}s"
    if "command" in data:
        container["command"] = [escape(resolve(site, service, part)) for part in data["command"]]
    if networks:
        container["networks"] = {network: {} for network in networks}
    if on_machine(site, service):
        container["network_mode"] = "host"
    stop = data.get("stop", {})
    if "signal" in stop:
        container["stop_signal"] = stop["signal"]
    if "seconds" in stop:
        container["stop_grace_period"] = f"{stop['seconds']}s"
    local = local_names(site, service)
    if local:
        # The address at which the containers of a machine reach the machine itself.
        container["extra_hosts"] = [f"{name}:host-gateway" for name in local]
    mounts = [*_volume_mounts(site, data), *_file_mounts(data)]
    if mounts:
        container["volumes"] = mounts
    if "shm_mb" in data["resources"]:
        container["shm_size"] = f"{data['resources']['shm_mb']}m"
    project: dict[str, t.Any] = {"name": project_of(service), "services": {service: container}}
    if networks:
        project["networks"] = {network: {"external": True, "name": network} for network in networks}
    volumes = named_volumes(site, service)
    if volumes:
        project["volumes"] = {name: {"name": real} for name, real in volumes.items()}
    return project


def named_volumes(site: Site, service: str) -> dict[str, str]:
    """Return the volumes of the engine that a service has, each with its name there."""
    return {
        volume["name"]: volume_name(service, volume["name"])
        for volume in site.services[service]["volumes"]
        if not {"source", "storage", "backup_target"} & set(volume)
    }


def encrypted_volume(site: Site, service: str, host: str) -> _encryption.Encrypted | None:
    """Return the encrypted volume of *host* that holds the named volumes of *service*, None if none does."""
    if not site.settings.encryption or not named_volumes(site, service):
        return None
    return _encryption.volume_for(site.settings.encryption, host, site.services[service]["tier"])


def encrypted_volumes(site: Site, host: str) -> list[dict[str, t.Any]]:
    """Return the encrypted volumes of *host* as the role takes them, with the volumes of services that lie on each."""
    result = []
    for volume in site.settings.encryption:
        if host not in volume.machines:
            continue
        texts = ("device", "directory", "wipe", "key_machine")
        entry: dict[str, t.Any] = {"name": volume.name, "path": volume.path}
        entry |= {key: getattr(volume, key) for key in texts if getattr(volume, key)}
        entry |= {"method": volume.method, "unlock": volume.unlock}
        bound = [
            {"name": real, "directory": f"{service}/{name}"}
            for service in services_on(site, host, volume.tiers)
            for name, real in named_volumes(site, service).items()
        ]
        result.append(entry | ({"volumes": bound} if bound else {}))
    return result


def volume_name(service: str, name: str) -> str:
    """Return the name of a volume in the engine."""
    return f"pantheon_{service}_{name}"


def _labels(data: dict[str, t.Any]) -> dict[str, str]:
    labels = {"ai.pantheon.service": data["name"], "ai.pantheon.tier": data["tier"]}
    stand_in = data.get("stand_in", {"kind": "real"})
    if stand_in["kind"] != "real":
        labels["ai.pantheon.stand-in"] = escape(stand_in["text"])
    return labels


def storage_paths(site: Site, service: str) -> list[str]:
    """Return where the machine has to have mounted the NAS before *service* may start."""
    shares = {share.name: share.path for share in site.settings.storage}
    wanted = [volume["storage"] for volume in site.services[service]["volumes"] if "storage" in volume]
    unknown = [name for name in wanted if name not in shares]
    if unknown:
        raise ReferenceFault(f"there is no {unknown[0]} in pantheon_storage; known are {', '.join(sorted(shares))}")
    return sorted({shares[name] for name in wanted})


def _volume_mounts(site: Site, data: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    shares = {share.name: share.path for share in site.settings.storage}
    mounts = []
    for volume in data["volumes"]:
        if "backup_target" in volume:
            target = backup_target(site)
            if target:
                # Nothing is asked of the NAS when the container starts, and what is mounted later is seen (rslave).
                bind = {"propagation": "rslave", "create_host_path": True}
                place = escape(target.bound)
                mounts.append({"type": "bind", "source": place, "target": place, "bind": bind})
            continue
        mount: dict[str, t.Any] = {"type": "volume", "source": volume["name"], "target": volume["path"]}
        if "source" in volume:
            mount |= {"type": "bind", "source": escape(volume["source"])}
        elif "storage" in volume:
            # rslave: what the machine mounts anew after the NAS was away, the container sees too.
            bind = {"propagation": "rslave", "create_host_path": False}
            mount |= {"type": "bind", "source": escape(shares.get(volume["storage"], "")), "bind": bind}
        if volume["read_only"]:
            mount["read_only"] = True
        mounts.append(mount)
    return mounts


def _file_mounts(data: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    # create_host_path false: a missing file must be an error, not an empty directory in its place.
    return [
        {
            "type": "bind",
            "source": f"./files{entry['path']}",
            "target": entry["path"],
            "read_only": True,
            "bind": {"create_host_path": False},
        }
        for entry in data["files"]
    ]


def to_override(site: Site, service: str, host: str) -> dict[str, t.Any]:
    """Return what *host* adds to the base: names on the networks, published ports, memory limit, GPU."""
    data = site.services[service]
    machine = site.machines[host]
    resources = data["resources"]
    container: dict[str, t.Any] = {"labels": {"ai.pantheon.config": CONFIG_HASH}}
    networks = networks_of(site, service)
    if networks:
        container["networks"] = {
            network: {
                "aliases": [service, f"{service}-{host}"],
                "ipv4_address": container_addresses(site, network)[(service, host)],
            }
            for network in networks
        }
    if resources["limit_memory"]:
        container["mem_limit"] = f"{resources['memory_mb']}m"
    if "cpus" in resources:
        container["cpus"] = resources["cpus"]
    ports = [_port(site, host, endpoint) for _name, endpoint in published(site, service)]
    if ports:
        container["ports"] = ports
    shown: dict[str, t.Any] = {}
    if data["placement"]["gpu"] != "none" and machine.gpu != "none":
        options = machine.gpu_options
        try:
            block = _gpu.device_block(machine.gpu_facts, options.devices, igpu=options.igpu)
        except _gpu.GpuError as error:
            remedy = "name GPUs that the machine has"
            fault = Problem(host, "pantheon_gpu_devices", list(options.devices), remedy, str(error))
            raise SiteError([fault]) from None
        if site.settings.gpu_attach:
            container |= block
        else:
            # Cards that are only played back cannot be handed to a container; a person still sees what would be.
            shown = {"x-pantheon-gpu": block}
        image = image_of(site, service, machine.gpu)
        if image != image_of(site, service):
            container["image"] = escape(image)
    bound = _encryption.bound_volumes(encrypted_volume(site, service, host), service, named_volumes(site, service))
    return {"services": {service: container}, **shown, **({"volumes": bound} if bound else {})}


def published(site: Site, service: str) -> list[tuple[str, dict[str, t.Any]]]:
    """Return the endpoints that are published on the machine; what uses its network listens there by itself.

    On overlay networks these are what people or the machine itself reach (public, node); on host networks all of them.
    """
    endpoints = sorted(site.services[service]["endpoints"].items())
    if on_machine(site, service):
        return []
    if site.settings.network == "host":
        return endpoints
    return [(name, endpoint) for name, endpoint in endpoints if endpoint["scope"] in ("public", "node")]


def listening(site: Site, service: str) -> list[tuple[str, dict[str, t.Any]]]:
    """Return the endpoints that take a port of the machine: published ones, and all of what uses its network."""
    if on_machine(site, service):
        return sorted(site.services[service]["endpoints"].items())
    return published(site, service)


def _port(site: Site, host: str, endpoint: dict[str, t.Any]) -> dict[str, t.Any]:
    address = "127.0.0.1" if endpoint["scope"] == "node" else site.machines[host].address
    port: dict[str, t.Any] = {
        "target": endpoint["port"],
        "published": str(published_port(endpoint)),
        "protocol": "udp" if endpoint["protocol"] == "udp" else "tcp",
        "mode": "host",
    }
    # A machine known by name only cannot be bound to: the port is then published on all of its addresses.
    if is_ip(address):
        port["host_ip"] = address
    return port


def to_env(site: Site, service: str, host: str) -> dict[str, str]:
    """Return environment and secrets (as placeholders) of *service* on *host*."""
    data = site.services[service]
    values = {name: resolve(site, service, text, host) for name, text in data["environment"].items()}
    machine = site.machines[host]
    if data["placement"]["gpu"] != "none" and machine.gpu != "none":
        options = machine.gpu_options
        values |= _gpu.environment(machine.gpu_facts, hsa_override=options.hsa_override, igpu=options.igpu)
    for secret in data["secrets"]:
        if "env" in secret:
            values[secret["env"]] = SECRET_PLACEHOLDER.format(secret["name"])
    return values


def dump_env(values: t.Mapping[str, str]) -> str:
    """Return the text of a .env file that docker compose reads back as exactly *values*."""
    lines = ["# Managed by Pantheon: changes here are overwritten."]
    lines += [f"{name}={quote_env(value)}" for name, value in sorted(values.items())]
    return "\n".join(lines) + "\n"


def quote_env(value: str) -> str:
    r"""Return *value* quoted for compose's .env parser.

    Three forms, the first that is safe: bare; single quotes, where nothing is special; double quotes with ``\``,
    ``"``, ``$`` and line breaks escaped, for values that hold a single quote, a backslash or a line break.
    """
    if _BARE.fullmatch(value):
        return value
    if not any(char in value for char in "'\\\n\r"):
        return f"'{value}'"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
