# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""NFS shares and the settings of the NFS service, with all the rules of the appliance."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import itertools
import os
import re
import socket
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CallError, InstanceNotFound, ValidationError, ValidationErrors
from .filters import filter_list
from .folders import stat_row
from .registry import Call, method
from .schema import Field, Int

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_WILD = re.compile(r"[*?\[\]]")
_RESOLVE_TIMEOUT = 5.0


def share_row(nas: Nas, share: Row, locked: bool) -> Row:
    """Return a share as queries show it."""
    row = dict(share)
    row["locked"] = False if locked else None
    if nas.release >= "26":
        dataset = nas.datasets.of_path(share["path"])
        row["dataset"] = dataset
        row["relative_path"] = None if dataset is None else os.path.relpath(share["path"], f"/mnt/{dataset}")
        if row["relative_path"] == ".":
            row["relative_path"] = ""
        row["tier"] = None
    return row


def _rows(nas: Nas, options: Row | None = None) -> list[Row]:
    extra = (options or {}).get("extra") or {}
    return [share_row(nas, share, extra.get("retrieve_locked_info", True)) for share in nas.store.rows("shares")]


def _instance(nas: Nas, number: int) -> Row:
    share = nas.store.find("shares", number)
    if share is None:
        raise InstanceNotFound(f"SharingNFS {number} does not exist")
    return share


def overlaps(networks: list[str], this: Network | None = None) -> list[tuple[Any, Any]]:
    """Return the pairs of networks that overlap; with this, only those with it."""
    parsed = [ipaddress.ip_network(network, strict=False) for network in networks]
    if this is not None:
        return [(this, other) for other in parsed if this.version == other.version and this.overlaps(other)]
    return [
        (networks[a], networks[b])
        for (a, left), (b, right) in itertools.combinations(enumerate(parsed), 2)
        if left.version == right.version and left.overlaps(right)
    ]


def _domain(host: str) -> str | None:
    return host.split(".", 1)[1] if "." in host else None


def _wild(host: str) -> bool:
    return bool(_WILD.search(host.split(".")[0]))


async def resolve(nas: Nas, hosts: list[str]) -> dict[str, str | None]:
    """Return the address of each host, or None if it has none."""

    async def one(host: str) -> str | None:
        try:
            return str(ipaddress.ip_address(host))
        except ValueError:
            pass
        name = (_domain(host) or host) if _wild(host) else host
        if _wild(name) or name.startswith("@"):
            return None
        known = nas.state["system"]["hosts"].get(name)
        if known:
            return str(known)
        try:
            loop = asyncio.get_running_loop()
            found = await asyncio.wait_for(loop.getaddrinfo(name, None, type=socket.SOCK_STREAM), _RESOLVE_TIMEOUT)
        except (OSError, UnicodeError, asyncio.TimeoutError):
            return None
        return str(found[0][4][0])

    unique = sorted(set(hosts))
    return dict(zip(unique, await asyncio.gather(*(one(host) for host in unique)), strict=True))


def _check_unique(schema: str, name: str, values: list[str], errors: ValidationErrors) -> None:
    twice = [value for position, value in enumerate(values) if value in values[:position]]
    if twice:
        errors.add(f"{schema}.{name}", f"Entries must be unique, the following are not: {', '.join(twice)}")


def _networks(schema: str, networks: list[str], errors: ValidationErrors) -> list[str]:
    """Check the networks and return them in CIDR form."""
    wrong, everybody = [], False
    for network in networks:
        try:
            everybody = everybody or int(ipaddress.ip_network(network, strict=False).network_address) == 0
        except ValueError:
            wrong.append(network)
    if wrong:
        errors.add(
            f"{schema}.networks",
            f"The following do not appear to be valid IPv4 or IPv6 networks: {', '.join(wrong)}",
        )
    elif everybody:
        last = networks[-1]  # the appliance names the last entry, whichever it was
        errors.add(
            f"{schema}.networks",
            f"Do not use {last} to represent all-networks.  No entry is required to configure 'allow everybody'.  "
            f"Please remove {last}.",
        )
    else:
        return [str(ipaddress.ip_network(network, strict=False)) for network in networks]
    return networks


