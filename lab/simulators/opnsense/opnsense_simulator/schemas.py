# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The models of a release: Unbound, Dnsmasq, Kea, firewall aliases and rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import php
from .fields import (
    AliasContent,
    AliasName,
    AutoNumber,
    Boolean,
    Constraint,
    Csv,
    Description,
    Field,
    Hostname,
    LabelName,
    Mac,
    Network,
    NetworkAlias,
    Number,
    Option,
    Port,
    Protocol,
    Text,
    in_subnet,
    is_address,
    is_subnet,
)
from .model import Array, Container, Model, Node, Row, World
from .releases import Release

DOMAIN_MASK = r"^(?:(?:[a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])\.)*(?:[a-z0-9]|[a-z0-9][a-z0-9\-]*[a-z0-9])$"
LARGEST = 2147483647
PRIVATE_NETWORKS = (
    "0.0.0.0/8,10.0.0.0/8,100.64.0.0/10,169.254.0.0/16,172.16.0.0/12,192.0.2.0/24,192.168.0.0/16,198.18.0.0/15,"
    "198.51.100.0/24,203.0.113.0/24,233.252.0.0/24,::1/128,2001:db8::/32,fc00::/8,fd00::/8,fe80::/10"
)
Child = Field | Container | Array


def _words(text: str) -> list[str]:
    return text.split()


def _same(*names: str) -> dict[str, str]:
    """Options whose label is their key."""
    return {name: name for name in names}


def _reference(field: str, index: int = 0) -> Constraint:
    return Constraint("reference", field=field, index=index)


def _domain(name: str, **others: Any) -> Text:
    return Text(name, DOMAIN_MASK, flags=re.IGNORECASE, message="A valid domain must be specified.", **others)


def _interfaces(name: str, **others: Any) -> Option:
    return Option(name, lambda node: node.world.interface_options(), **others)


# Unbound


def _unbound_hosts(release: Release) -> Array:
    hostname_message = "A valid hostname must be specified." if release.at_least_26 else None
    kinds = {"A": "A (IPv4 address)", "AAAA": "AAAA (IPv6 address)"}
    kinds["MX"] = "MX (mail server)" if release.at_least_25_7 else "MX (Mail server)"
    references = [_reference("mxprio"), _reference("mx"), _reference("server"), _reference("server", 1)]
    if release.host_txt:
        kinds["TXT"] = "TXT (text)"
        references.append(_reference("txtdata"))
    address_needed = "The field IP address is required."
    fields: list[Child] = [
        Boolean("enabled", "1", required=True),
        Hostname("hostname", dns_name=True, address=False, wildcard=True, message=hostname_message),
        _domain("domain", required=True),
        Option("rr", kinds, required=True, default="A", constraints=tuple(references)),
        Number(
            "mxprio", constraints=(Constraint("set_if", "The field MX Priority is required.", field="rr", check="MX"),)
        ),
        Hostname("mx", constraints=(Constraint("set_if", "The field MX Host is required.", field="rr", check="MX"),)),
    ]
    if release.host_ttl:
        fields.append(Number("ttl", 0, LARGEST))
    fields.append(
        Network(
            "server",
            mask_allowed=release.server_netmask,
            constraints=(
                Constraint("set_if", address_needed, field="rr", check="A"),
                Constraint("set_if", address_needed, field="rr", check="AAAA"),
            ),
        )
    )
    if release.host_txt:
        needed = Constraint("set_if", "The field TXT Data is required.", field="rr", check="TXT")
        fields.append(Description("txtdata", constraints=(needed,)))
        if not release.at_least_26:
            fields.append(Text("aliascount", volatile=True))
    if release.addptr:
        fields.append(Boolean("addptr", "1", required=True))
    if release.inline_aliases:
        fields.append(
            Hostname(
                "aliases",
                dns_name=True,
                address=False,
                wildcard=True,
                wildcard_prefix=True,
                as_list=True,
                volatile=True,
                message="[%s] is not a valid host/domain name.",
            )
        )
    fields.append(Description("description"))
    return Array("host", fields)


def _host_names(node: Node) -> dict[str, str]:
    """The host overrides an alias can belong to."""
    _array, rows = node.model.array("hosts.host")
    labels = {key: f"{row['hostname']}.{row['domain']}" for key, row in rows.items()}
    return dict(sorted(labels.items(), key=lambda item: php.natural_key(item[1])))


