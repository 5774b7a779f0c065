# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines that an OPNsense router knows."""

from __future__ import annotations

DOCUMENTATION = r"""
name: opnsense
short_description: Machines that an OPNsense router knows
version_added: 0.1.0
description:
  - Makes hosts of the names, reservations, leases and neighbours that an OPNsense router knows. What belongs to one machine
    by name, MAC address or address becomes one host.
  - The file has to end in C(opnsense.yml) or C(opnsense.yaml).
  - Each source costs one request. A source that the key may not read, or that the release does not have, is a warning,
    and an error with O(strict=true).
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - constructed
  - inventory_cache
options:
  plugin:
    description: Has to be V(pantheon.ai.opnsense).
    type: str
    required: true
    choices: [pantheon.ai.opnsense]
  sources:
    description:
      - What is read. V(unbound) are host overrides of the resolver, without wildcards. V(dnsmasq_hosts) are hosts of Dnsmasq.
      - V(arp) are the neighbours that the router sees.
      - The first source that knows a name or an address for a machine wins.
    type: list
    elements: str
    choices: [unbound, dnsmasq_hosts, kea_reservations, dnsmasq_leases, kea_leases, arp]
    default: [unbound]
  domains:
    description: Take only machines inside these domains. Without any, all of them.
    type: list
    elements: str
    default: []
  owners:
    description:
      - Take only machines of which an entry carries the mark of one of these owners, as the modules write it. Without any,
        all of them.
    type: list
    elements: str
    default: []
  unnamed:
    description: Whether machines without a name are taken as well, under their address.
    type: bool
    default: false
  short_names:
    description: Whether hosts are called by the part before the first dot. Where two would be the same, both keep the full name.
    type: bool
    default: false
  host:
    description: Name or address of the router.
    type: str
    required: true
    env:
      - name: OPNSENSE_HOST
  port:
    description: Port of the web interface.
    type: int
    default: 443
    env:
      - name: OPNSENSE_PORT
  scheme:
    description: Whether TLS is used. With V(http) the API key travels readable; use it on loopback only.
    type: str
    choices: [https, http]
    default: https
    env:
      - name: OPNSENSE_SCHEME
  api_key:
    description: Key of the API.
    type: str
    env:
      - name: OPNSENSE_API_KEY
  api_secret:
    description: Secret of the API key.
    type: str
    env:
      - name: OPNSENSE_API_SECRET
  credentials_file:
    description: The file that OPNsense offers for download when a key is made.
    type: path
    env:
      - name: OPNSENSE_CREDENTIALS_FILE
  validate_certs:
    description: Whether the certificate is verified.
    type: bool
    default: true
    env:
      - name: OPNSENSE_VALIDATE_CERTS
  ca_path:
    description: The certificate of the router, or of who signed it, as a PEM file; or a folder of such files.
    type: path
    env:
      - name: OPNSENSE_CA_PATH
  tls_server_name:
    description: The name in the certificate, if it differs from O(host), like V(OPNsense.internal).
    type: str
    env:
      - name: OPNSENSE_TLS_SERVER_NAME
  tls_fingerprint:
    description: SHA-256 fingerprint that the certificate has to have. It is compared before the key is sent.
    type: str
    env:
      - name: OPNSENSE_TLS_FINGERPRINT
  timeout:
    description: Seconds to wait for an answer.
    type: float
    default: 20
    env:
      - name: OPNSENSE_TIMEOUT
seealso:
  - module: pantheon.ai.opnsense_dns_records
"""

EXAMPLES = r"""
# homelab.opnsense.yml: the machines with a reservation or a name, grouped by domain
plugin: pantheon.ai.opnsense
host: 10.42.0.1
tls_server_name: OPNsense.internal
ca_path: /etc/ansible/opnsense.pem
credentials_file: /etc/ansible/opnsense-key.txt
sources:
  - kea_reservations
  - unbound
domains:
  - home.arpa
keyed_groups:
  - key: opnsense_domain
    prefix: domain
groups:
  pantheon: "'pantheon' in opnsense_owners"
compose:
  ansible_user: "'ansible'"
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: .cache/inventory
cache_timeout: 300
"""

