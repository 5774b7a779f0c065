# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of a machine are called with, and what a look ahead already knows (private to this collection).

`machine_state` may look at stacks, databases and models in the one start of Python that it costs anyway. A later action
that comes to the same parameters answers from that look; see the option look_ahead of the module.
"""

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    SECRET_PATTERN,
    models_of,
    placed,
    services_on,
    to_databases,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import COLLECTION, Site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import Stack

CONFIG_HASH = "@@config-hash@@"
SOCKET = "/var/run/docker.sock"

RESULTS = ("stacks_result", "docker_result")
"""Where the roles keep what they saw, the latest first. A result without looks ends the use of earlier ones."""


class Look(t.TypedDict):
    """One module that found nothing to do.

    ``keys`` are hashes of what it was asked, by stack for compose_stack; ``result`` is what it returned.
    """

    module: str
    keys: dict[str, str]
    result: dict[str, t.Any]


def key_of(value: t.Any) -> str:
    """Return a hash of parameters: equal for equal ones, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def looks_of(variables: t.Mapping[str, t.Any]) -> list[Look]:
    """Return what has been seen of the machine of these variables in this run, nothing if something changed since."""
    for name in RESULTS:
        result = variables.get(name)
        if isinstance(result, t.Mapping):
            return [t.cast(Look, look) for look in result.get("looks") or ()]
    return []


def answer(looks: t.Iterable[Look], module: str, keys: t.Mapping[str, str]) -> dict[str, t.Any] | None:
    """Return the result of a look at the same parameters, None without one. Fewer stacks than were looked at are fine."""
    for look in looks:
        if look["module"] == module and all(look["keys"].get(name) == key for name, key in keys.items()):
            return dict(look["result"])
    return None


# --- stacks ---------------------------------------------------------------------------------------------------------


def config_hash(stack: Stack, secrets: t.Mapping[str, str]) -> str:
    """Return the hash of everything that a stack's containers are made from, values of secrets included.

    The placeholder of the hash itself stays as it is in the text that is hashed.
    """
    digest = hashlib.sha256()
    for file in sorted(stack["files"], key=lambda item: item["path"]):
        content = SECRET_PATTERN.sub(lambda found: secrets[found.group(1)], file["content"])
        for part in (file["path"], file["mode"], str(file["uid"]), str(file["gid"]), content):
            data = part.encode()
            digest.update(len(data).to_bytes(8, "big") + data)  # lengths, so that two fields cannot change places
    return digest.hexdigest()


def missing_secrets(stacks: t.Iterable[Stack], secrets: t.Mapping[str, str]) -> dict[str, list[str]]:
    """Return the names of secrets without a value, each with the stacks that need it."""
    missing: dict[str, list[str]] = {}
    for stack in stacks:
        for name in stack["secret_names"]:
            if name not in secrets:
                missing.setdefault(name, []).append(stack["name"])
    return missing


def prepare(stack: Stack, secrets: t.Mapping[str, str], site: Site) -> dict[str, t.Any]:
    """Return a stack as the module takes it: with its hash, and with what it requires of the same machine."""
    config = config_hash(stack, secrets)
    return {
        "name": stack["name"],
        "tier": stack["tier"],
        "project": stack["project"],
        "networks": stack["networks"],
        "images": stack["images"],
        "services": stack["services"],
        "storage": stack["storage"],
        "requires": list(site.services[stack["name"]].get("requires") or []),
        "config": config,
        "files": [{**file, "content": file["content"].replace(CONFIG_HASH, config)} for file in stack["files"]],
    }


def stack_parameters(
    site: Site, host: str, stacks: t.Iterable[Stack], secrets: t.Mapping[str, str], **more: t.Any
) -> dict[str, t.Any]:
    """Return the parameters of compose_stack for these stacks, which have to have all their secrets."""
    wanted = list(stacks)
    needed = {name for stack in wanted for name in stack["secret_names"]}
    return {
        **more,
        "root": site.settings.root,
        "machine": host,
        "stacks": [prepare(stack, secrets, site) for stack in wanted],
        "secrets": {name: secrets[name] for name in sorted(needed)},
        "keep": services_on(site, host),
    }


def stack_keys(parameters: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return a key for each stack of the parameters. The hash of its configuration covers the secrets."""
    place = {name: parameters.get(name) for name in ("root", "machine", "keep")}
    return {
        stack["name"]: key_of([place, parameters.get("docker_socket") or SOCKET, stack])
        for stack in parameters["stacks"]
    }


# --- storage --------------------------------------------------------------------------------------------------------

CLIENT_LIBRARY = "/usr/local/lib/pantheon/pantheon_nfs_fuse"
CLIENT_HELPER = "/usr/sbin/mount.fuse.pantheon-nfs"
STORAGE_DEFAULTS: dict[str, t.Any] = {"backend": "auto", "readahead_kib": 16384, "mount_timeout": 30}
"""What the role storage passes besides the mounts, unless the owner sets storage_<name>."""


def client_digests() -> dict[str, str]:
    """Return where the role storage installs the files of its NFS client, and their SHA-256."""
    folder = COLLECTION / "roles" / "storage" / "files"
    files = {CLIENT_HELPER: folder / "mount.fuse.pantheon-nfs"}
    files |= {f"{CLIENT_LIBRARY}/{path.name}": path for path in sorted((folder / "pantheon_nfs_fuse").glob("*.py"))}
    return {place: hashlib.sha256(path.read_bytes()).hexdigest() for place, path in files.items()}


def storage_key(parameters: t.Mapping[str, t.Any]) -> str:
    """Return the key of what storage_mounts is asked; how long it waits matters only where something is to be done."""
    asked = {name: parameters.get(name, default) for name, default in STORAGE_DEFAULTS.items()}
    return key_of([asked, parameters["mounts"], client_digests()])


# --- models and databases -------------------------------------------------------------------------------------------


def wanted_models(site: Site, host: str) -> list[str]:
    """Return the names of the models that the inventory places on the machine."""
    return [model["name"] for model in models_of(site) if host in model["machines"]]


def wanted_databases(site: Site, host: str, service: str = "postgresql") -> list[dict[str, t.Any]] | None:
    """Return the databases that services ask of a server, None if it does not run on the machine."""
    if service not in site.services or host not in placed(site, service):
        return None
    return to_databases(site, service)


def with_passwords(
    databases: t.Iterable[dict[str, t.Any]], values: t.Mapping[str, str], inventory: str, stand_in: str | None = None
) -> list[dict[str, t.Any]]:
    """Return the databases with the passwords that their secrets name.

    *stand_in* takes the place of a secret that is not there; without it, :class:`SecretsError` is raised.
    """
    complete = []
    for entry in databases:
        if not entry.get("password") and entry.get("secret"):
            name = str(entry["secret"])
            if name not in values and stand_in is None:
                raise SecretsError(
                    f"{inventory}/secrets.yml: {name}: there is no such secret, and database {entry['name']} needs it. "
                    "Run playbooks/preflight.yml, which makes it."
                )
            entry = {**entry, "password": values.get(name, stand_in)}
        complete.append(entry)
    return complete
