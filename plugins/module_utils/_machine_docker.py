# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known about the Docker engine of a machine, and which packages it needs.

Private to the collection. :func:`choose_engine` is a pure function; :func:`engine_facts` and :func:`swarm_facts` read
the engine through its socket, because starting the command line client costs ten times as much.
"""

from __future__ import annotations

import base64
import hashlib
import json
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import DockerApi, DockerError

UPSTREAM_URL = "https://download.docker.com/linux"
#: Docker's release keys: one for Debian and Ubuntu since 2017.
UPSTREAM_FINGERPRINT = "9DC858229FC7DD38854AE2D88D81803C0EBFCD88"
KEYRING = "/etc/apt/keyrings/docker.asc"
SOURCES = "/etc/apt/sources.list.d/docker.sources"

#: Where the docker client looks for its plugins.
PLUGIN_PATHS = (
    "/usr/local/lib/docker/cli-plugins/docker-compose",
    "/usr/local/libexec/docker/cli-plugins/docker-compose",
    "/usr/lib/docker/cli-plugins/docker-compose",
    "/usr/libexec/docker/cli-plugins/docker-compose",
    "/root/.docker/cli-plugins/docker-compose",
)
ENGINE_PATHS = ("/usr/bin/dockerd", "/usr/sbin/dockerd", "/usr/local/bin/dockerd", "/snap/bin/docker")
#: Package of the engine -> where it comes from.
ENGINE_PACKAGES = {"docker-ce": "upstream", "moby-engine": "other", "docker.io": "distribution"}
COMPOSE_PACKAGES = ("docker-compose-plugin", "docker-compose-v2", "docker-compose")

#: (distribution, release) -> packages of the distribution itself; None: it carries no compose v2.
DISTRIBUTION: dict[tuple[str, str], t.Optional[dict[str, list[str]]]] = {
    ("debian", "12"): None,
    ("debian", "13"): {"engine": ["docker.io", "docker-cli"], "compose": ["docker-compose"]},
    ("ubuntu", "22.04"): {"engine": ["docker.io"], "compose": ["docker-compose-v2"]},
    ("ubuntu", "24.04"): {"engine": ["docker.io"], "compose": ["docker-compose-v2"]},
}
UPSTREAM_ENGINE = ["docker-ce", "docker-ce-cli", "containerd.io"]
UPSTREAM_COMPOSE = ["docker-compose-plugin"]


class MachineError(Exception):
    """Something a person has to decide or repair; ``remedy`` says what to do."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.remedy = remedy


class Engine(t.NamedTuple):
    """The engine found on a machine; ``origin`` is distribution, upstream, other or none."""

    origin: str
    compose: bool


class Choice(t.NamedTuple):
    """What to install so that the machine has an engine and compose v2."""

    source: str  #: existing, distribution or upstream
    packages: list[str]
    repository: bool  #: whether Docker's own package repository is needed
    reason: str


def choose_engine(os_id: str, os_version: str, engine: Engine, source: str = "auto") -> Choice:
    """Decide which packages bring the engine and compose v2; never replaces an engine that is there."""
    key = (os_id, os_version)
    if key not in DISTRIBUTION:
        if engine.origin != "none" and engine.compose and source in ("auto", "existing"):
            return Choice("existing", [], False, "an engine with compose v2 is there")
        known = ", ".join("%s %s" % pair for pair in DISTRIBUTION)
        raise MachineError(
            "%s %s is not one of the systems that Docker can be installed on (%s)" % (os_id, os_version, known),
            "Install Docker Engine and compose v2 by hand and set docker_source: existing.",
        )
    packages = DISTRIBUTION[key]
    there = engine.origin != "none"

    if source == "existing":
        if there and engine.compose:
            return Choice("existing", [], False, "an engine with compose v2 is there")
        missing = "compose v2 (the plugin docker-compose)" if there else "Docker Engine"
        raise MachineError(
            "docker_source is existing, but the machine has no %s" % missing,
            "Install it, or set docker_source: auto.",
        )

    if source == "auto":
        if there and engine.compose:
            return Choice("existing", [], False, "an engine with compose v2 is there")
        if engine.origin == "distribution" and packages is not None:
            return Choice("distribution", list(packages["compose"]), False, "the engine is there, compose v2 is not")
        if there:
            return Choice("upstream", list(UPSTREAM_COMPOSE), True, "the engine is there, compose v2 is not")
        source = "distribution" if packages is not None else "upstream"

    if source == "distribution":
        if packages is None:
            raise MachineError(
                "docker_source is distribution, but %s %s carries no compose v2" % key,
                "Set docker_source: auto or upstream.",
            )
        if engine.origin in ("upstream", "other"):
            raise MachineError(
                "docker_source is distribution, but the machine has an engine of another origin (%s)" % engine.origin,
                "Set docker_source: auto to keep it, or remove it first.",
            )
        return Choice("distribution", packages["engine"] + packages["compose"], False, "packages of the distribution")

    if engine.origin in ("distribution", "other"):
        raise MachineError(
            "docker_source is upstream, but the machine has an engine of another origin (%s)" % engine.origin,
            "Set docker_source: auto to keep it, or remove it first.",
        )
    return Choice("upstream", UPSTREAM_ENGINE + UPSTREAM_COMPOSE, True, "packages of download.docker.com")


