# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who reaches what uses the network of its machine: a table of nftables per machine (private to this collection)."""

from __future__ import annotations

import typing as t
from ipaddress import ip_address

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import (
    is_ip,
    on_machine,
    placed,
    published_port,
    services_on,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site

#: Where packets of the machine's own containers come in: the engine's bridges, also that of the overlay networks.
_BRIDGES = ("docker0", "docker_gwbridge", "br-*")


def firewall(site: Site, host: str) -> str:
    """Return the rules of *host* for ``nft -f``; empty where no service of the platform uses the network of a machine.

    Only the ports of these services are looked at; everything else is left to the owner's own rules. node endpoints are
    for the machine and its containers, mesh endpoints for the machines of the platform, but not for their containers:
    what a container may reach is decided by the networks it joins, and its packets would leave with the machine's address.
    """
    running = [name for name in site.services if on_machine(site, name) and placed(site, name)]
    if not running:
        return ""
    here = {name for name in services_on(site, host) if on_machine(site, name)}
    addresses = sorted({machine.address for machine in site.machines.values() if is_ip(machine.address)})
    sets = []
    for version, kind in ((4, "ipv4_addr"), (6, "ipv6_addr")):
        members = [text for text in addresses if ip_address(text).version == version]
        # An empty list of elements is no valid syntax.
        elements = [f"    elements = {{ {', '.join(members)} }}"] if members else []
        sets += [f"  set machines{version} {{", f"    type {kind}", *elements, "  }"]
    jumps = [
        f"    {protocol} dport {{ {', '.join(map(str, ports))} }} jump {scope}"
        for protocol in ("tcp", "udp")
        for scope in ("mesh", "node")
        if (ports := _ports(site, here, scope, protocol))
    ]
    away = [
        f"    {family} daddr @machines{version} {protocol} dport {{ {', '.join(map(str, ports))} }} drop"
        for protocol in ("tcp", "udp")
        if (ports := _ports(site, running, "mesh", protocol))
        for version, family in ((4, "ip"), (6, "ip6"))
    ]
    lines = [
        "# Managed by Ansible (pantheon.ai): changes are overwritten.",
        "# Made anew in one step: what was there before goes with it, and no packet meets half of the rules.",
        "table inet pantheon",
        "delete table inet pantheon",
        "table inet pantheon {",
        *sets,
        "  chain mesh {",
        '    iifname "lo" accept',
        *(f'    iifname "{bridge}" drop' for bridge in _BRIDGES),
        "    ip saddr @machines4 accept",
        "    ip6 saddr @machines6 accept",
        "    drop",
        "  }",
        "  chain node {",
        '    iifname "lo" accept',
        *(f'    iifname "{bridge}" accept' for bridge in _BRIDGES),
        "    drop",
        "  }",
        "  chain input {",
        "    type filter hook input priority filter - 10; policy accept;",
        *jumps,
        "  }",
        "  chain forward {",
        "    type filter hook forward priority filter - 10; policy accept;",
        *away,
        "  }",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _ports(site: Site, services: t.Iterable[str], scope: str, protocol: str) -> list[int]:
    return sorted(
        {
            published_port(endpoint)
            for name in services
            for endpoint in site.services[name]["endpoints"].values()
            if endpoint["scope"] == scope and (endpoint["protocol"] == "udp") == (protocol == "udp")
        }
    )