def _unbound_aliases() -> Array:
    host_needed = "The host field is required if a domain has not been specified."
    domain_needed = "The domain field is required if a host has not been specified."
    return Array(
        "alias",
        [
            Boolean("enabled", "1", required=True),
            Option("host", _host_names, required=True),
            Hostname(
                "hostname",
                dns_name=True,
                address=False,
                wildcard=True,
                constraints=(Constraint("set_if", host_needed, field="domain"),),
            ),
            _domain("domain", constraints=(Constraint("set_if", domain_needed, field="hostname"),)),
            Description("description"),
        ],
    )


def _unbound_forwards(release: Release) -> Array:
    fields: list[Child] = [
        Boolean("enabled", "1", required=True),
        Option("type", {"dot": "DNS over TLS", "forward": "Forward"}, required=True, default="dot"),
        Hostname("domain", dns_name=True, address=False, message="A valid domain must be specified."),
        Network("server", required=True),
        Port("port"),
        Hostname("verify"),
        Boolean("forward_tcp_upstream", "0", required=True),
    ]
    if release.name != "24.7":
        fields.append(Boolean("forward_first", "0", required=True))
    fields.append(Description("description"))
    return Array("dot", fields)


def _unbound_advanced() -> Container:
    switches = (
        "hideidentity hideversion prefetch prefetchkey dnssecstripped",
        "serveexpired",
        "serveexpiredttlreset",
        "qnameminstrict extendedstatistics logqueries logreplies logtagqueryreply logservfail loglocalactions",
    )
    numbers = (
        "outgoingnumtcp incomingnumtcp numqueriesperthread outgoingrange jostletimeout discardtimeout cachemaxttl "
        "cachemaxnegativettl cacheminttl infrahostttl"
    )
    levels = {str(level): f"Level {level}" + (" (Default)" if level == 1 else "") for level in range(6)}
    validation = {str(level): f"Level {level}" + (" (Default)" if level == 0 else "") for level in range(3)}
    return Container(
        "advanced",
        [
            *(Boolean(name) for name in switches[0].split()),
            Boolean("aggressivensec", "1", required=True),
            Boolean(switches[1]),
            Number("serveexpiredreplyttl"),
            Number("serveexpiredttl"),
            Boolean(switches[2]),
            Number("serveexpiredclienttimeout"),
            *(Boolean(name) for name in switches[3].split()),
            Option("logverbosity", levels, required=True, default="1"),
            Option("valloglevel", validation, required=True, default="0"),
            Csv("privatedomain"),
            Network("privateaddress", required=True, any_allowed=False, as_list=True, default=PRIVATE_NETWORKS),
            Csv("insecuredomain"),
            Text("msgcachesize", r"[0-9]+[kmg]?", flags=re.IGNORECASE),
            Text("rrsetcachesize", r"[0-9]+[kmg]?", flags=re.IGNORECASE),
            *(Number(name) for name in numbers.split()),
            Boolean("infrakeepprobing"),
            Number("infracachenumhosts"),
            Number("unwantedreplythreshold"),
        ],
    )


