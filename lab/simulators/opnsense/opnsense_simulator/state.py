# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration of the simulated box: what config.xml and its backups are on a real one."""

from __future__ import annotations

import copy
import json
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import php, schemas
from .model import Array, Container, Model, Row
from .releases import Release

KEPT_REVISIONS = 100
ALL_PRIVILEGES = "page-all"
READ_ONLY = "user-config-readonly"
LEASE_SOURCES = ("dnsmasq", "kea", "isc", "arp", "hostdiscovery")


class ConfigError(ValueError):
    """A configuration file or a seed that cannot be used."""


@dataclass(frozen=True)
class User:
    """An API key with its secret and what it may do."""

    name: str
    key: str
    secret: str
    privileges: tuple[str, ...]


@dataclass
class Revision:
    """One backup of the configuration. The rules are kept because a savepoint can be reverted to."""

    time: str
    user: str
    description: str
    filter: Row | None = None

    def public(self) -> dict[str, str]:
        """What the control interface shows."""
        return {"time": self.time, "user": self.user, "description": self.description}


@dataclass
class Content:
    """Everything that is stored."""

    system: dict[str, str] = field(default_factory=dict)
    interfaces: dict[str, dict[str, str]] = field(default_factory=dict)
    gateways: dict[str, str] = field(default_factory=dict)
    categories: dict[str, dict[str, str]] = field(default_factory=dict)
    models: dict[str, Row] = field(default_factory=dict)
    leases: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def _defaults(release: Release) -> Content:
    """A box after its first start."""
    models: dict[str, Row] = {name: {} for name in schemas.MODELS}
    models["unbound"] = {"general": {"enabled": "1"}}
    if release.at_least_25_7:
        models["dnsmasq"] = {"enable": "1", "port": "53053", "interface": "lan"}
    return Content(
        system={"hostname": "OPNsense", "domain": "internal"},
        interfaces={
            "lan": {"if": "vtnet0", "descr": "LAN", "ipaddr": "192.168.1.1", "subnet": "24"},
            "wan": {"if": "vtnet1", "descr": "WAN", "ipaddr": "dhcp", "subnet": ""},
        },
        gateways={"WAN_DHCP": "WAN_DHCP - inet", "WAN_DHCP6": "WAN_DHCP6 - inet6"},
        models=models,
        leases={source: [] for source in LEASE_SOURCES},
        options={"alias_export_built_ins": False},
    )