def _check_hosts(schema: str, hosts: list[str], errors: ValidationErrors) -> None:
    wrong = [host for host in hosts if re.match(r'.*[\s"]', host)]
    everybody = False
    for host in hosts:
        try:
            everybody = everybody or int(ipaddress.ip_address(host)) == 0
        except ValueError:  # a name, as it should be
            continue
    if wrong:
        errors.add(f"{schema}.hosts", f"Cannot contain spaces or quotes: {', '.join(wrong)}")
    if everybody:
        last = hosts[-1]
        errors.add(
            f"{schema}.hosts",
            f"Do not use {last} to represent all-hosts.  No entry is required to configure 'allow everybody'.  "
            f"Please remove {last} or replace with '*'.",
        )


def check_path(nas: Nas, attribute: str, path: str, errors: ValidationErrors) -> None:
    """Note if a path does not lie in a pool."""
    if path.startswith("EXTERNAL"):
        errors.add(attribute, "Path is external to TrueNAS.")
        return
    real = nas.paths.resolve(path)
    pools = [f"/mnt/{pool['name']}" for pool in nas.state["pools"]]
    if not path.startswith("/mnt/") or not any(real == pool or real.startswith(f"{pool}/") for pool in pools):
        errors.add(attribute, "The path must reside within a pool mount point")
    if path.endswith(("/.zfs", "/.zfs/snapshot")):
        errors.add(
            attribute,
            "The ZFS control directory (.zfs) and snapshot directory (.zfs/snapshot) are not permitted paths. "
            "If a snapshot within this directory must be accessed through the path-based API, then it should be "
            "called directly, e.g. '/mnt/dozer/.zfs/snapshot/mysnap'.",
        )


def _real(nas: Nas, path: str) -> str:
    try:
        return str(stat_row(nas, path)["realpath"])
    except CallError as error:
        if error.errno != errno.ENOENT:
            raise
        return path


async def _validate(nas: Nas, data: Row, schema: str, old: Row | None) -> None:
    errors = ValidationErrors()
    data["aliases"] = []
    _check_unique(schema, "networks", data["networks"], errors)
    _check_unique(schema, "hosts", data["hosts"], errors)
    data["networks"] = _networks(schema, data["networks"], errors)
    _check_hosts(schema, data["hosts"], errors)
    errors.check()
    check_path(nas, f"{schema}.path", data["path"], errors)
    others = [share for share in nas.store.rows("shares") if old is None or share["id"] != old["id"]]
    addresses = await resolve(nas, [*(host for share in others for host in share["hosts"]), *data["hosts"]])
    for network in data["networks"]:
        address = str(ipaddress.ip_interface(network).ip)
        host = next((name for name, found in addresses.items() if found == address), None)
        if host:
            errors.add(
                f"{schema}.networks",
                f"ERROR - Resolved hostname to duplicate address: host '{host}' resolves to '{network}'",
            )
    within = overlaps(data["networks"])
    if within:
        errors.add(f"{schema}.networks", f"ERROR - Overlapped subnets: {within}")
    errors.check()
    _check_clients(nas, others, data, schema, errors, addresses)
    errors.check()
    _check_conflicts(nas, others, data, schema, errors)
    errors.check()
    _check_users(nas, data, schema, errors)
    kerberos = [flavour for flavour in data["security"] if flavour != "SYS"]
    if kerberos and "NFSV4" not in nas.state["nfs"]["protocols"]:
        errors.add(
            f"{schema}.security",
            f"The following security flavor(s) require NFSv4 to be enabled: {','.join(kerberos)}.",
        )
    if data["expose_snapshots"]:
        if not nas.state["system"]["enterprise"]:
            errors.add(
                f"{schema}.expose_snapshots",
                "This is an enterprise feature and may not be enabled without a valid license.",
            )
        elif f"/mnt/{nas.datasets.of_path(data['path'])}" != data["path"]:
            errors.add(
                f"{schema}.expose_snapshots",
                f"{data['path']}: export path is not the root directory of a dataset.",
            )
    errors.check()


