# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the appliance remembers: users, keys, pools, datasets, shares, tasks. One file, written whole or not at all."""

from __future__ import annotations

import copy
import json
import os
import secrets
import tempfile
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FORMAT = 1
TIB = 1024**4
DEFAULT_KEY = "k" * 64
_USER = ("root", 0, 0), ("daemon", 1, 1), ("nobody", 65534, 65534), ("www-data", 33, 33), ("apps", 568, 568)
_GROUP = ("root", 0), ("daemon", 1), ("nogroup", 65534), ("www-data", 33), ("apps", 568), ("users", 100)

SERVICES = (
    *((4, "cifs"), (6, "ftp"), (7, "iscsitarget"), (9, "nfs"), (10, "snmp"), (11, "ssh"), (14, "ups"), (20, "nvmet")),
)
NFS_DEFAULT: Row = {
    "servers": None,
    "allow_nonroot": False,
    "protocols": ["NFSV3", "NFSV4"],
    "v4_krb": False,
    "v4_domain": "",
    "bindip": [],
    "mountd_port": None,
    "rpcstatd_port": None,
    "rpclockd_port": None,
    "mountd_log": True,
    "statd_lockd_log": False,
    "userd_manage_gids": False,
    "rdma": False,
}
SYSTEM_DEFAULT: Row = {
    "hostname": "truenas",
    "addresses": [],
    "cores": 4,
    "hosts": {},
    "enterprise": False,
    "assurance_level": "LEVEL_1",
    "failover_urls": [],
    "https_redirect": False,
    "loopback_is_remote": False,
    "scram_iterations": 500000,
    "product_type": "COMMUNITY_EDITION",
}
_PARTS = (
    *("system", "users", "groups", "api_keys", "pools", "datasets", "shares", "nfs", "services", "snapshot_tasks"),
    *("replications", "snapshots", "keychain"),
)


class StateError(Exception):
    """The state or the configuration cannot be used; the text says what to correct."""


def _user(number: int, name: str, uid: int, gid: int, builtin: bool, **more: Any) -> Row:
    return {"id": number, "username": name, "uid": uid, "gid": gid, "builtin": builtin, "roles": [], **more}


def _group(number: int, name: str, gid: int, builtin: bool) -> Row:
    return {"id": number, "group": name, "gid": gid, "builtin": builtin}


def new_dataset(kind: str = "FILESYSTEM") -> Row:
    """Return a dataset on which nothing is set."""
    return {"type": kind, "created": int(time.time()), "properties": {}, "user_properties": {}, "extra": {}}


def pool_root() -> Row:
    """Return the root dataset of a pool as the appliance makes it."""
    root = new_dataset()
    root["properties"] = {"compression": "lz4", "atime": "off", "acltype": "posix", "aclmode": "discard"}
    return root


def initial(config: Row) -> Row:
    """Return the state of a new appliance, with what the configuration adds."""
    unknown = sorted(set(config) - {*_PARTS})
    if unknown:
        raise StateError(f"the configuration has unknown keys: {', '.join(unknown)}; known are {', '.join(_PARTS)}")
    state: Row = {
        "format": FORMAT,
        "system": SYSTEM_DEFAULT | {"serial": secrets.token_hex(4)},
        "users": [_user(n, name, uid, gid, True) for n, (name, uid, gid) in enumerate(_USER, 1)],
        "groups": [_group(n, name, gid, True) for n, (name, gid) in enumerate(_GROUP, 1)],
        "api_keys": [],
        "pools": [],
        "datasets": {},
        "shares": [],
        "nfs": copy.deepcopy(NFS_DEFAULT),
        "services": {name: {"id": number, "enable": False, "running": False} for number, name in SERVICES},
        "snapshot_tasks": [],
        "replications": [],
        "snapshots": {},
        "keychain": [],
        "counters": {},
    }
    seed(state, {"pools": [{"name": "tank"}]} if "pools" not in config else {})
    if "users" not in config:
        seed(state, {"users": [{"username": "pantheon", "roles": ["FULL_ADMIN"]}]})
    if "api_keys" not in config:
        owner = config["users"][0]["username"] if config.get("users") else "pantheon"
        seed(state, {"api_keys": [{"id": 1, "name": "default", "username": owner, "key": DEFAULT_KEY}]})
    seed(state, config)
    return state


def _put(rows: list[Row], row: Row, key: str) -> None:
    for position, known in enumerate(rows):
        if known[key] == row[key]:
            rows[position] = known | row
            return
    rows.append(row)


