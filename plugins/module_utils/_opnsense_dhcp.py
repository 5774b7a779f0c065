# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""DHCP reservations of an OPNsense router, in Dnsmasq or in Kea (private to the collection)."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import time
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_names as names
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Api,
    Fields,
    Json,
    Missing,
    OpnsenseError,
    entries,
    part,
    rows,
    text,
)
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dns import Engine, Options, Server, joined
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_plan import (
    Item,
    Store,
    check_description,
    tagged,
    untagged,
)


def mac_address(value: str) -> str:
    """Return a MAC address as six pairs of lower-case digits with colons, or nothing when it is none."""
    digits = re.sub(r"[:.\s-]", "", value).lower()
    if not re.fullmatch(r"[0-9a-f]{12}", digits):
        return ""
    return ":".join(digits[start : start + 2] for start in range(0, 12, 2))


class Reservations(Engine):
    """Reservations of one DHCP server. The MAC address is the key; an address that changes is changed in place."""

    kind = "reservation"
    list_name = "reservations"

    def parsed(self, number: int, reservation: Options, problems: t.List[str]) -> t.Optional[t.Dict[str, str]]:
        """Return a wanted reservation in normal form; append what is wrong with it."""
        where = f"reservations[{number}]"
        mac = mac_address(str(reservation.get("mac") or ""))
        if not mac:
            problems.append(
                f"{where}: mac {reservation.get('mac')!r} is not a MAC address; write it like 52:54:00:12:34:56"
            )
        at = f"{where} {mac}".rstrip()
        address = names.address(str(reservation.get("address") or ""))
        if self.options["state"] != "absent" and names.family(address) != 4:
            problems.append(f"{at}: address {reservation.get('address')!r} is not an IPv4 address")
        hostname = domain = ""
        if reservation.get("hostname"):
            try:
                hostname = names.normalise(str(reservation["hostname"]))
                domain = names.normalise(str(reservation["domain"])) if reservation.get("domain") else ""
                faults = names.check_name(names.join(hostname, domain))
                problems += [f"{at}: hostname {reservation['hostname']!r} {fault}" for fault in faults]
            except ValueError as error:
                problems.append(f"{at}: hostname or domain {error}")
        description = str(reservation.get("description") or "").strip()
        problems += check_description(description, self.owner, at)
        return {
            "mac": mac,
            "address": address,
            "hostname": hostname,
            "domain": domain,
            "description": tagged(description, self.owner),
            "where": where,
        }

    def wanted(self, problems: t.List[str]) -> t.List[Item]:
        found: t.Dict[str, Item] = {}
        addresses: t.Dict[str, str] = {}
        absent = self.options["state"] == "absent"
        for number, reservation in enumerate(self.options["reservations"] or []):
            entry = self.parsed(number, reservation, problems)
            if entry is None or not entry["mac"]:
                continue
            where = f"{entry['where']} {entry['mac']}"
            if entry["mac"] in found:
                problems.append(f"{where}: the MAC address is in {found[entry['mac']].where} as well; keep one of them")
                continue
            if not absent and entry["address"] in addresses:
                problems.append(
                    f"{where}: address {entry['address']} is in {addresses[entry['address']]} as well; keep one of them"
                )
            addresses[entry["address"]] = entry["where"]
            found[entry["mac"]] = (
                Item((entry["mac"],), "", {}, entry["mac"], where=entry["where"])
                if absent
                else self.item(entry, problems)
            )
        return list(found.values())

    def item(self, entry: t.Dict[str, str], problems: t.List[str]) -> Item:
        """Return a wanted reservation as it is compared."""
        raise NotImplementedError  # Dnsmasq and Kea each have their own

    def reuse(self, old: Item, new: Item) -> bool:
        return bool(set(old.value.split(",")) & set(new.value.split(",")) - {""})

    def delete_first(self) -> bool:
        held = {one for item in self.plan.deletes for one in item.value.split(",")} - {""}
        return any(set(change.new.value.split(",")) & held for change in self.plan.updates)

    def dangers(self) -> t.List[str]:
        gone = {item.uuid for item in self.plan.deletes} | {change.old.uuid for change in self.plan.updates}
        held = {one: item for item in self.existing if item.uuid not in gone for one in item.value.split(",") if one}
        problems = []
        for new in [*self.plan.creates, *(change.new for change in self.plan.updates)]:
            other = held.get(new.value)
            if other is not None:
                problems.append(
                    f"{new.where} {new.label}: the address belongs to {other.label} on the router; give another one"
                )
        return problems

    def line(self, mac: str, address: str, name: str, description: str) -> str:
        """Return a reservation as one line."""
        return f"{address} {mac} {name or '-'} ; {description}"


