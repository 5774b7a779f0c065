# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system itself, its users and groups, and the keys for other machines."""

from __future__ import annotations

import datetime as dt
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import models
from .errors import InstanceNotFound, ValidationError, ValidationErrors
from .filters import filter_list
from .registry import VERSIONS, Call, method
from .schema import Field, Int, Model

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]

STARTED = time.time()


def _utc(moment: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(moment), tz=dt.timezone.utc)


@method("system.version", access="session", hidden=True)
async def version(call: Call) -> str:
    """Return the full name of the release."""
    return f"TrueNAS-{VERSIONS[call.nas.release]}"


@method("system.version_short", access="session", hidden=True)
async def version_short(call: Call) -> str:
    """Return the release."""
    return VERSIONS[call.nas.release]


@method("system.product_type", roles=("SYSTEM_PRODUCT_READ",), hidden=True)
async def product_type(call: Call) -> str:
    """Return the edition."""
    return "ENTERPRISE" if call.nas.state["system"]["enterprise"] else call.nas.state["system"]["product_type"]


@method("system.state", roles=("SYSTEM_GENERAL_READ",), hidden=True)
async def system_state(call: Call) -> str:
    """Return whether the appliance has started."""
    return "READY"


@method("system.ready", roles=("SYSTEM_GENERAL_READ",), hidden=True)
async def system_ready(call: Call) -> bool:
    """Return whether the appliance has started."""
    return True


@method("system.info", roles=("READONLY_ADMIN",), hidden=True)
async def info(call: Call) -> Row:
    """Return what the appliance is."""
    system = call.nas.state["system"]
    uptime = time.time() - STARTED
    return {
        "version": VERSIONS[call.nas.release],
        "buildtime": _utc(STARTED),
        "hostname": system["hostname"],
        "physmem": 8 * 1024**3,
        "model": "Simulated",
        "cores": system["cores"],
        "physical_cores": system["cores"],
        "loadavg": list(os.getloadavg()),
        "uptime": str(dt.timedelta(seconds=int(uptime))),
        "uptime_seconds": uptime,
        "system_serial": system["serial"],
        "system_product": "Simulator",
        "system_product_version": None,
        "license": None,
        "boottime": _utc(STARTED),
        "datetime": _utc(time.time()),
        "timezone": "UTC",
        "system_manufacturer": "Pantheon",
        "ecc_memory": False,
    }


# -- users and groups ---------------------------------------------------------------------------------------------


def user_row(nas: Nas, user: Row) -> Row:
    """Return a user as queries show it, without secrets."""
    group = next((row for row in nas.store.rows("groups") if row["gid"] == user["gid"]), None)
    return {
        "id": user["id"],
        "uid": user["uid"],
        "username": user["username"],
        "unixhash": "*",
        "smbhash": None,
        "home": user.get("home", "/var/empty"),
        "shell": user.get("shell", "/usr/sbin/nologin"),
        "full_name": user.get("full_name", user["username"]),
        "builtin": user["builtin"],
        "smb": False,
        "userns_idmap": None,
        "group": {
            "id": group["id"] if group else None,
            "bsdgrp_gid": user["gid"],
            "bsdgrp_group": group["group"] if group else None,
            "bsdgrp_builtin": bool(group and group["builtin"]),
        },
        "groups": [],
        "password_disabled": "password" not in user,
        "ssh_password_enabled": False,
        "sshpubkey": None,
        "locked": False,
        "sudo_commands": [],
        "sudo_commands_nopasswd": [],
        "email": None,
        "local": True,
        "immutable": user["builtin"],
        "twofactor_auth_configured": "otp" in user,
        "sid": None,
        "last_password_change": None,
        "password_age": None,
        "password_history": None,
        "password_change_required": False,
        "roles": user["roles"],
        "api_keys": [key["id"] for key in nas.store.rows("api_keys") if key["username"] == user["username"]],
    }


def group_row(nas: Nas, group: Row) -> Row:
    """Return a group as queries show it."""
    return {
        "id": group["id"],
        "gid": group["gid"],
        "name": group["group"],
        "group": group["group"],
        "builtin": group["builtin"],
        "sudo_commands": [],
        "sudo_commands_nopasswd": [],
        "smb": False,
        "userns_idmap": None,
        "local": True,
        "sid": None,
        "roles": [],
        "users": [user["id"] for user in nas.store.rows("users") if user["gid"] == group["gid"]],
        "immutable": group["builtin"],
    }