def _unbound(release: Release) -> Container:
    zone_types = _same(
        "transparent", "always_nxdomain", "always_refuse", "always_transparent", "deny", "inform", "inform_deny",
        "nodefault", "refuse", "static", "typetransparent",
    )  # fmt: skip
    actions = {"allow": "Allow", "deny": "Deny", "refuse": "Refuse"}
    more_actions = {
        **actions,
        "allow_snoop": "Allow Snoop",
        "deny_non_local": "Deny Non-local",
        "refuse_non_local": "Refuse Non-local",
    }
    general: list[Child] = [
        Boolean("enabled", "0", required=True),
        Port("port", default="53", required=True),
        Boolean("stats"),
        _interfaces("active_interface", multiple=True),
        Boolean("dnssec"),
        Boolean("dns64"),
        Network("dns64prefix", mask_required=True, family=6),
        Boolean("noarecords"),
        Boolean("regdhcp"),
        _domain("regdhcpdomain"),
        Boolean("regdhcpstatic"),
        Boolean("noreglladdr6"),
        Boolean("noregrecords"),
        Boolean("txtsupport"),
        Boolean("cacheflush"),
        *([Boolean("safesearch")] if release.at_least_25_7 else []),
        Option("local_zone_type", zone_types, required=True, default="transparent"),
        _interfaces("outgoing_interface", multiple=True),
        Boolean("enable_wpad"),
    ]
    blocking: list[Child] = [
        Boolean("enabled", "1" if release.at_least_25_7 else "0", required=True),
        *([] if release.at_least_25_7 else [Boolean("safesearch")]),
        Option("type", {"ag": "AdGuard List", "el": "EasyList", "sb": "Steven Black List"}, multiple=True),
        Csv("lists"),
        Csv("allowlists" if release.at_least_25_7 else "whitelists"),
        Csv("blocklists"),
        Csv("wildcards"),
    ]
    if release.at_least_25_7:
        blocking.append(Network("source_nets", as_list=True, any_allowed=False))
    blocking += [Network("address", mask_allowed=False, family=4), Boolean("nxdomain")]
    if release.at_least_25_7:
        blocking += [Number("cache_ttl", default="72000", required=True), Description("description", required=True)]
    dnsbl = Container("dnsbl", [Array("blocklist", blocking)] if release.at_least_25_7 else blocking)
    access = Array(
        "acl",
        [
            Boolean("enabled", "1", required=True),
            Text("name", required=True, message="An Access list name is required."),
            Option("action", more_actions, required=True, default="allow"),
            Network("networks", required=True, any_allowed=False, mask_required=True, as_list=True),
            Description("description"),
        ],
    )
    default_action = Option("default_action", actions, required=True, default="allow")
    return Container(
        "unbound",
        [
            Container("general", general),
            _unbound_advanced(),
            Container("acls", [default_action, access]),
            dnsbl,
            Container("forwarding", [Boolean("enabled")]),
            Container("dots", [_unbound_forwards(release)]),
            Container("hosts", [_unbound_hosts(release)]),
            Container("aliases", [_unbound_aliases()]),
        ],
    )


def host_aliases(model: Model, key: str) -> list[tuple[str, Row]]:
    """The aliases of a host override, with their uuids."""
    _array, rows = model.array("aliases.alias")
    return [(alias, row) for alias, row in rows.items() if row["host"] == key]


def _fill_alias_fields(model: Model) -> None:
    """Volatile fields of host overrides that tell of their aliases."""
    _array, hosts = model.array("hosts.host")
    by_host: dict[str, list[Row]] = {}
    for alias in model.array("aliases.alias")[1].values():
        by_host.setdefault(alias["host"], []).append(alias)
    before = model.before["hosts"]["host"]
    for key, row in hosts.items():
        aliases = by_host.get(key, [])
        if model.release.inline_aliases:
            names = ((alias["hostname"], alias["domain"] or row["domain"]) for alias in aliases)
            value = ",".join(f"{name}.{domain}" if name else domain for name, domain in names)
            row["aliases"] = before[key]["aliases"] = value
        elif "aliascount" in row:
            row["aliascount"] = before[key]["aliascount"] = str(len(aliases))


def _reflect_aliases(node: Node, name: str, old: str) -> None:
    """Writing the field `aliases` of a host override creates and deletes alias objects."""
    if name != "aliases" or not node.path.startswith("hosts.host."):
        return
    model, domain = node.model, node.text("domain")
    stored = model.before["hosts"]["host"].get(node.key, {}).get("aliases", "")
    wanted = [entry.strip() for entry in node.text("aliases").split(",") if entry.strip()]
    present = [entry for entry in stored.split(",") if entry]

    def split(entry: str) -> tuple[str, str]:
        entry = entry.strip().rstrip(".")
        host, dot, rest = entry.partition(".")
        return (host, "" if rest == domain else rest) if dot else (entry, "")

    for entry in [entry for entry in present if entry not in wanted]:
        for key, row in host_aliases(model, node.key):
            if (row["hostname"], row["domain"]) == split(entry):
                model.delete("aliases.alias", key)
    for entry in [entry for entry in wanted if entry not in present]:
        host, rest = split(entry)
        record = model.add("aliases.alias")
        model.set_record(
            record, {"enabled": "1", "host": node.key, "hostname": host, "domain": rest, "description": ""}
        )


def _check_unbound(model: Model, full: bool) -> Iterator[tuple[str, str]]:
    if not model.release.at_least_26:
        return
    before = model.before["hosts"]["host"]
    for key, row in model.array("hosts.host")[1].items():
        if (full or row != before.get(key)) and row["hostname"].endswith("."):
            yield f"hosts.host.{key}.hostname", "A valid hostname must be specified."


# Dnsmasq