class DnsmasqReservations(Reservations):
    """Reservations of Dnsmasq: the entry is the DNS name as well."""

    whole_updates = True

    def __init__(
        self,
        api: Api,
        options: Options,
        check_mode: bool,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
        settings: t.Optional[Json] = None,
    ) -> None:
        super().__init__(api, options, check_mode, sleep, clock)
        self.server = Server(api, "dnsmasq", "Dnsmasq DNS & DHCP", sleep, clock)
        self.settings: t.Dict[str, Json] = {}
        self.prefetched = settings

    def make_store(self) -> Store:
        return Store(
            self.api,
            "reservation",
            delete="dnsmasq/settings/del_host",
            bulk="dnsmasq/settings/set",
            envelope=("dnsmasq", "hosts"),
        )

    def read(self) -> t.List[Item]:
        try:
            answer = self.prefetched or self.api.get("dnsmasq/settings/get")
        except Missing as error:
            raise OpnsenseError(
                f"backend dnsmasq is not possible before OPNsense 25.1.2: {error}", "Use backend kea."
            ) from None
        self.prefetched = None
        self.settings = part(answer, "dnsmasq")
        result = []
        for uuid, host in entries(self.settings.get("hosts")).items():
            result += self.parse(uuid, {name: text(value) for name, value in host.items()})
        return result

    def parse(self, uuid: str, raw: Fields) -> t.List[Item]:
        """Return the reservations in a host; a name without a MAC address is none."""
        macs = [mac for mac in (mac_address(one) for one in raw.get("hwaddr", "").split(",")) if mac]
        owner = untagged(raw.get("descr", ""))[1]
        if owner == self.owner:
            macs = macs[:1]
        addresses = joined(names.address(one) for one in raw.get("ip", "").split(","))
        name = names.join(names.plain(raw.get("host", "")), names.plain(raw.get("domain", ""))).strip(".")
        fields = {
            "ip": addresses,
            "host": names.plain(raw.get("host", "")),
            "domain": names.plain(raw.get("domain", "")),
            "descr": raw.get("descr", ""),
        }
        return [
            Item(
                (mac,),
                addresses,
                fields,
                f"{mac} {addresses} {name}".strip(),
                line=self.line(mac, addresses, name, fields["descr"]),
                owner=owner,
                uuid=uuid,
                where="on the router:",
                raw=raw,
            )
            for mac in macs
        ]

    def item(self, entry: t.Dict[str, str], problems: t.List[str]) -> Item:
        host, domain = entry["hostname"], entry["domain"]
        if host and not domain and "." in host:
            host, _rest, domain = host.partition(".")
        domain = domain or names.plain(str(self.options.get("domain") or ""))
        if host and not domain:
            problems.append(
                f"{entry['where']} {entry['mac']}: Dnsmasq needs the domain of {host}; give domain, or the full hostname"
            )
        name = names.join(host, domain) if host else ""
        fields = {
            "ip": entry["address"],
            "host": host,
            "domain": domain if host else "",
            "descr": entry["description"],
        }
        return Item(
            (entry["mac"],),
            entry["address"],
            fields,
            f"{entry['mac']} {entry['address']} {name}".strip(),
            base={"hwaddr": entry["mac"]},
            line=self.line(entry["mac"], entry["address"], name, entry["description"]),
            owner=self.owner,
            where=entry["where"],
            asked=["host", "domain"] if host else [],
        )

    def enabled(self) -> bool:
        return text(self.settings.get("enable", "1")) == "1"

    def stale(self) -> t.List[str]:
        return ["the server does not run"] if self.server.status() == "stopped" else []


