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
from ansible_collections.pantheon.ai.plugins.plugin_utils._postgresql import (
    ACCOUNTS,
    POOL_SERVICE,
    POOLER_USER,
    POSTGRESQL_SERVICE,
    REST_PORT,
    SCOPE,
    postgresql_dynamic,
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


def wanted_databases(site: Site, host: str, service: str = POSTGRESQL_SERVICE) -> list[dict[str, t.Any]] | None:
    """Return the databases that services ask of a server, None if it does not run on the machine.

    Every member of its cluster is asked for them: who leads is only known there.
    """
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


POOLER_SECRET = "postgresql_pooler_password"


def wanted_pooler(site: Site, service: str = POSTGRESQL_SERVICE) -> dict[str, t.Any] | None:
    """Return the role with which the pools look up passwords, None without any pool."""
    if service != POSTGRESQL_SERVICE or POOL_SERVICE not in site.services or not placed(site, POOL_SERVICE):
        return None
    return {"user": POOLER_USER}


def with_pooler_password(
    pooler: dict[str, t.Any], values: t.Mapping[str, str], inventory: str, stand_in: str | None = None
) -> dict[str, t.Any]:
    """Return the role of the pools with its password; as :func:`with_passwords`."""
    if pooler.get("password"):
        return pooler
    if POOLER_SECRET not in values and stand_in is None:
        raise SecretsError(
            f"{inventory}/secrets.yml: {POOLER_SECRET}: there is no such secret, and the pools of PostgreSQL need it. "
            "Run playbooks/preflight.yml, which makes it."
        )
    return {**pooler, "password": values.get(POOLER_SECRET, stand_in)}


def wanted_accounts(site: Site, service: str = POSTGRESQL_SERVICE) -> list[dict[str, t.Any]]:
    """Return the roles with which the members of the cluster sign in to each other, with their secrets."""
    if service != POSTGRESQL_SERVICE or service not in site.services or not placed(site, service):
        return []
    return [{"user": user, "secret": secret} for user, secret in ACCOUNTS.items()]


def with_account_passwords(
    accounts: t.Iterable[dict[str, t.Any]], values: t.Mapping[str, str], inventory: str, stand_in: str | None = None
) -> list[dict[str, t.Any]]:
    """Return the accounts with the passwords that their secrets name; as :func:`with_passwords`."""
    complete = []
    for entry in accounts:
        name = str(entry.get("secret") or "")
        if not entry.get("password") and name:
            if name not in values and stand_in is None:
                raise SecretsError(
                    f"{inventory}/secrets.yml: {name}: there is no such secret, and PostgreSQL's role {entry['user']} needs it. "
                    "Run playbooks/preflight.yml, which makes it."
                )
            entry = {**entry, "password": values.get(name, stand_in)}
        complete.append(entry)
    return complete


def leader_was_in_order(variables: t.Mapping[str, t.Any], machines: t.Iterable[str], key: t.Mapping[str, str]) -> bool:
    """Say whether the leader, one of the machines, was seen to hold the databases that *key* asks for.

    That a standby had nothing to do says nothing once it is the leader itself.
    """
    hostvars = variables.get("hostvars") or {}
    seen = (answer(looks_of(hostvars[host]), "postgresql_databases", key) for host in machines if host in hostvars)
    return any(result is not None and result.get("role") == "primary" for result in seen)


# --- the cluster of PostgreSQL --------------------------------------------------------------------------------------


def cluster_parameters(site: Site, service: str = POSTGRESQL_SERVICE) -> dict[str, t.Any] | None:
    """Return what postgresql_cluster is asked on a machine of the cluster, None if there is none."""
    machines = placed(site, service) if service in site.services else []
    if not machines:
        return None
    members = {}
    for name in machines:
        address = site.machines[name].address
        members[name] = f"https://{f'[{address}]' if ':' in address else address}:{REST_PORT}"
    folder = f"{site.settings.root}/{service}/files/etc/patroni/tls"
    return {
        "scope": SCOPE,
        "members": members,
        "tls": {"ca": f"{folder}/ca.crt", "cert": f"{folder}/server.crt", "key": f"{folder}/server.key"},
        "dynamic": postgresql_dynamic(site),
    }


def cluster_key(parameters: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Return the key of what postgresql_cluster is asked. How long it waits and what may be missing is no part of it."""
    return {"cluster": key_of({name: value for name, value in parameters.items() if name not in ("wait", "tolerate")})}


def cluster_seen(
    variables: t.Mapping[str, t.Any], members: t.Iterable[str], key: t.Mapping[str, str]
) -> dict[str, t.Any] | None:
    """Return what a look ahead saw of the cluster if it was in order for every member, and nothing was done since."""
    hostvars = variables.get("hostvars") or {}
    result = None
    for host in members:
        result = answer(looks_of(hostvars[host]), "postgresql_cluster", key) if host in hostvars else None
        if result is None:
            return None
    return result


def cluster_to_do(site: Site, variables: t.Mapping[str, t.Any]) -> list[str]:
    """Return the machines of the cluster if it may need something, none if it was seen in order in this run.

    Where this is asked for the hosts of a play, variables of the inventory are not known, so that what was asked cannot be
    worked out again. Nothing of it changes within a run, and the action compares it.
    """
    machines = placed(site, POSTGRESQL_SERVICE) if POSTGRESQL_SERVICE in site.services else []
    return [] if machines and cluster_seen(variables, machines, {}) is not None else machines
