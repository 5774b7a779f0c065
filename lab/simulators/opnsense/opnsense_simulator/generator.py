# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From host overrides to the lines of Unbound's configuration, as OPNsense's generator writes them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import is_address

Row = dict[str, Any]
DEFAULT_TTL = "3600"


@dataclass(frozen=True)
class Zone:
    """A `local-zone` line."""

    name: str
    kind: str

    def line(self) -> str:
        """The line in the configuration."""
        return f'local-zone: "{self.name}" {self.kind}'


@dataclass(frozen=True)
class Data:
    """A `local-data` line."""

    name: str
    ttl: str
    kind: str
    value: str
    explicit: bool = True  # with TTL and class, as for host overrides

    def line(self) -> str:
        """The line in the configuration; text records stand in single quotes."""
        middle = f"{self.ttl} IN {self.kind}" if self.explicit else self.kind
        quote = "'" if self.kind == "TXT" else '"'
        return f"local-data: {quote}{self.name} {middle} {self.value}{quote}"


@dataclass(frozen=True)
class Pointer:
    """A `local-data-ptr` line."""

    address: str
    name: str

    def line(self) -> str:
        """The line in the configuration."""
        return f'local-data-ptr: "{self.address} {self.name}"'


Entry = Zone | Data | Pointer


def _addslashes(text: str) -> str:
    return re.sub(r"(['\"\\])", r"\\\1", text)


def entries(unbound: Row, system: Mapping[str, str], interfaces: Mapping[str, Mapping[str, str]]) -> list[Entry]:
    """Every line that the saved configuration asks for, in order."""
    general = unbound["general"]
    domain = system["domain"]
    result: list[Entry] = [Zone(domain, general["local_zone_type"])]
    for address, kind in (("127.0.0.1", "A"), ("::1", "AAAA")):
        result += [
            Pointer(address, "localhost"),
            Data("localhost", "", kind, address, explicit=False),
            Data(f"localhost.{domain}", "", kind, address, explicit=False),
        ]
    taken = {"127.0.0.1", "::1"}
    if general["noregrecords"] != "1":
        primary = True
        for key, interface in interfaces.items():
            address = interface.get("ipaddr", "")
            used = [name for name in general["active_interface"].split(",") if name]
            if not is_address(address) or (used and key not in used):
                continue
            kind = "AAAA" if ":" in address else "A"
            if primary:
                result.append(Pointer(address, f"{system['hostname']}.{domain}"))
                taken.add(address)
                primary = False
            for name in (f"{system['hostname']}.{domain}", system["hostname"]):
                result.append(Data(name, "", kind, address, explicit=False))
    aliases: dict[str, list[Row]] = {}
    for alias in unbound["aliases"]["alias"].values():
        if alias["enabled"] == "1":
            aliases.setdefault(alias["host"], []).append(alias)
    for key, host in unbound["hosts"]["host"].items():
        if host["enabled"] == "1":
            names: list[tuple[str, str, str, bool]] = [
                (host["hostname"], host["domain"], host["description"], host.get("addptr", "1") == "1")
            ]
            names += [
                (
                    alias["hostname"] or host["hostname"],
                    alias["domain"] or host["domain"],
                    alias["description"] or host["description"],
                    False,
                )
                for alias in aliases.get(key, [])
            ]
            for each in names:
                result += _host(host, *each, taken=taken, text=general["txtsupport"] == "1")
    return result


def _host(
    host: Row, hostname: str, domain: str, description: str, pointer: bool, *, taken: set[str], text: bool
) -> list[Entry]:
    """The lines of one name of a host override."""
    result: list[Entry] = []
    kind, ttl, server = host["rr"], host.get("ttl", ""), host["server"]
    name = f"{hostname}.{domain}" if hostname else domain
    if kind in ("A", "AAAA"):
        if hostname == "*":
            result += [Zone(domain, "redirect"), Data(domain, ttl, kind, server)]
        else:
            if pointer and server not in taken:
                result.append(Pointer(server, name))
                taken.add(server)
            result.append(Data(name, ttl, kind, server))
    elif kind == "MX":
        result.append(Data(name, ttl, kind, f"{host['mxprio']} {host['mx']}"))
    elif kind == "TXT":
        result.append(Data(name, ttl, kind, f'"{_addslashes(host.get("txtdata", ""))}"'))
    if description and text and hostname != "*":
        result.append(Data(name, "", "TXT", f'"{_addslashes(description)}"', explicit=False))
    return result