def repository_file(os_id: str, codename: str, architecture: str, url: str = UPSTREAM_URL) -> str:
    """Return the deb822 source of Docker's own packages."""
    return (
        "# Managed by Ansible (pantheon.ai): Docker's own packages.\n"
        "Types: deb\n"
        "URIs: %s/%s\n"
        "Suites: %s\n"
        "Components: stable\n"
        "Architectures: %s\n"
        "Signed-By: %s\n" % (url.rstrip("/"), os_id, codename, architecture, KEYRING)
    )


def fingerprints(armored: str) -> list[str]:
    """Return the fingerprints of the version 4 primary keys in an ASCII-armored OpenPGP key."""
    lines = [line.strip() for line in armored.strip().splitlines()]
    try:
        start = lines.index("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        end = lines.index("-----END PGP PUBLIC KEY BLOCK-----")
        body = lines[lines.index("", start) + 1 : end]
        data = base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
    except ValueError:
        return []
    found, position = [], 0
    while position < len(data):
        tag, position, length = _packet(data, position)
        if length is None:
            break
        packet = data[position : position + length]
        position += length
        if tag == 6 and packet[:1] == b"\x04":
            framed = b"\x99" + len(packet).to_bytes(2, "big") + packet
            # SHA-1 by definition of the version 4 fingerprint; the length prefix leaves no room to collide.
            found.append(hashlib.sha1(framed).hexdigest().upper())
    return found


def _packet(data: bytes, position: int) -> tuple[int, int, t.Optional[int]]:
    """Return tag, start of the body and its length of the OpenPGP packet at a position."""
    head = data[position]
    position += 1
    if head & 0x40:  # new format
        first = data[position]
        if first < 192:
            return head & 0x3F, position + 1, first
        if first < 224:
            return head & 0x3F, position + 2, ((first - 192) << 8) + data[position + 1] + 192
        if first == 255:
            return head & 0x3F, position + 5, int.from_bytes(data[position + 1 : position + 5], "big")
        return head & 0x3F, position + 1, None
    size = (1, 2, 4, 0)[head & 3]
    if not size:
        return (head >> 2) & 0xF, position, len(data) - position
    return (head >> 2) & 0xF, position + size, int.from_bytes(data[position : position + size], "big")


class EngineUnavailable(Exception):
    """The engine does not answer, or answers with an error."""


class EngineClient:
    """Read-only questions to the engine."""

    def __init__(self, api: t.Optional[DockerApi] = None) -> None:
        self._api = api or DockerApi(timeout=10)

    def get(self, path: str, filters: t.Optional[dict[str, list[str]]] = None) -> t.Any:
        """Return the decoded answer; raises :class:`EngineUnavailable`."""
        query: dict[str, t.Any] = {"filters": json.dumps(filters)} if filters else {}
        try:
            return json.loads(self._api.call("GET", path, None, **query))
        except (DockerError, ValueError) as error:
            raise EngineUnavailable("%s: %s" % (path, error)) from error


class Api(t.Protocol):
    """What is asked of an engine; tests pass a fake."""

    def get(self, path: str, filters: t.Optional[dict[str, list[str]]] = None) -> t.Any:
        """Return the decoded answer."""


def engine_facts(api: Api) -> dict[str, t.Any]:
    """Return version and swarm membership of the running engine, or running: false."""
    try:
        info = api.get("/info")
    except EngineUnavailable as error:
        return {"running": False, "version": "", "swarm": no_swarm(), "error": str(error)}
    swarm = info.get("Swarm") or {}
    found = no_swarm()
    found.update(
        state=swarm.get("LocalNodeState") or "inactive",
        node_id=swarm.get("NodeID") or "",
        address=swarm.get("NodeAddr") or "",
        is_manager=bool(swarm.get("ControlAvailable")),
        cluster_id=(swarm.get("Cluster") or {}).get("ID") or "",
        managers=sorted(peer["Addr"] for peer in swarm.get("RemoteManagers") or []),
        error=swarm.get("Error") or "",
    )
    return {"running": True, "version": info.get("ServerVersion") or "", "swarm": found, "error": ""}


def no_swarm() -> dict[str, t.Any]:
    """Return the facts of an engine outside a swarm."""
    return {
        "state": "inactive",
        "node_id": "",
        "address": "",
        "is_manager": False,
        "has_quorum": False,
        "cluster_id": "",
        "managers": [],
        "nodes": [],
        "services": {},
        "error": "",
    }


def swarm_facts(
    api: Api, swarm: dict[str, t.Any], services: t.Optional[t.Sequence[str]]
) -> dict[str, dict[str, t.Any]]:
    """Add nodes and services to the facts of a manager, and return the overlay networks by name."""
    if swarm["state"] not in ("active", "locked"):
        return {}
    networks = {
        network["Name"]: {
            "id": network["Id"],
            "subnet": _pool(network).get("Subnet", ""),
            "range": _pool(network).get("IPRange", ""),
            "encrypted": "encrypted" in (network.get("Options") or {}),
            "attachable": bool(network.get("Attachable")),
            "addresses": _addresses(api, network["Id"]),
        }
        for network in api.get("/networks", {"driver": ["overlay"]})
        if not network.get("Ingress")
    }
    if not swarm["is_manager"]:
        return networks
    try:
        swarm["nodes"] = sorted(
            (_node(node) for node in api.get("/nodes")), key=lambda node: (node["name"], node["id"])
        )
        if services is None or services:
            names = {network["id"]: name for name, network in networks.items()}
            swarm["services"] = {
                service["Spec"]["Name"]: _service(service, names)
                for service in api.get("/services", {"name": list(services)} if services else None)
                if services is None or service["Spec"]["Name"] in services
            }
        swarm["has_quorum"] = True
    except EngineUnavailable as error:
        # A manager without a majority answers questions about itself only.
        swarm["error"] = swarm["error"] or str(error)
    return networks


def _pool(network: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the first pool of addresses of a network."""
    return next(iter((network.get("IPAM") or {}).get("Config") or []), {})


def _addresses(api: Api, network_id: str) -> dict[str, str]:
    """Return the addresses that this machine uses on a network, by name of the container or the machine's own end."""
    try:
        ends = (api.get("/networks/" + network_id).get("Containers") or {}).values()
    except EngineUnavailable:
        return {}  # gone since the list was made, or known to the swarm only, which has no majority
    return {end["Name"]: end["IPv4Address"].split("/")[0] for end in ends if end.get("IPv4Address")}


def _node(node: dict[str, t.Any]) -> dict[str, t.Any]:
    manager = node.get("ManagerStatus") or {}
    return {
        "id": node["ID"],
        "name": (node.get("Description") or {}).get("Hostname", ""),
        "status": (node.get("Status") or {}).get("State", "unknown"),
        "availability": (node.get("Spec") or {}).get("Availability", ""),
        "role": (node.get("Spec") or {}).get("Role", "worker"),
        "leader": bool(manager.get("Leader")),
        "reachability": manager.get("Reachability", ""),
    }


def _service(service: dict[str, t.Any], names: dict[str, str]) -> dict[str, t.Any]:
    template = service["Spec"].get("TaskTemplate") or {}
    targets = [network["Target"] for network in template.get("Networks") or service["Spec"].get("Networks") or []]
    return {
        "image": (template.get("ContainerSpec") or {}).get("Image", ""),
        "networks": sorted(names.get(target, target) for target in targets),
        "mode": "global" if "Global" in (service["Spec"].get("Mode") or {}) else "replicated",
    }