import contextlib
from typing import Any, TypedDict

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.pantheon.ai.plugins.module_utils import _opnsense_names as names
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    Api,
    Client,
    Forbidden,
    Missing,
    OpnsenseError,
    Settings,
    WrongKey,
    entries,
    part,
    rows,
    text,
)
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_dhcp import mac_address
from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_plan import untagged

CONNECTION = (
    "host",
    "port",
    "scheme",
    "api_key",
    "api_secret",
    "credentials_file",
    "validate_certs",
    "ca_path",
    "tls_server_name",
    "tls_fingerprint",
    "timeout",
)


class Entry(TypedDict):
    """What one source says about one machine."""

    source: str
    name: str
    addresses: list[str]
    mac: str
    owner: str
    description: str


class Machine(TypedDict):
    """One host as the inventory shows it."""

    name: str
    variables: dict[str, Any]


def entry(source: str, name: str, addresses: str, mac: str, description: str) -> Entry:
    """Return what a source says, in normal form."""
    words, owner = untagged(description)
    found = [names.address(one) for one in addresses.split(",") if names.family(one)]
    return {
        "source": source,
        "name": names.plain(name).strip("."),
        "addresses": found,
        "mac": mac_address(mac.split(",")[0]),
        "owner": owner,
        "description": words,
    }


def fetch(api: Api, source: str) -> list[Entry]:
    """Read one source of the router."""
    if source == "unbound":
        hosts = entries(part(api.get("unbound/settings/get"), "unbound", "hosts", "host"))
        raws = [{name: text(value) for name, value in host.items()} for host in hosts.values()]
        return [
            entry(
                source,
                names.join(raw.get("hostname", ""), raw.get("domain", "")),
                raw.get("server", ""),
                "",
                raw.get("description", ""),
            )
            for raw in raws
            if raw.get("enabled") == "1" and raw.get("rr") in ("A", "AAAA") and raw.get("hostname") != "*"
        ]
    if source == "dnsmasq_hosts":
        hosts = entries(part(api.get("dnsmasq/settings/get"), "dnsmasq", "hosts"))
        raws = [{name: text(value) for name, value in host.items()} for host in hosts.values()]
        return [
            entry(
                source,
                names.join(raw.get("host", ""), raw.get("domain", "")) if raw.get("host") else "",
                raw.get("ip", ""),
                raw.get("hwaddr", ""),
                raw.get("descr", ""),
            )
            for raw in raws
            if raw.get("host") != "*"
        ]
    if source == "kea_reservations":
        return [
            entry(
                source,
                row_text(row, "hostname"),
                row_text(row, "ip_address"),
                row_text(row, "hw_address"),
                row_text(row, "description"),
            )
            for row in rows(api.get("kea/dhcpv4/search_reservation"))
        ]
    if source in ("dnsmasq_leases", "kea_leases"):
        path = "dnsmasq/leases/search" if source == "dnsmasq_leases" else "kea/leases4/search"
        return [
            entry(source, lease_name(row), row_text(row, "address"), row_text(row, "hwaddr"), "")
            for row in rows(api.get(path))
        ]
    found: list[dict[str, Any]] = []
    with contextlib.suppress(Missing, Forbidden):
        found = rows(api.get("hostdiscovery/service/search"))
    if not found:
        # Before release 26.1, or where nothing is discovered, only the table of the kernel is there.
        found = rows(api.get("diagnostics/interface/search_arp"))
    return [
        entry(
            source,
            row_text(row, "hostname"),
            row_text(row, "ip_address") or row_text(row, "ip"),
            row_text(row, "ether_address") or row_text(row, "mac"),
            "",
        )
        for row in found
    ]


def row_text(row: dict[str, Any], field: str) -> str:
    """Return a field of a row."""
    return text(row.get(field))


def lease_name(row: dict[str, Any]) -> str:
    """Return the name that a client gave itself, if it is one."""
    name = names.plain(row_text(row, "hostname"))
    return "" if name in ("*", "?") or names.check_name(name) else name