def _tags(node: Node) -> dict[str, str]:
    return {key: row["tag"] for key, row in node.model.array("dhcp_tags")[1].items()}


def _dnsmasq(release: Release) -> Container:
    new = release.dnsmasq_cnames
    host = LabelName("host", wildcard=True) if new else Hostname("host", dns_name=True, address=False, wildcard=True)
    hosts: list[Child] = [
        host,
        LabelName("domain", domain=True) if new else _domain("domain"),
        Boolean("local"),
        Network("ip", mask_allowed=False, as_list=True),
        *([LabelName("cnames", domain=True, as_list=True)] if new else []),
        Text(
            "client_id",
            r"^(?:\*|(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+))$",
            message='Value must be a colon-separated hexadecimal sequence (e.g., 01:02:f3) or "*".',
        ),
        Mac("hwaddr", as_list=True),
        Number("lease_time"),
        Boolean("ignore"),
        Option("set_tag", _tags),
        Text("descr"),
        Text("comments"),
        LabelName("aliases", domain=True, as_list=True)
        if new
        else Hostname("aliases", dns_name=True, address=False, as_list=True),
    ]
    overrides: list[Child] = [
        AutoNumber("sequence", 1, 99999, required=True, message="Please enter a value between 1 and 99999."),
        LabelName("domain", required=True, domain=True, wildcard=True),
        *([Option("ipset")] if new else []),
        Network("srcip", mask_allowed=False),
        Port("port"),
        Network("ip", mask_allowed=False),
        Text("descr"),
    ]
    tags = Text("tag", required=True, constraints=(Constraint("unique", "Tag names should be unique."),))
    ranges: list[Child] = [
        _interfaces("interface", blank="Any"),
        Option("set_tag", _tags),
        Network("start_addr", mask_allowed=False, required=True),
        Network("end_addr", mask_allowed=False),
        *([Network("subnet_mask", mask_allowed=False, family=4)] if new else []),
        _interfaces("constructor"),
        Option("mode", _same("static"), multiple=True),
        Number("prefix_len", 1, 64),
        Number("lease_time"),
        Option("domain_type", {"interface": "Interface", "range": "Range"}, default="range", required=True),
        Hostname("domain", dns_name=True, address=False),
        Boolean("nosync"),
        Description("description"),
    ]
    dhcp: list[Child] = [
        _interfaces("no_interface", multiple=True),
        Boolean("fqdn", "1", required=True),
        Hostname("domain", dns_name=True, address=False),
        *([Boolean("local", "1", required=True)] if new else []),
        Number("lease_max", 0),
        Boolean("authoritative"),
        Boolean("default_fw_rules", "1", required=True),
        Number("reply_delay", 0, 60),
        Boolean("enable_ra"),
        *([Boolean("host_ping", "1", required=True)] if release.at_least_26 else []),
        Boolean("nosync"),
        *([Boolean("log_dhcp"), Boolean("log_quiet")] if new else []),
    ]
    return Container(
        "dnsmasq",
        [
            *(
                Boolean(name)
                for name in _words(
                    "enable regdhcp regdhcpstatic dhcpfirst strict_order domain_needed no_private_reverse no_resolv "
                    "log_queries no_hosts strictbind dnssec"
                )
            ),
            Hostname("regdhcpdomain", dns_name=True),
            _interfaces("interface", multiple=True),
            Number("port", 0, 65535),
            Number("dns_port", volatile=True),
            Number("dns_forward_max", 0),
            Number("cache_size", 0),
            Number("local_ttl", 0),
            Option("add_mac", _same("standard", "base64", "text")),
            Boolean("add_subnet"),
            Boolean("strip_subnet"),
            Container("dhcp", dhcp),
            Boolean("no_ident", "1", required=True),
            Array("hosts", hosts),
            Array("domainoverrides", overrides),
            Array("dhcp_tags", [tags]),
            Array("dhcp_ranges", ranges),
        ],
    )


