# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What router and NAS should hold, from catalog and inventory alone (private to this collection)."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import EDGE_SERVICE, NAS_GROUP, placed
from ansible_collections.pantheon.ai.plugins.plugin_utils._edge import to_dns
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Machine, Site

EDGE_PORTS = ["80", "443"]


def _hosts(site: Site) -> list[Machine]:
    return [*(site.machines[name] for name in site.machines), *(site.appliances[name] for name in site.appliances)]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None  # a name: whoever resolves it for us has its record already
    return None if address.is_loopback else address


def dns_records(site: Site) -> list[dict[str, t.Any]]:
    """Return the records of the router: one per name and type, with all its addresses.

    Machines and appliances have a record back from the address to the name, services have none: an address has one name.
    Each is {name, type, value (list), ptr, description}, as opnsense_dns_records takes it.
    """
    wanted: dict[tuple[str, str], dict[str, t.Any]] = {}

    def add(name: str, address: str, ptr: bool, description: str) -> None:
        parsed = _address(address)
        if parsed is None:
            return
        kind = "A" if parsed.version == 4 else "AAAA"
        record = wanted.setdefault(
            (name, kind),
            {"name": name, "type": kind, "value": [], "ptr": "true" if ptr else "false", "description": description},
        )
        if str(parsed) not in record["value"]:
            record["value"].append(str(parsed))

    for host in _hosts(site):
        add(f"{host.name}.{site.settings.domain}", host.address, True, f"machine {host.name}")
    for record in to_dns(site):
        add(record["name"], record["address"], False, f"service {record['service']}")
    return [wanted[key] for key in sorted(wanted)]


def dhcp_reservations(site: Site) -> list[dict[str, str]]:
    """Return a reservation per machine or appliance whose hardware address the inventory knows: mac, address, hostname."""
    return [
        {"mac": host.mac, "address": str(address), "hostname": host.name, "domain": site.settings.domain}
        for host in _hosts(site)
        if host.mac and (address := _address(host.address)) is not None and address.version == 4
    ]


def firewall_aliases(site: Site) -> list[dict[str, t.Any]]:
    """Return the aliases that firewall rules of the owner can name: name, type, content, description."""

    def addresses(hosts: t.Iterable[Machine]) -> list[str]:
        return sorted({str(address) for host in hosts if (address := _address(host.address))})

    edge = placed(site, EDGE_SERVICE) if EDGE_SERVICE in site.services else []
    machines = addresses(site.machines[name] for name in site.machines)
    nas = addresses(site.appliances[name] for name in site.groups.get(NAS_GROUP, []) if name in site.appliances)
    aliases = [
        ("pantheon_machines", "host", machines, "machines of the platform"),
        ("pantheon_edge", "host", addresses(site.machines[name] for name in edge), "where people reach the platform"),
        ("pantheon_edge_ports", "port", EDGE_PORTS, "ports of the edge"),
        ("pantheon_nas", "host", nas, "NAS of the platform"),
    ]
    return [
        {"name": name, "type": kind, "content": content, "description": description}
        for name, kind, content, description in aliases
        if content
    ]


def nas_datasets(site: Site) -> list[dict[str, t.Any]]:
    """Return the datasets of the NAS, as truenas_nfs_storage takes them."""
    return [{"name": share.name, **share.properties} for share in site.settings.storage]


def nas_shares(site: Site) -> list[dict[str, t.Any]]:
    """Return the shares of the NAS: a writable one for those who write, a read-only one for all other machines.

    A machine that is known by name only is admitted by name. root of a machine is root in the share: services run as many
    different users, and their files keep their owners.
    """
    shares = []
    for share in site.settings.storage:
        for read_only in (False, True):
            hosts = [site.machines[name] for name in site.machines if (name in share.writers) != read_only]
            networks = sorted({str(address) for host in hosts if (address := _address(host.address))})
            names = sorted(host.address for host in hosts if _address(host.address) is None)
            if networks or names:
                shares.append(
                    {
                        "dataset": share.name,
                        "comment": f"Pantheon {share.name}, {'readers' if read_only else 'writers'}",
                        "networks": networks,
                        "hosts": names,
                        "read_only": read_only,
                        "maproot": "root:root",
                    }
                )
    return shares


def mounts_of(site: Site, host: str) -> list[dict[str, t.Any]]:
    """Return what a machine mounts of the NAS, as storage_mounts takes it; nothing without a NAS."""
    nas = [name for name in site.groups.get(NAS_GROUP, []) if name in site.appliances]
    if not nas:
        return []
    server = site.appliances[nas[0]].address
    return [
        {
            "name": share.name.replace("/", "-"),
            "source": f"{server}:/mnt/{site.settings.pool}/{share.name}",
            "path": share.path,
            "read_only": host not in share.writers,
            **({"options": list(share.options)} if share.options else {}),
        }
        for share in site.settings.storage
    ]