def take_id(state: Row, table: str) -> int:
    """Return the next number of a table; a number is never given twice."""
    rows = state[table]
    highest = max((row["id"] for row in rows), default=0)
    number = int(max(state["counters"].get(table, 0), highest)) + 1
    state["counters"][table] = number
    return number


def seed(state: Row, parts: Row) -> None:
    """Put objects into the state, by name: what is there already is changed, the rest is added."""
    for name, value in parts.items():
        match name:
            case "system" | "nfs":
                state[name] |= value
            case "users":
                for user in value:
                    _seed_user(state, user)
            case "groups":
                for group in value:
                    known = {row["group"] for row in state["groups"]}
                    fresh = {} if group["group"] in known else {"id": take_id(state, "groups"), "builtin": False}
                    _put(state["groups"], fresh | group, "group")
            case "api_keys":
                for key in value:
                    number = key.get("id") or take_id(state, "api_keys")
                    defaults = {"name": f"key{number}", "revoked": False, "revoked_reason": None, "expires_at": None}
                    exists = any(row["id"] == number for row in state["api_keys"])
                    _put(state["api_keys"], ({} if exists else defaults) | key | {"id": number}, "id")
            case "pools":
                for pool in value:
                    _seed_pool(state, pool)
            case "datasets":
                for path, dataset in value.items():
                    if path.split("/")[0] not in {pool["name"] for pool in state["pools"]}:
                        raise StateError(f"datasets: {path} lies in no pool; add the pool to pools")
                    state["datasets"][path] = new_dataset() | state["datasets"].get(path, {}) | dataset
            case "services":
                for service, values in value.items():
                    if service not in state["services"]:
                        raise StateError(f"services: {service} is unknown; known are {', '.join(state['services'])}")
                    state["services"][service] |= values
            case "shares" | "snapshot_tasks" | "replications" | "keychain":
                for row in value:
                    number = row.get("id") or take_id(state, name)
                    _put(state[name], row | {"id": number}, "id")
            case "snapshots":
                state["snapshots"] |= value
            case _:
                raise StateError(f"{name} cannot be set; known are {', '.join(_PARTS)}")


def _seed_user(state: Row, user: Row) -> None:
    known = next((row for row in state["users"] if row["username"] == user["username"]), None)
    if known is None:
        uid = int(user.get("uid", 3000 + len(state["users"])))
        gid = int(user.get("gid", uid))
        user = _user(take_id(state, "users"), user["username"], uid, gid, False) | user
        if not any(row["gid"] == gid for row in state["groups"]):
            state["groups"].append(_group(take_id(state, "groups"), user["username"], gid, False))
    _put(state["users"], user, "username")


def _seed_pool(state: Row, pool: Row) -> None:
    known = next((row for row in state["pools"] if row["name"] == pool["name"]), None)
    if known is None:
        pool = {
            "id": take_id(state, "pools"),
            "guid": str(secrets.randbits(63)),
            "size": TIB,
            "status": "ONLINE",
            "draid": False,
        } | pool
    _put(state["pools"], pool, "name")
    state["datasets"].setdefault(pool["name"], pool_root())


class Store:
    """The state in memory and its file."""

    def __init__(self, folder: Path, config: Row) -> None:
        self.path, self.config = folder / "state.json", config
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            try:
                self.state: Row = json.loads(self.path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise StateError(f"{self.path} is not JSON ({error}); remove it to start anew") from error
            if self.state.get("format") != FORMAT:
                raise StateError(f"{self.path} has the format {self.state.get('format')!r}; remove it to start anew")
        else:
            self.state = initial(config)
            self.save()

    def save(self) -> None:
        """Write the state: to a new file that then takes the old one's place."""
        handle, name = tempfile.mkstemp(prefix=".state-", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(self.state, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def reset(self) -> None:
        """Go back to the start."""
        self.state = initial(self.config)
        self.save()

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table."""
        rows: list[Row] = self.state[table]
        return rows

    def find(self, table: str, number: int) -> Row | None:
        """Return the row with this number."""
        return next((row for row in self.rows(table) if row["id"] == number), None)

    def next_id(self, table: str) -> int:
        """Return a number for a new row."""
        return take_id(self.state, table)

    def public(self) -> Row:
        """Return a copy of the state without secrets."""
        state = copy.deepcopy(self.state)
        for key in state["api_keys"]:
            key["key"] = "********"
        for user in state["users"]:
            for secret in ("password", "otp"):
                if secret in user:
                    user[secret] = "********"
        for entry in state["keychain"]:
            if entry["attributes"].get("private_key") and entry["type"] == "SSH_KEY_PAIR":
                entry["attributes"]["private_key"] = "********"
        return state