def build(found: list[Entry], domains: list[str], owners: list[str], unnamed: bool, short: bool) -> list[Machine]:
    """Join what the sources say to machines; no Ansible object is touched here."""
    groups: dict[str, list[Entry]] = {}
    by_address: dict[str, str] = {}
    by_mac: dict[str, str] = {}
    by_label: dict[str, list[str]] = {}
    named = [one for one in found if one["name"]]
    for one in sorted(named, key=lambda one: "." not in one["name"]):
        name = one["name"]
        if "." not in name and name not in groups and len(by_label.get(name, [])) == 1:
            # A lease knows the name without its domain.
            name = by_label[name][0]
        if name not in groups and "." in name:
            by_label.setdefault(name.split(".")[0], []).append(name)
        groups.setdefault(name, []).append(one)
        for address in one["addresses"]:
            by_address.setdefault(address, name)
        if one["mac"]:
            by_mac.setdefault(one["mac"], name)
    for one in found:
        if one["name"]:
            continue
        known = by_mac.get(one["mac"]) if one["mac"] else None
        known = known or next((by_address[address] for address in one["addresses"] if address in by_address), None)
        if known is None and unnamed and one["addresses"]:
            known = one["addresses"][0]
            by_address[known] = known
            if one["mac"]:
                by_mac.setdefault(one["mac"], known)
        if known is not None:
            groups.setdefault(known, []).append(one)
    order = {id(one): number for number, one in enumerate(found)}
    machines = []
    for name, group in sorted(groups.items()):
        group.sort(key=lambda one: order[id(one)])
        is_address = bool(names.family(name))
        owned = sorted({one["owner"] for one in group if one["owner"]})
        if domains and (is_address or not any(names.inside(name, names.plain(domain)) for domain in domains)):
            continue
        if owners and not set(owners) & set(owned):
            continue
        addresses = list(dict.fromkeys(address for one in group for address in one["addresses"]))
        variables: dict[str, Any] = {
            "opnsense_name": name,
            "opnsense_domain": "" if is_address else name.partition(".")[2],
            "opnsense_addresses": addresses,
            "opnsense_mac": next((one["mac"] for one in group if one["mac"]), ""),
            "opnsense_owners": owned,
            "opnsense_description": next((one["description"] for one in group if one["description"]), ""),
            "opnsense_sources": sorted({one["source"] for one in group}),
        }
        if addresses:
            variables["ansible_host"] = next((one for one in addresses if names.family(one) == 4), addresses[0])
        machines.append(Machine(name=name, variables=variables))
    if short:
        labels = [machine["name"].split(".")[0] for machine in machines]
        for machine, label in zip(machines, labels, strict=True):
            if labels.count(label) == 1 and not names.family(machine["name"]):
                machine["name"] = label
    return machines


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """The machines that an OPNsense router knows."""

    NAME = "pantheon.ai.opnsense"

    def verify_file(self, path: str) -> bool:
        """Tell whether the file is for this plugin."""
        return bool(super().verify_file(path)) and path.endswith(("opnsense.yml", "opnsense.yaml"))

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Read the sources, or the cache, and fill the inventory."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        self.load_cache_plugin()
        key = self.get_cache_key(path)
        use = self.get_option("cache")
        found: list[Entry] | None = None
        if use and cache:
            found = self._cache.get(key)
        if found is None:
            found = self._fetch()
            if use:
                self._cache[key] = found
        for machine in build(
            found,
            self.get_option("domains"),
            self.get_option("owners"),
            self.get_option("unnamed"),
            self.get_option("short_names"),
        ):
            self._populate(machine)

    def _fetch(self) -> list[Entry]:
        params = {name: self._value(name) for name in CONNECTION}
        found: list[Entry] = []
        try:
            client = Client(Settings(params))
            for source in self.get_option("sources"):
                try:
                    found += fetch(client, source)
                except (WrongKey, Forbidden, Missing) as error:
                    if self.get_option("strict"):
                        raise
                    self.display.warning(f"Source {source} was left out. {error.sentence()}")
                    if isinstance(error, WrongKey):
                        # Each further attempt costs two seconds, and is seen as an attack.
                        break
            client.close()
        except OpnsenseError as error:
            raise AnsibleParserError(error.sentence()) from None
        return found

    def _value(self, name: str) -> Any:
        value = self.get_option(name)
        return self.templar.template(value) if isinstance(value, str) else value

    def _populate(self, machine: Machine) -> None:
        name = machine["name"]
        strict = self.get_option("strict")
        self.inventory.add_host(name)
        for variable, value in machine["variables"].items():
            self.inventory.set_variable(name, variable, value)
        known = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), known, name, strict=strict)
        known = self.inventory.get_host(name).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), known, name, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), known, name, strict=strict)