class Store:
    """The configuration with its lock, its revisions and its file."""

    def __init__(
        self, release: Release, folder: Path, config: Mapping[str, Any], lan_address: str | None = None
    ) -> None:
        self.release = release
        self.folder = folder
        self.lock = threading.RLock()  # the flock on config.xml
        self.users = _users(config)
        self.content = _defaults(release)
        self.revisions: list[Revision] = []
        self.revision_count = 0
        self._config = config
        self._lan_address = lan_address
        self.file = folder / "config.json"
        if self.file.is_file():
            self._read()
        else:
            self.seed(config)
            self.write()
        self._set_lan_address()

    # What fields ask (the protocol World)

    def alias_names(self, ports: bool = False) -> set[str]:
        """The names of firewall aliases; with `ports` only those of ports."""
        rows = self.content.models["alias"].get("aliases", {}).get("alias", {}).values()
        if ports:
            return {row["name"] for row in rows if row["type"] == "port"}
        return {row["name"] for row in rows} | set(schemas.built_in_aliases(self))

    def interface_options(self) -> Mapping[str, str]:
        """The interfaces with their descriptions, sorted as people would."""
        labels = {key: value.get("descr") or key.upper() for key, value in self.content.interfaces.items()}
        return dict(sorted(labels.items(), key=lambda item: php.natural_key(item[1])))

    def network_options(self) -> Mapping[str, str]:
        """What a rule may name as source or destination."""
        result = {"any": "any", "(self)": "This Firewall"}
        for key, label in self.interface_options().items():
            result[key] = f"{label} net"
            result[f"{key}ip"] = f"{label} address"
        ports = self.alias_names(ports=True)
        result.update({name: name for name in sorted(self.alias_names()) if name not in ports})
        return result

    def categories(self) -> Mapping[str, str]:
        """The firewall categories by uuid."""
        return {key: row["name"] for key, row in self.content.categories.items()}

    def gateways(self) -> Mapping[str, str]:
        """The gateways by name."""
        return self.content.gateways

    # Models

    def model(self, name: str) -> Model:
        """A working copy of a model."""
        return schemas.load(name, self.content.models[name], self)

    def save(self, model: Model | None, user: str, description: str) -> Revision:
        """Store a model, or nothing but a new revision (a savepoint)."""
        with self.lock:
            keep_rules = model is None or model.name == "filter"
            if model is not None:
                self.content.models[model.name] = model.stored()
            revision = self._revision(user, description)
            if keep_rules:
                revision.filter = self.content.models["filter"]
            self.write()
            return revision

    def _revision(self, user: str, description: str) -> Revision:
        moment = time.time()
        if self.revisions:
            moment = max(moment, float(self.revisions[-1].time) + 0.0001)
        revision = Revision(f"{moment:.4f}", user, description)
        self.revisions = [*self.revisions, revision][-KEPT_REVISIONS:]
        if self.revisions[0].filter is None:
            self.revisions[0].filter = self.content.models["filter"]
        self.revision_count += 1
        return revision

    def rules_at(self, revision: str) -> Row | None:
        """The rules as they were in a revision that is still kept."""
        found: Row | None = None
        for candidate in self.revisions:
            found = candidate.filter if candidate.filter is not None else found
            if candidate.time == revision:
                return found
        return None

    # Seeding, reading and writing

    def reset(self) -> None:
        """Back to the start: the configuration file's content, no revisions."""
        with self.lock:
            self.content = _defaults(self.release)
            self.revisions = []
            self.revision_count = 0
            self.seed(self._config)
            self._set_lan_address()
            self.write()

    def _set_lan_address(self) -> None:
        """The address of the machine that the simulator runs on, where it was told."""
        if self._lan_address:
            lan = self.content.interfaces.get("lan", {"if": "vtnet0", "descr": "LAN"})
            self.content.interfaces["lan"] = {**lan, "ipaddr": self._lan_address}

    def seed(self, config: Mapping[str, Any]) -> None:
        """Replace the parts that `config` names, without a revision."""
        with self.lock:
            known = {"users", "system", "interfaces", "gateways", "categories", "leases", "options", *schemas.MODELS}
            unknown = sorted(set(config) - known)
            if unknown:
                raise ConfigError(f"unknown parts: {', '.join(unknown)}; there are {', '.join(sorted(known))}")
            content = copy.deepcopy(self.content)
            for part in ("system", "options"):
                getattr(content, part).update(config.get(part, {}))
            for part in ("interfaces", "gateways"):
                if part in config:
                    setattr(content, part, config[part])
            if "categories" in config:
                content.categories = dict(_keyed(config["categories"]))
            for source, rows in config.get("leases", {}).items():
                if source not in LEASE_SOURCES:
                    raise ConfigError(f"unknown lease source {source!r}; there are {', '.join(LEASE_SOURCES)}")
                content.leases[source] = list(rows)
            self.content = content
            for name in schemas.MODELS:
                if name in config:
                    schema = schemas.load(name, {}, self).schema
                    merged = _merge(schema, content.models[name], config[name], name)
                    content.models[name] = schemas.load(name, merged, self).stored()
                else:
                    content.models[name] = schemas.load(name, content.models[name], self).stored()
            if "users" in config:
                self.users = _users(config)

    def dump(self) -> dict[str, Any]:
        """The whole configuration, for the control interface."""
        with self.lock:
            content = self.content
            return {
                "system": content.system,
                "interfaces": content.interfaces,
                "gateways": content.gateways,
                "categories": content.categories,
                "leases": content.leases,
                "options": content.options,
                **content.models,
                "revisions": [revision.public() for revision in self.revisions],
                "revision_count": self.revision_count,
            }

    def write(self) -> None:
        """Write everything to the file, in one step."""
        content = self.content
        document = {
            "release": self.release.name,
            "content": {name: getattr(content, name) for name in Content.__dataclass_fields__},
            "revisions": [vars(revision) for revision in self.revisions],
            "revision_count": self.revision_count,
        }
        temporary = self.file.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as stream:
            json.dump(document, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, self.file)

    def _read(self) -> None:
        document = json.loads(self.file.read_text(encoding="utf-8"))
        if document["release"] != self.release.name:
            raise ConfigError(
                f"{self.file} belongs to release {document['release']}, not to {self.release.name}: "
                "use another --state folder, or remove it"
            )
        self.content = Content(**document["content"])
        self.revisions = [Revision(**revision) for revision in document["revisions"]]
        self.revision_count = document["revision_count"]


def _users(config: Mapping[str, Any]) -> dict[str, User]:
    """The API keys, by key."""
    default = [
        {"name": "pantheon", "key": "pantheon-key", "secret": "pantheon-secret", "privileges": [ALL_PRIVILEGES]},
    ]
    users: dict[str, User] = {}
    for entry in config.get("users", default):
        try:
            user = User(entry["name"], entry["key"], entry["secret"], tuple(entry["privileges"]))
        except (KeyError, TypeError) as error:
            raise ConfigError(f"users: every user needs name, key, secret and privileges ({error})") from error
        users[user.key] = user
    return users


def _keyed(rows: Any) -> Mapping[str, Any]:
    """Records by uuid; a list gets new ones."""
    if isinstance(rows, list):
        return {str(uuid.uuid4()): row for row in rows}
    if not isinstance(rows, Mapping):
        raise ConfigError("records must be a list, or an object with uuids as keys")
    return rows


def _merge(container: Container, old: Row, new: Any, path: str) -> Row:
    """Seeded values over the present ones: arrays are replaced as a whole, other fields one by one."""
    if not isinstance(new, Mapping):
        raise ConfigError(f"{path}: must be an object")
    result = dict(old)
    for name, value in new.items():
        child = container.children.get(name)
        here = f"{path}.{name}"
        if child is None:
            raise ConfigError(f"{here}: this release has no such field")
        if isinstance(child, Array):
            result[name] = {key: _row(child, row, f"{here}.{key}") for key, row in _keyed(value).items()}
        elif isinstance(child, Container):
            result[name] = _merge(child, old.get(name) or {}, value, here)
        else:
            result[name] = php.to_string(value)
    return result


def _row(container: Container, row: Any, path: str) -> Row:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{path}: must be an object")
    unknown = sorted(set(row) - set(container.children))
    if unknown:
        raise ConfigError(f"{path}: this release has no field {', '.join(unknown)}")
    return {
        name: _row(child, row[name], f"{path}.{name}") if isinstance(child, Container) else php.to_string(row[name])
        for name, child in container.children.items()
        if name in row
    }