def _check_dnsmasq(model: Model, full: bool) -> Iterator[tuple[str, str]]:
    hosts = model.array("hosts")[1]
    before = model.before["hosts"]
    addresses: dict[str, int] = {}
    cnames: dict[str, int] = {}
    names: set[str] = set()
    for row in hosts.values():
        if row["hwaddr"] or row["client_id"]:
            for address in filter(None, row["ip"].split(",")):
                addresses[address] = addresses.get(address, 0) + 1
        if row["host"]:
            names.add(f"{row['host']}.{row['domain']}" if row["domain"] else row["host"])
        for cname in filter(None, row.get("cnames", "").split(",")):
            cnames[cname] = cnames.get(cname, 0) + 1
    for key, row in hosts.items():
        if not full and row == before.get(key):
            continue
        yield from _check_dnsmasq_host(f"hosts.{key}", row, addresses)
        for cname in filter(None, row.get("cnames", "").split(",")):
            if cnames[cname] > 1:
                yield f"hosts.{key}.cnames", f"CNAME '{cname}' is already in use by a host override."
            if cname in names:
                text = f"CNAME '{cname}' overlaps with a host and domain combination in a host override."
                yield f"hosts.{key}.cnames", text


def _check_dnsmasq_host(path: str, row: Row, addresses: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    own = list(filter(None, row["ip"].split(",")))
    if not (row["hwaddr"] or row["client_id"]):
        if not row["host"] or not own:
            text = "Both hostname and IP address are required for host overrides."
            yield f"{path}.host", text
            yield f"{path}.ip", text
        return
    for address in own:
        if not address.startswith("::") and addresses[address] > 1:
            yield f"{path}.ip", f"'{address}' is already used in another DHCP host entry."
    if sum(":" not in address for address in own) > 1:
        yield f"{path}.ip", "For IPv4 dhcp reservations, only a single address is allowed."
    if not row["host"] and not own:
        text = "At least a hostname or IP address must be provided for DHCP reservations."
        yield f"{path}.host", text
        yield f"{path}.ip", text
    if row["host"] == "*":
        yield f"{path}.host", "Wildcard entries are not allowed for DHCP reservations."


# Kea


def _option_data(name: str, reservation: bool) -> Container:
    fields: list[Child] = [
        Network("domain_name_servers", mask_allowed=False, family=4, as_list=True),
        Hostname("domain_search", address=False, as_list=True, message="Please specify a valid list of domains."),
        Network("routers", mask_allowed=False, family=4, as_list=True),
        Text("static_routes"),
        Text("classless_static_route"),
        Hostname("domain_name", address=False),
        Network("ntp_servers", mask_allowed=False, family=4, as_list=True),
        Network("time_servers", mask_allowed=False, family=4, as_list=True),
        Text("tftp_server_name", r'^([^\n"])*$'),
        Text("boot_file_name", r'^([^\n"])*$'),
    ]
    if not reservation:
        fields += [Number("v6_only_preferred", 300), Text("v4_dnr", r'^([^\n"])*$')]
    return Container(name, fields)


def _subnets(node: Node) -> dict[str, str]:
    rows = node.model.array("subnets.subnet4")[1]
    labels = {key: row["subnet"] for key, row in rows.items()}
    return dict(sorted(labels.items(), key=lambda item: php.natural_key(item[1])))


def _kea(release: Release) -> Container:
    stop = "." if release.at_least_25_7 else ""
    duplicate = f"Duplicate entry exists{stop}"
    general: list[Child] = [
        Boolean("enabled", "0", required=True),
        Boolean("manual_config"),
        _interfaces("interfaces", multiple=True),
        Number("valid_lifetime", 0, default="4000", required=True),
        Boolean("fwrules", "1", required=True),
        Option("dhcp_socket_type", _same("udp", "raw"), default="raw", required=True),
    ]
    subnet: list[Child] = []
    if release.name == "26.7":
        unique = Constraint("unique", "Subnet ID must be unique.")
        subnet.append(AutoNumber("subnet_id", 1, 4294967294, required=True, constraints=(unique,)))
    once = (Constraint("unique", "Subnet must be unique."),) if release.at_least_25_7 else ()
    subnet += [
        Network("subnet", mask_required=True, family=4, required=True, constraints=once),
        *([Number("valid_lifetime", 0)] if release.at_least_26 else []),
        Network("next_server", mask_allowed=False, family=4),
        Boolean("option_data_autocollect", "1", required=True),
        _option_data("option_data", False),
        *([Boolean("match-client-id", "1", required=True)] if release.name != "24.7" else []),
        Text("pools"),
        Description("description"),
    ]
    reservation: list[Child] = [
        Option(
            "subnet",
            _subnets,
            required=True,
            message=f"Related subnet not found{stop}",
            constraints=(
                _reference("hw_address"),
                *([_reference("client_id")] if release.at_least_26 else []),
            ),
        ),
        Network("ip_address", mask_allowed=False, family=4, constraints=(Constraint("unique", duplicate),)),
        Mac(
            "hw_address",
            required=not release.at_least_26,
            constraints=(Constraint("unique", duplicate, fields=("subnet",), ignore_case=release.at_least_25_7),),
        ),
    ]
    if release.at_least_26:
        reservation.append(
            Text(
                "client_id",
                r"^(?:[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2})+)$",
                message="Value must be a colon-separated hexadecimal sequence (e.g., 01:02:f3).",
                constraints=(Constraint("unique", duplicate, fields=("subnet",)),),
            )
        )
    reservation += [Hostname("hostname", dns_name=True), Description("description")]
    if release.at_least_25_7:
        reservation.append(_option_data("option_data", True))
    lexpire = "hold_reclaimed_time reclaim_timer_wait_time flush_reclaimed_timer_wait_time max_reclaim_time"
    return Container(
        "dhcpv4",
        [
            Container("general", general),
            Container("lexpire", [Number(name, 0) for name in lexpire.split()] if release.at_least_25_7 else []),
            Container(
                "ha",
                [
                    Boolean("enabled", "0", required=True),
                    Text("this_server_name", r"^([0-9a-zA-Z.\:\-,_]){0,1024}$"),
                    Number("max_unacked_clients", 0, 65535, default="2", required=True),
                ],
            ),
            Container("subnets", [Array("subnet4", subnet)]),
            Container("reservations", [Array("reservation", reservation)]),
        ],
    )


def _check_kea(model: Model, full: bool) -> Iterator[tuple[str, str]]:
    subnets = model.array("subnets.subnet4")[1]
    before = model.before["reservations"]["reservation"]
    for key, row in model.array("reservations.reservation")[1].items():
        if not full and row == before.get(key):
            continue
        path = f"reservations.reservation.{key}"
        subnet = subnets.get(row["subnet"], {}).get("subnet", "")
        if not in_subnet(row["ip_address"], subnet):
            yield f"{path}.ip_address", "Address not in specified subnet"
        if model.release.at_least_26:
            if row["client_id"] and row["hw_address"]:
                text = "Either a client ID or a MAC address should be specified, but not both"
                yield f"{path}.hw_address", text
            elif not row["client_id"] and not row["hw_address"]:
                yield f"{path}.hw_address", "Either a client ID or a MAC address should be specified."


# Firewall

STATIC_ALIASES = {
    "bogons": ("external", "bogon networks (internal)", ""),
    "bogonsv6": ("external", "bogon networks IPv6 (internal)", ""),
    "virusprot": ("external", "overload table for rate limiting (internal)", "3600"),
    "sshlockout": ("external", "abuse lockout table (internal)", "3600"),
}


def built_in_aliases(world: World) -> dict[str, dict[str, str]]:
    """The aliases that OPNsense itself defines."""
    result = {
        name: {"enabled": "1", "name": name, "type": kind, "description": text, "expire": expire, "content": ""}
        for name, (kind, text, expire) in STATIC_ALIASES.items()
    }
    for key, description in world.interface_options().items():
        name = f"__{key}_network"
        result[name] = {
            "enabled": "1",
            "name": name,
            "type": "internal",
            "description": f"{description} net",
            "content": "",
        }
    return result


def _aliases(release: Release) -> Container:
    kinds = {
        "host": "Host(s)",
        "network": "Network(s)",
        "port": "Port(s)",
        "url": "URL (IPs)",
        "urltable": "URL Table (IPs)",
        "urljson": "URL Table in JSON format (IPs)",
        "geoip": "GeoIP",
        "networkgroup": "Network group",
        "mac": "MAC address",
        "asn": "BGP ASN",
        "dynipv6host": "Dynamic IPv6 Host",
        "authgroup": "OpenVPN group",
        "internal": "Internal (automatic)",
        "external": "External (advanced)",
    }
    if release.name == "24.7":
        del kinds["urljson"]
    tracked = Constraint(
        "set_if", "IPv6 Dynamic Host require an interface to track.", field="type", check="dynipv6host"
    )
    counters = "eval_nomatch eval_match in_block_p in_block_b in_pass_p in_pass_b out_block_p out_block_b out_pass_p"
    newer: list[Child] = []
    if release.name != "24.7":
        methods = _same("Basic", "Bearer", *(["Header"] if release.at_least_25_7 else []))
        newer += [Text("password"), Text("username"), Option("authtype", methods)]
    if release.at_least_25_7:
        newer.append(Number("expire", 60, 999999999))
    volatile: list[Child] = []
    if release.name != "24.7":
        volatile += [Text("current_items", volatile=True), Text("last_updated", volatile=True)]
    if release.at_least_25_7:
        volatile += [Text(name, volatile=True) for name in [*counters.split(), "out_pass_b"]]
    alias: list[Child] = [
        Boolean("enabled", "1", required=True),
        AliasName(
            "name",
            required=True,
            constraints=(Constraint("unique", "An alias with this name already exists."),),
        ),
        Option("type", kinds, required=True, default="alert", constraints=(_reference("interface"),)),
        *([Text("path_expression")] if release.name != "24.7" else []),
        Option("proto", _same("IPv4", "IPv6"), multiple=True),
        _interfaces("interface", constraints=(tracked,)),
        Boolean("counters"),
        Text("updatefreq", r"^-?[0-9.]+$", message="Days and hours should be numeric values or left empty."),
        AliasContent("content"),
        *newer,
        Option(
            "categories",
            lambda node: node.world.categories(),
            multiple=True,
            message="Related category not found.",
        ),
        *volatile,
        Description("description"),
    ]
    return Container(
        "alias",
        [
            Container("geoip", [Text("url")]),
            Container("aliases", [Array("alias", alias, static=built_in_aliases)]),
        ],
    )


def _filter(release: Release) -> Container:
    states = {
        "keep": "keep state",
        "sloppy": "sloppy state",
        "modulate": "modulate state",
        "synproxy": "synproxy state",
        "none": "no state",
    }
    old = release.name == "24.7"
    sequence: Field = (
        Number("sequence", 1, 99999, default="1", required=True)
        if old
        else AutoNumber(
            "sequence", 1, 999999, step=100, required=True, message="Sequence shall be between 1 and 999999."
        )
    )
    policies = {"if-bound": "Bind states to interface", "floating": "Floating states"}
    directions = {"in": "In", "out": "Out", **({"any": "Both"} if not old else {})}
    protocols = {"inet": "IPv4", "inet6": "IPv6", **({"inet46": "any"} if not old else {})}
    icmp = _same("echoreq", "echorep", "unreach", "redir", "routeradv", "routersol", "timex", "paramprob")
    limits = "statetimeout max-src-nodes max-src-states max-src-conn max max-src-conn-rate max-src-conn-rates"

    def gateways(node: Node) -> Mapping[str, str]:
        return node.world.gateways()

    rule: list[Child] = [Boolean("enabled", "1", required=True)]
    if not old:
        rule += [
            Option("statetype", states, required=True, default="keep"),
            Option("state-policy", policies, blank="default"),
        ]
    rule.append(sequence)
    if not old:
        rule += [Text("sort_order", volatile=True), Text("prio_group", volatile=True)]
    rule += [
        Option("action", {"pass": "Pass", "block": "Block", "reject": "Reject"}, required=True, default="pass"),
        Boolean("quick", "1", required=True),
    ]
    if not old:
        rule.append(Boolean("interfacenot", "0", required=True))
    rule += [
        _interfaces("interface", multiple=True),
        Option("direction", directions, required=True, default="in"),
        Option("ipprotocol", protocols, required=True, default="inet"),
        Protocol("protocol", required=True, default="any"),
    ]
    if not old:
        rule.append(Option("icmptype", icmp, multiple=True))
    rule += [
        NetworkAlias("source_net", default="any", required=True),
        Boolean("source_not", "0", required=True),
        Port("source_port", rule=True, message="Please specify a valid portnumber, name, alias or range."),
        NetworkAlias("destination_net", default="any", required=True),
        Boolean("destination_not", "0", required=True),
        Port("destination_port", rule=True, message="Please specify a valid portnumber, name, alias or range."),
        Option("gateway", gateways, message="Specify a valid gateway from the list matching the networks ip protocol."),
    ]
    if not old:
        rule += [Option("replyto", gateways), Boolean("disablereplyto", "0", required=True)]
    rule.append(Boolean("log", "0", required=True))
    if not old:
        rule += [Boolean(name, "0", required=True) for name in ("allowopts", "nosync", "nopfsync")]
        rule += [Number(name, 1, LARGEST) for name in limits.split()]
        rule += [Number(name, 0, LARGEST) for name in ("adaptivestart", "adaptiveend")]
        rule += [Text(name, r"^([0-9a-zA-Z.,_\-]){0,512}$") for name in ("tag", "tagged")]
    rule += [
        Option(
            "categories",
            lambda node: node.world.categories(),
            multiple=True,
            message="Related category not found.",
        ),
        Description("description"),
    ]
    return Container("filter", [Container("rules", [Array("rule", rule)])])


def rule_priority(row: Row, interfaces: Mapping[str, str]) -> int:
    """The group that a rule is evaluated in: floating rules before those of one interface."""
    names = [name for name in row["interface"].split(",") if name]
    if names and not any(name in interfaces for name in names):
        return 600000
    if len(names) != 1 or row.get("interfacenot") == "1":
        return 200000
    return 400000


def _fill_rule_fields(model: Model) -> None:
    interfaces = model.world.interface_options()
    before = model.before["rules"]["rule"]
    for key, row in model.array("rules.rule")[1].items():
        if "sort_order" in row:
            priority = rule_priority(row, interfaces)
            row["sort_order"] = f"{priority}.0{php.integer(row['sequence'], 0):06d}"
            row["prio_group"] = str(priority)
            before[key]["sort_order"], before[key]["prio_group"] = row["sort_order"], row["prio_group"]


def _check_filter(model: Model, full: bool) -> Iterator[tuple[str, str]]:
    before = model.before["rules"]["rule"]
    for key, row in model.array("rules.rule")[1].items():
        if full or row != before.get(key):
            for field, text in _rule_faults(row, model.release):
                yield f"rules.rule.{key}.{field}", text


def _rule_faults(row: Row, release: Release) -> Iterator[tuple[str, str]]:
    with_ports = row["protocol"] in ("TCP", "UDP", "TCP/UDP")
    for side, name in (("source", "Source"), ("destination", "Destination")):
        if row[f"{side}_port"] and not with_ports:
            yield f"{side}_port", f"{name} ports are only valid for tcp or udp type rules."
    for side, name in (("destination", "Destination"), ("source", "Source")):
        net = row[f"{side}_net"]
        family = "inet6" if ":" in net else "inet"
        if (is_address(net) or is_subnet(net)) and family != row["ipprotocol"]:
            yield f"{side}_net", f"{name} address type should match selected TCP/IP protocol version."
    for side in ("source", "destination"):
        nets = row[f"{side}_net"].split(",")
        if len(nets) > 1 and "any" in nets:
            yield f"{side}_net", "Any can not be combined with other aliases"
    if row.get("icmptype") and row["protocol"] != "ICMP":
        yield "icmptype", "Option only applies to ICMP packets"
    inverted = "is only allowed for single targets to avoid mis-interpretations"
    if "," in row["source_net"] and row["source_not"] == "1":
        yield "source_not", f"Inverting sources {inverted}"
    if "," in row["destination_net"] and row["destination_not"] == "1":
        yield "destination_net", f"Inverting destinations {inverted}"
    if row.get("interfacenot") == "1" and len([name for name in row["interface"].split(",") if name]) != 1:
        yield "interfacenot", "Inverting interfaces is only allowed for single targets to avoid mis-interpretations"
    if release.name != "24.7" and row["protocol"] not in ("TCP", "TCP/UDP"):
        for name in ("statetimeout", "max-src-conn", "max-src-conn-rate", "max-src-conn-rates"):
            if row[name]:
                yield name, "Invalid option for other than TCP protocol choices."


_BUILDERS = {"unbound": _unbound, "dnsmasq": _dnsmasq, "dhcpv4": _kea, "alias": _aliases, "filter": _filter}
_SCHEMAS: dict[tuple[str, str], Container] = {}
MODELS = tuple(_BUILDERS)


def load(name: str, values: Row, world: World) -> Model:
    """A model with the values of the configuration, ready to be read, written and checked."""
    schema = _SCHEMAS.setdefault((name, world.release.name), _BUILDERS[name](world.release))
    model = Model(name, schema, values, world)
    if name == "unbound":
        _fill_alias_fields(model)
        model.after_set = _reflect_aliases
        model.more_checks = _check_unbound
    elif name == "dnsmasq":
        model.values["dns_port"] = model.before["dns_port"] = model.values["port"] or "53"
        model.more_checks = _check_dnsmasq
    elif name == "dhcpv4":
        model.more_checks = _check_kea
    elif name == "alias":
        pass
    else:
        _fill_rule_fields(model)
        model.more_checks = _check_filter
    return model