def _check_clients(
    nas: Nas, others: list[Row], data: Row, schema: str, errors: ValidationErrors, addresses: dict[str, str | None]
) -> None:
    """Note if another share of the same path already serves one of the clients, or if a host has no address."""
    target = stat_row(nas, data["path"])["realpath"]
    used_networks: set[Network] = set()
    used_hosts: set[str] = set()
    for share in others:
        if _real(nas, share["path"]) != target:
            continue
        for host in share["hosts"]:
            address = addresses.get(host)
            if address is None:
                used_hosts.add(host)
            elif not host.startswith("@"):
                used_hosts |= {host, str(ipaddress.ip_network(address, strict=False))}
        used_networks |= {ipaddress.ip_network(network, strict=False) for network in share["networks"]}
        if not share["hosts"] and not share["networks"]:
            used_networks |= {ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")}
    for text in sorted(set(data["networks"])):
        network = ipaddress.ip_network(text, strict=False)
        if network in used_networks:
            errors.add(
                f"{schema}.networks",
                f"ERROR - Another NFS share already exports {data['path']} for network {network}",
            )
        found = overlaps([str(other) for other in used_networks], network)
        if found:
            errors.add(
                f"{schema}.networks",
                f"ERROR - This or another NFS share exports {data['path']} to {found[0][1]} "
                f"and overlaps network {network}",
            )
        used_networks.add(network)
    for host in sorted(set(data["hosts"])):
        if host in used_hosts:
            errors.add(f"{schema}.hosts", f"ERROR - Another NFS share already exports {data['path']} for host {host}")
        elif host.startswith("@") or (_wild(host) and _domain(host) is None):
            continue
        elif addresses[host] is None:
            errors.add(f"{schema}.hosts", f"Unable to resolve host '{host}'")


def _check_conflicts(nas: Nas, others: list[Row], data: Row, schema: str, errors: ValidationErrors) -> None:
    found = stat_row(nas, data["path"])
    if found["type"] == "SYMLINK":
        errors.add(f"{schema}.path", f"Symbolic links are not allowed: {data['path']}.")
    for share in others:
        if _real(nas, share["path"]) != found["realpath"]:
            continue
        hosts = {host for host in data["hosts"] if host != "*"} & set(share["hosts"])
        networks = set(data["networks"]) & set(share["networks"])
        if hosts or networks:
            errors.add(
                f"{schema}.path",
                f"ERROR - Export conflict. Another share with the same path exports {share['path']} for "
                f"{hosts or networks}",
            )
            break


def _check_users(nas: Nas, data: Row, schema: str, errors: ValidationErrors) -> None:
    for kind in ("maproot", "mapall"):
        user, group = data[f"{kind}_user"], data[f"{kind}_group"]
        if not user and not group:
            continue
        if not user:
            errors.add(f"{schema}.{kind}_user", "This field is required when map group is specified")
            continue
        if nas.find_user(user) is None:
            errors.add(f"{schema}.{kind}_user", f"User not found: {user}")
        if group and nas.find_group(group) is None:
            errors.add(f"{schema}.{kind}_group", f"Group not found: {group}")
    if data["maproot_user"] and data["mapall_user"]:
        errors.add(f"{schema}.mapall_user", "maproot_user disqualifies mapall_user")


@method("sharing.nfs.query", models.query, roles=("SHARING_NFS_READ",))
async def query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return shares."""
    return filter_list(_rows(call.nas, options), filters, options)


@method("sharing.nfs.get_instance", lambda release: models.instance(Int(), release), roles=("SHARING_NFS_READ",))
async def get_instance(call: Call, number: int, options: Row) -> Row:
    """Return one share."""
    return share_row(call.nas, _instance(call.nas, number), True)


@method("sharing.nfs.create", {"data": Field(models.SHARE)}, roles=("SHARING_NFS_WRITE",), write=True)
async def create(call: Call, data: Row) -> Row:
    """Make a share."""
    nas = call.nas
    await _validate(nas, data, "sharingnfs_create", None)
    share = {"id": nas.store.next_id("shares"), **data}
    nas.store.rows("shares").append(share)
    nas.store.save()
    await nas.shares_changed()
    row = share_row(nas, share, True)
    nas.send_event("sharing.nfs.query", "ADDED", share["id"], row)
    return row


@method(
    "sharing.nfs.update",
    {"id": Field(Int()), "data": Field(models.SHARE.for_update("NfsShareUpdate"))},
    roles=("SHARING_NFS_WRITE",),
    write=True,
)
async def update(call: Call, number: int, data: Row) -> Row:
    """Change a share."""
    nas = call.nas
    old = _instance(nas, number)
    new = old | data
    await _validate(nas, new, "sharingnfs_update", old)
    old |= new
    nas.store.save()
    await nas.shares_changed()
    row = share_row(nas, old, True)
    nas.send_event("sharing.nfs.query", "CHANGED", number, row)
    return row


@method("sharing.nfs.delete", {"id": Field(Int())}, roles=("SHARING_NFS_WRITE",), write=True)
async def delete(call: Call, number: int) -> bool:
    """Remove a share."""
    nas = call.nas
    nas.store.rows("shares").remove(_instance(nas, number))
    nas.store.save()
    await nas.shares_changed()
    nas.send_event("sharing.nfs.query", "REMOVED", number, None)
    return True


# -- the service's settings ---------------------------------------------------------------------------------------


def config(nas: Nas) -> Row:
    """Return the settings as clients see them; servers is a number even where the appliance chooses it."""
    stored = nas.state["nfs"]
    managed = stored["servers"] is None
    return {
        "id": 1,
        **stored,
        "servers": min(max(nas.state["system"]["cores"], 1), 32) if managed else stored["servers"],
        "v4_krb_enabled": stored["v4_krb"],
        "keytab_has_nfs_spn": False,
        "managed_nfsd": managed,
    }


@method("nfs.config", roles=("SHARING_NFS_READ",))
async def nfs_config(call: Call) -> Row:
    """Return the settings of the service."""
    return config(call.nas)


@method("nfs.bindip_choices", roles=("SHARING_NFS_READ",))
async def bindip_choices(call: Call) -> dict[str, str]:
    """Return the addresses on which the service may listen."""
    return {address: address for address in call.nas.addresses()}


@method("nfs.client_count", roles=("SHARING_NFS_READ",))
async def client_count(call: Call) -> int:
    """Return the number of clients; it is not counted here."""
    return 0


@method("nfs.update", models.nfs_update, roles=("SHARING_NFS_WRITE",), write=True)
async def nfs_update(call: Call, data: Row) -> Row:
    """Change the settings; a running service is started anew, whatever has changed."""
    nas = call.nas
    if "protocols" in data and not data["protocols"]:
        raise ValidationError(
            "nfs_update.protocols",
            'Must specify at least one value ("NFSV3", "NFSV4") in the "protocols" list.',
        )
    errors = ValidationErrors()
    new = nas.state["nfs"] | data
    choices = nas.addresses()
    for index, address in enumerate(new["bindip"]):
        if address not in choices:
            errors.add(f"nfs_update.bindip.{index}", f"Cannot use {address}. Please provide a valid ip address.")
    if "NFSV4" not in new["protocols"] and new["v4_domain"]:
        errors.add("nfs_update.v4_domain", "This option does not apply to NFSv3")
    if new["rdma"]:
        errors.add(
            "nfs_update.rdma",
            "This platform cannot support NFS over RDMA or is missing an RDMA capable NIC.",
        )
    errors.check()
    nas.state["nfs"] |= data
    nas.store.save()
    await nas.service_changed("nfs", "restart")
    return config(nas)