@method("user.query", models.query, roles=("ACCOUNT_READ",))
async def user_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return users."""
    return filter_list([user_row(call.nas, user) for user in call.nas.store.rows("users")], filters, options)


@method("group.query", models.query, roles=("ACCOUNT_READ",))
async def group_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return groups."""
    return filter_list([group_row(call.nas, group) for group in call.nas.store.rows("groups")], filters, options)


# -- keys for other machines --------------------------------------------------------------------------------------


def _key_pair() -> Row:
    """Make a key pair: with ssh-keygen where there is one."""
    if shutil.which("ssh-keygen"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "key")
            subprocess.run(["ssh-keygen", "-t", "rsa", "-f", str(file), "-N", "", "-q"], check=True)
            public = file.with_suffix(".pub").read_text(encoding="utf-8")
            return {"private_key": file.read_text(encoding="utf-8"), "public_key": public}
    private = subprocess.run(
        ["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    public = subprocess.run(
        ["openssl", "pkey", "-pubout"], input=private, check=True, capture_output=True, text=True
    ).stdout
    return {"private_key": private, "public_key": public}


@method("keychaincredential.query", models.query, roles=("KEYCHAIN_CREDENTIAL_READ",))
async def keychain_query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return keys and logins; private keys only for who may change them."""
    session = call.connection.session
    assert session is not None
    rows = []
    for entry in call.nas.store.rows("keychain"):
        row = dict(entry)
        if not session.has_any(("KEYCHAIN_CREDENTIAL_WRITE",)):
            row["attributes"] = "********"
        rows.append(row)
    return filter_list(rows, filters, options)


@method("keychaincredential.create", models.keychain_create(), roles=("KEYCHAIN_CREDENTIAL_WRITE",), write=True)
async def keychain_create(call: Call, data: Row) -> Row:
    """Keep a key pair or a login."""
    nas, errors = call.nas, ValidationErrors()
    schema, attributes = "keychain_credential_create", data["attributes"]
    if any(entry["name"] == data["name"] for entry in nas.store.rows("keychain")):
        errors.add(f"{schema}.name", "Object with this name already exists")
    errors.check()
    if data["type"] == "SSH_KEY_PAIR":
        if not attributes["private_key"] and not attributes["public_key"]:
            errors.add(f"{schema}.attributes.public_key", "You must specify a key")
        elif attributes["private_key"]:
            attributes["private_key"] = attributes["private_key"].strip() + "\n"
    else:
        pair = nas.store.find("keychain", attributes["private_key"])
        if pair is None or pair["type"] != "SSH_KEY_PAIR":
            text = "Credential does not exist" if pair is None else "Credential is not of type SSH_KEY_PAIR"
            errors.add(f"{schema}.attributes.private_key", f"[{'ENOENT' if pair is None else 'EINVAL'}] {text}")
    errors.check()
    entry = {"id": nas.store.next_id("keychain"), **data}
    nas.store.rows("keychain").append(entry)
    return entry


@method(
    "keychaincredential.delete",
    {
        "id": Field(Int()),
        "options": Field(
            Model("KeychainCredentialDeleteOptions", {"cascade": models.flag(False)}), lambda: {"cascade": False}
        ),
    },
    roles=("KEYCHAIN_CREDENTIAL_WRITE",),
    write=True,
)
async def keychain_delete(call: Call, number: int, options: Row) -> None:
    """Forget a key pair or a login that nothing uses."""
    nas = call.nas
    entry = nas.store.find("keychain", number)
    if entry is None:
        raise InstanceNotFound(f"KeychainCredential {number} does not exist")
    users = [task for task in nas.store.rows("replications") if task["ssh_credentials"] == number]
    others = [
        other
        for other in nas.store.rows("keychain")
        if other["type"] == "SSH_CREDENTIALS" and other["attributes"]["private_key"] == number
    ]
    if (users or others) and not options["cascade"]:
        raise ValidationError("options.cascade", "This credential is used and no cascade option is specified")
    for task in users:
        task["enabled"] = False
        task["ssh_credentials"] = None
    for other in others:
        nas.store.rows("keychain").remove(other)
    nas.store.rows("keychain").remove(entry)


@method("keychaincredential.generate_ssh_key_pair", roles=("KEYCHAIN_CREDENTIAL_WRITE",))
async def generate_ssh_key_pair(call: Call) -> Row:
    """Make a key pair; it is not kept."""
    return _key_pair()