def forwards(unbound: Row) -> dict[tuple[str, str], list[Row]]:
    """The enabled query forwards by kind (forward, dot) and domain."""
    result: dict[tuple[str, str], list[Row]] = {}
    for row in unbound["dots"]["dot"].values():
        if row["enabled"] == "1":
            result.setdefault((row["type"], row["domain"] or "."), []).append(row)
    return result


def forward_lines(unbound: Row) -> list[str]:
    """The forward zones of the query forwards."""
    lines: list[str] = []
    for (kind, domain), rows in sorted(forwards(unbound).items(), reverse=True):
        lines += ["forward-zone:", f'  name: "{domain}"']
        if kind == "dot":
            lines.append("  forward-tls-upstream: yes")
        for row in rows:
            port = f"@{row['port']}" if row["port"] else ""
            verify = f"#{row['verify']}" if kind == "dot" and row["verify"] else ""
            lines.append(f"  forward-addr: {row['server']}{port}{verify}")
        if kind == "forward" and any(row["forward_tcp_upstream"] == "1" for row in rows):
            lines.append("  forward-tcp-upstream: yes")
        if any(row.get("forward_first") == "1" for row in rows):
            lines.append("  forward-first: yes")
    return lines


# The judge without Unbound: the inputs that are known to keep Unbound from starting.


def fault(items: list[Entry]) -> str | None:
    """Why Unbound would not start with these lines, or None."""
    redirects = {item.name.lower().rstrip(".") for item in items if isinstance(item, Zone) and item.kind == "redirect"}
    zones = redirects | {item.name.lower().rstrip(".") for item in items if isinstance(item, Zone)}
    for item in items:
        names = [item.name]
        for name in names:
            broken = _name_fault(name)
            if broken:
                return f"{item.line()}: {broken}"
        if isinstance(item, Data):
            if item.kind in ("A", "AAAA") and not _fits(item.kind, item.value):
                return f"{item.line()}: not an address for {item.kind}"
            zone = _closest(item.name, zones)
            if zone in redirects and item.name.lower().rstrip(".") != zone:
                return f"{item.line()}: local-data in redirect zone must reside at top of zone"
    return None


def _name_fault(name: str) -> str | None:
    if '"' in name:
        return "a double quote ends the string"
    if re.search(r"\s", name):
        return "a blank splits the name"
    body = name.rstrip(".")
    if any(len(label.encode()) > 63 for label in body.split(".")):
        return "a label is longer than 63 characters"
    if len(body.encode()) > 253:
        return "the name is longer than 253 characters"
    return None


def _fits(kind: str, value: str) -> bool:
    return is_address(value) and (":" in value) == (kind == "AAAA")


def _closest(name: str, zones: set[str]) -> str | None:
    labels = name.lower().rstrip(".").split(".")
    for start in range(len(labels)):
        zone = ".".join(labels[start:])
        if zone in zones:
            return zone
    return None


def records(items: list[Entry]) -> list[dict[str, str]]:
    """What a running Unbound lists of these lines; texts are cut at the first blank, as the real API cuts them."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    spelling: dict[tuple[str, str], str] = {}
    for item in items:
        if isinstance(item, Zone):
            continue
        if isinstance(item, Pointer):
            name = ipaddress.ip_address(item.address).reverse_pointer
            ttl, kind, value = DEFAULT_TTL, "PTR", f"{_escaped(item.name)}."
        else:
            name, ttl, kind = _escaped(item.name), item.ttl or DEFAULT_TTL, item.kind
            value = str(ipaddress.ip_address(item.value)) if kind in ("A", "AAAA") else item.value
        if value in ("127.0.0.1", "::1", "localhost.") and not name.startswith("localhost."):
            ttl = "10800"  # Unbound brings these along by itself
        name = name if name.endswith(".") else f"{name}."
        # Unbound reads its lines from the last to the first: a name is spelled as it was last.
        spelling[(name.lower(), kind)] = name
        first = value.split()[0] if value.split() else value
        row = {"name": name, "ttl": ttl, "type": "IN", "rrtype": kind, "value": first}
        found.setdefault((name.lower(), kind, value), row)
    return [{**row, "name": spelling[(row["name"].lower(), row["rrtype"])]} for row in found.values()]


def _escaped(name: str) -> str:
    """A name as Unbound prints it: bytes beyond ASCII as decimal numbers."""
    return "".join(chr(byte) if byte < 128 else f"\\{byte:03d}" for byte in name.encode())
