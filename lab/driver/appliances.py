# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Router and NAS of the lab: simulators of their APIs, in front of a real Unbound and a real NFS-Ganesha."""

from __future__ import annotations

import hashlib
import json
import secrets
import ssl
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import engine, images, process
from .hashing import context_files, digest, hash_files
from .machines import Spec, Tick, ensure
from .process import LabError
from .settings import LABEL, PREFIX, Paths

ROLE = "appliance"
CONFIG = "/etc/simulator/config.json"
KEY_LENGTH = 64
HEALTHY_SECONDS = 90.0
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True)
class Kind:
    """A kind of appliance.

    Attributes:
        name: the group of the inventory, the folder in lab/images and the one in lab/simulators.
        what: what it is, for people.
        volumes: the volumes that outlive the container, and where they are mounted.
        certificate: where the certificate of its API lies in the container.
        capabilities: what the program behind the API needs beyond Docker's usual rights.
    """

    name: str
    what: str
    volumes: Mapping[str, str]
    certificate: str
    capabilities: tuple[str, ...] = ()


ROUTER = Kind(
    "opnsense",
    "router",
    {f"{PREFIX}-router": "/var/lib/opnsense-simulator"},
    "/var/lib/opnsense-simulator/cert.pem",
)
NAS = Kind(
    "truenas",
    "NAS",
    {f"{PREFIX}-nas": "/var/lib/truenas-simulator", f"{PREFIX}-nas-pool": "/mnt"},
    "/var/lib/truenas-simulator/cert.pem",
    # Ganesha opens files by their handles, and acts as the user who asks.
    ("DAC_READ_SEARCH", "SYS_ADMIN"),
)
KINDS = (ROUTER, NAS)


# -- credentials --------------------------------------------------------------------------------------------------


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def folder(paths: Paths) -> Path:
    """Return where keys and certificates of the appliances lie; inventories/lab names it too."""
    return paths.state / "appliances"


def router_config() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration of a new router, and the file with its key as OPNsense lets one download it."""
    key, secret = _random(KEY_LENGTH), _random(KEY_LENGTH)
    # Least rights: what docs/appliances.md tells people to tick.
    privileges = [
        "page-services-unbound", "page-services-dnsforwarder", "page-dhcp-kea-v4", "page-system-login-logout",
        "page-firewall-alias-edit", "page-filter-api",
    ]  # fmt: skip
    config = {"users": [{"name": "pantheon", "key": key, "secret": secret, "privileges": privileges}]}
    return config, {"opnsense.txt": f"key={key}\nsecret={secret}\n"}


def nas_config() -> tuple[dict[str, Any], dict[str, str]]:
    """Return the configuration of a new NAS, and the file with its key."""
    secret = _random(KEY_LENGTH)
    roles = [
        "DATASET_WRITE", "SHARING_NFS_WRITE", "SERVICE_READ", "POOL_READ", "FILESYSTEM_ATTRS_WRITE",
        "SNAPSHOT_TASK_WRITE", "REPLICATION_TASK_WRITE", "KEYCHAIN_CREDENTIAL_WRITE",
    ]  # fmt: skip
    config = {
        "users": [{"username": "pantheon", "roles": roles}],
        "api_keys": [{"id": 1, "name": "pantheon", "username": "pantheon", "key": secret}],
    }
    return config, {"truenas.key": f"1-{secret}\n"}  # as TrueNAS shows it: with its number in front


def ensure_credentials(paths: Paths, kind: Kind) -> Path:
    """Make the keys of an appliance once; return the file with its configuration."""
    config_file = folder(paths) / f"{kind.name}.json"
    if not config_file.is_file():
        config, files = router_config() if kind is ROUTER else nas_config()
        for name, content in files.items():
            process.write_atomically(folder(paths) / name, content, mode=0o600)
        # Last: a configuration without the key that fits it would be taken for complete.
        process.write_atomically(config_file, json.dumps(config, indent=1) + "\n", mode=0o600)
    return config_file


# -- image and container ------------------------------------------------------------------------------------------


def files_of(paths: Paths, kind: Kind) -> dict[str, Path]:
    """Return the build context of an appliance."""
    return context_files(paths.images / kind.name, [paths.lab / "simulators" / kind.name])


def image_of(paths: Paths, kind: Kind) -> tuple[str, str]:
    """Return the reference of an appliance's image and the hash of what it is made from."""
    content = digest(kind.name, images.base_hash(paths, "trixie"), hash_files(files_of(paths, kind)))
    return f"{PREFIX}/{kind.name}:{content}", content