class KeaReservations(Reservations):
    """Reservations of Kea: each lies in a subnet."""

    def __init__(
        self,
        api: Api,
        options: Options,
        check_mode: bool,
        sleep: t.Callable[[float], None] = time.sleep,
        clock: t.Callable[[], float] = time.monotonic,
        settings: t.Optional[Json] = None,
    ) -> None:
        super().__init__(api, options, check_mode, sleep, clock)
        self.server = Server(api, "kea", "Kea DHCP", sleep, clock)
        self.settings = settings
        self.subnets: t.Dict[str, str] = {}

    def make_store(self) -> Store:
        return Store(
            self.api,
            "reservation",
            delete="kea/dhcpv4/del_reservation",
            bulk="kea/dhcpv4/set",
            envelope=("dhcpv4", "reservations", "reservation"),
            add="kea/dhcpv4/add_reservation",
            change="kea/dhcpv4/set_reservation",
            envelope_single="reservation",
            required="subnet",
        )

    def read(self) -> t.List[Item]:
        if not self.subnets:
            self.subnets = {
                str(row.get("uuid", "")): str(row.get("subnet", ""))
                for row in rows(self.api.get("kea/dhcpv4/search_subnet"))
            }
        return [self.parse(row) for row in rows(self.api.get("kea/dhcpv4/search_reservation"))]

    def parse(self, row: t.Dict[str, Json]) -> Item:
        """Return a row of the search as it is compared. Old releases give the subnet as its label."""
        raw = {name: text(value) for name, value in row.items() if not name.startswith("%")}
        by_label = {cidr: uuid for uuid, cidr in self.subnets.items()}
        raw["subnet"] = by_label.get(raw.get("subnet", ""), raw.get("subnet", ""))
        mac = mac_address(raw.get("hw_address", ""))
        address = names.address(raw.get("ip_address", ""))
        fields = {
            "subnet": raw["subnet"],
            "ip_address": address,
            "hostname": names.plain(raw.get("hostname", "")),
            "description": raw.get("description", ""),
        }
        return Item(
            (mac or f"client {raw.get('client_id', '')}",),
            address,
            fields,
            f"{mac} {address} {fields['hostname']}".strip(),
            line=self.line(mac, address, fields["hostname"], fields["description"]),
            owner=untagged(fields["description"])[1],
            uuid=raw.pop("uuid", ""),
            where="on the router:",
            raw=raw,
        )

    def item(self, entry: t.Dict[str, str], problems: t.List[str]) -> Item:
        subnet = ""
        if names.family(entry["address"]) == 4:
            address = ipaddress.ip_address(entry["address"])
            matching = []
            for uuid, cidr in self.subnets.items():
                try:
                    network = ipaddress.ip_network(cidr, strict=False)
                except ValueError:
                    continue
                if address in network:
                    matching.append((network.prefixlen, uuid))
            subnet = max(matching)[1] if matching else ""
            if not subnet:
                known = ", ".join(sorted(self.subnets.values())) or "none"
                problems.append(
                    f"{entry['where']} {entry['mac']}: address {entry['address']} lies in no subnet of Kea (there are: "
                    f"{known}); add the subnet on the router or correct the address"
                )
        hostname = names.join(entry["hostname"], entry["domain"]) if entry["domain"] else entry["hostname"]
        fields = {
            "subnet": subnet,
            "ip_address": entry["address"],
            "hostname": hostname,
            "description": entry["description"],
        }
        return Item(
            (entry["mac"],),
            entry["address"],
            fields,
            f"{entry['mac']} {entry['address']} {hostname}".strip(),
            base={"hw_address": entry["mac"]},
            line=self.line(entry["mac"], entry["address"], hostname, entry["description"]),
            owner=self.owner,
            where=entry["where"],
            asked=["hostname"] if hostname else [],
        )

    def enabled(self) -> bool:
        # Only known when the backend was chosen by it; otherwise the state of the service tells after applying.
        return self.settings is None or text(part(self.settings, "dhcpv4", "general").get("enabled", "1")) == "1"

    def look(self, result: t.Dict[str, t.Any]) -> None:
        """Kea does not tell which reservations are active, so there is nothing to repair."""

    def restored(self, item: Item) -> Fields:
        kept = ("subnet", "ip_address", "hw_address", "client_id", "hostname", "description")
        return {name: item.raw[name] for name in kept if item.raw.get(name)}


def reservations(
    api: Api,
    options: Options,
    check_mode: bool,
    sleep: t.Callable[[float], None] = time.sleep,
    clock: t.Callable[[], float] = time.monotonic,
) -> Reservations:
    """Return the reservations of the wanted backend; with auto, of the DHCP server that is enabled."""
    backend = options.get("backend") or "auto"
    if backend == "dnsmasq":
        return DnsmasqReservations(api, options, check_mode, sleep, clock)
    if backend == "kea":
        return KeaReservations(api, options, check_mode, sleep, clock)
    dnsmasq: Json = None
    with contextlib.suppress(Missing):
        dnsmasq = api.get("dnsmasq/settings/get")
    if text(part(dnsmasq, "dnsmasq").get("enable", "0")) == "1" and entries(part(dnsmasq, "dnsmasq", "dhcp_ranges")):
        # It hands out addresses: what Kea is set to does not matter, both cannot have the port.
        return DnsmasqReservations(api, options, check_mode, sleep, clock, dnsmasq)
    kea: Json = None
    with contextlib.suppress(Missing):
        kea = api.get("kea/dhcpv4/get")
    if text(part(kea, "dhcpv4", "general").get("enabled", "0")) == "1":
        return KeaReservations(api, options, check_mode, sleep, clock, kea)
    if text(part(dnsmasq, "dnsmasq").get("enable", "0")) == "1":
        return DnsmasqReservations(api, options, check_mode, sleep, clock, dnsmasq)
    raise OpnsenseError(
        "backend auto: neither Dnsmasq nor Kea is enabled on the router",
        "Enable one of them, or name the backend; with apply false, reservations can be saved all the same.",
    )