def ensure_image(paths: Paths, kind: Kind, tick: Tick) -> tuple[str, str]:
    """Make the image of an appliance on this computer's engine; return its reference and what was done."""
    reference, content = image_of(paths, kind)
    if images.has_hash(reference, content):
        return reference, "kept"
    base = f"{PREFIX}/debian:trixie"
    images.build_here(paths, files_of(paths, kind), base, kind.name, content, [reference], tick)
    return reference, "built"


def spec(kind: Kind, host: str, address: str, image: str, config: Path, upstream: str | None) -> Spec:
    """Return an appliance as a container. *upstream* answers for the names that the router does not know."""
    return Spec(
        f"{PREFIX}-{host}",
        host,
        address,
        ROLE,
        image,
        (
            *(f"--cap-add={capability}" for capability in kind.capabilities),
            *(f"--volume={volume}:{place}" for volume, place in kind.volumes.items()),
            f"--volume={config}:{CONFIG}:ro",
            f"--env={kind.name.upper()}_CONFIG={CONFIG}",
            *((f"--env=UPSTREAM_DNS={upstream}",) if kind is ROUTER and upstream else ()),
        ),
    )


def ensure_volumes(kind: Kind) -> None:
    """Make the volumes with the lab's label, before a container would make them without one."""
    for name in kind.volumes:
        if not engine.inspect("volume", [name]):
            engine.tell("volume", "create", "--label", f"{LABEL}=true", name)


def raise_one(paths: Paths, kind: Kind, host: str, address: str, upstream: str | None, tick: Tick) -> str:
    """Bring an appliance into its state, wait until its API answers, and keep its certificate; return what was done."""
    reference, built = ensure_image(paths, kind, tick)
    ensure_volumes(kind)
    wanted = spec(kind, host, address, reference, ensure_credentials(paths, kind), upstream)
    found = engine.inspect("container", [wanted.name])
    action = ensure(wanted, found[0] if found else None)
    wait_until_healthy(wanted.name, tick)
    keep_certificate(paths, kind, wanted.name)
    return f"{kind.what} {host} {action}" + (f" (image {built})" if built != "kept" else "")


def wait_until_healthy(name: str, tick: Tick, timeout: float = HEALTHY_SECONDS) -> None:
    """Wait until the health check of a container succeeds."""
    deadline = time.monotonic() + timeout
    while True:
        state = engine.inspect("container", [name])[0]["State"]
        health = (state.get("Health") or {}).get("Status", "none")
        if state["Status"] == "running" and health in ("healthy", "none"):
            return
        tick(f"waiting for {name}: {state['Status']}, {health}")
        if state["Status"] in ("exited", "dead") or time.monotonic() > deadline:
            raise LabError(
                f"{name} does not answer ({state['Status']}, health {health})", f"`docker logs {name}` says why."
            )
        time.sleep(0.3)


def keep_certificate(paths: Paths, kind: Kind, name: str) -> None:
    """Copy the certificate of an appliance to where the inventory names it, and its SHA-256 beside it."""
    text = engine.tell("exec", name, "cat", kind.certificate)
    fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest()
    process.write_atomically(folder(paths) / f"{kind.name}.crt", text)
    process.write_atomically(folder(paths) / f"{kind.name}.sha256", fingerprint + "\n")
