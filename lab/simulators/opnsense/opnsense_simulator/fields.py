# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of fields that OPNsense's models are made of: what they store, show and refuse."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import php

if TYPE_CHECKING:
    from .model import Node

Options = Mapping[str, "str | tuple[str, str]"]

WELL_KNOWN_PORTS = {
    "afs3-fileserver": 7000, "aol": 5190, "auth": 113, "avt-profile-1": 5004, "cvsup": 5999, "domain": 53, "ftp": 21,
    "hbci": 3000, "http": 80, "https": 443, "igmpv3lite": 465, "imap": 143, "imaps": 993, "ipsec-msft": 10000,
    "ipsec-nat-t": 4500, "isakmp": 500, "l2f": 1701, "ldap": 389, "microsoft-ds": 445, "ms-streaming": 1755,
    "ms-wbt-server": 3389, "msnp": 1863, "nat-stun-port": 3478, "netbios-dgm": 138, "netbios-ns": 137,
    "netbios-ssn": 139, "nntp": 119, "ntp": 123, "openvpn": 1194, "pop3": 110, "pop3s": 995, "pptp": 1723,
    "radius": 1812, "radius-acct": 1813, "rfb": 5900, "sip": 5060, "smtp": 25, "snmp": 161, "snmptrap": 162,
    "ssh": 22, "submission": 587, "telnet": 23, "teredo": 3544, "tftp": 69, "urd": 465, "wins": 1512,
}  # fmt: skip


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PF_KEYWORDS = _words(
    "all allow-opts altq anchor antispoof any bandwidth binat binat-anchor bitmask block block-policy buckets cbq code "
    "codelq crop debug divert-reply divert-to drop drop-ovl dup-to fail-policy fairq fastroute file fingerprints flags "
    "floating flush for fragment from global group hfsc hogs hostid icmp-type icmp6-type if-bound in include inet "
    "inet6 interval keep label limit linkshare load log loginterface max max-mss max-src-conn max-src-conn-rate "
    "max-src-nodes max-src-states min-ttl modulate nat nat-anchor no no-df no-route no-sync on optimization os out "
    "overload pass port prio priority priq probability proto qlimit queue quick random random-id rdr rdr-anchor "
    "realtime reassemble reply-to require-order return return-icmp return-icmp6 return-rst round-robin route route-to "
    "rtable rule ruleset-optimization scrub set set-tos skip sloppy source-hash source-track state state-defaults "
    "state-policy static-port sticky-address synproxy table tag tagged target tbrsize timeout to tos ttl upperlimit "
    "urpf-failed user"
)
# Names of services and protocols that no alias may carry; the part of /etc/services and /etc/protocols that matters.
RESERVED_NAMES = _words(
    "ssh smtp domain http https imap imaps pop3 pop3s ntp snmp ldap ftp telnet tftp syslog nfs mysql postgresql redis "
    "icmp tcp udp igmp gre esp ah ip ipv6 ospf pim carp pfsync sctp vrrp"
)


def is_address(text: str) -> bool:
    """FILTER_VALIDATE_IP: an IPv4 or IPv6 address, without a scope."""
    if "%" in text:
        return False
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def is_subnet(text: str) -> bool:
    """An address, a slash and a prefix length; host bits may be set."""
    address, slash, length = text.partition("/")
    if not slash or not is_address(address) or not re.fullmatch(r"[0-9]+", length):
        return False
    return int(length) <= (128 if ":" in address else 32)


def is_wildcard(text: str) -> bool:
    """An address and a mask in address form."""
    parts = text.split("/")
    return len(parts) == 2 and all(map(is_address, parts)) and (":" in parts[0]) == (":" in parts[1])


def in_subnet(address: str, subnet: str) -> bool:
    """Whether an address lies in a subnet of the same family."""
    if not is_address(address) or not is_subnet(subnet) or (":" in address) != (":" in subnet):
        return False
    return ipaddress.ip_address(address) in ipaddress.ip_network(subnet, strict=False)


def is_port(text: str) -> bool:
    """A port, a range `from:to`, or the name of a service."""
    parts = text.split(":")
    return len(parts) <= 2 and all(
        (re.fullmatch(r"[0-9]{1,5}", part) is not None and 1 <= int(part) <= 65535) or part in WELL_KNOWN_PORTS
        for part in parts
    )


def is_domain_name(text: str) -> bool:
    """What an alias of type host accepts as a name."""
    parts = text.split(".")
    if parts[0].isdigit() and parts[-1].isdigit():
        return False
    return all(re.fullmatch(r"[^\W_]([^\W_]|-)*(?<!-)", part, re.IGNORECASE) is not None for part in parts)


def validate_domain(text: str, hostname: bool) -> bool:
    """PHP's FILTER_VALIDATE_DOMAIN; with `hostname` also FILTER_FLAG_HOSTNAME."""
    body = text.removesuffix(".")
    if not text or len(body.encode()) > 253 or body.startswith("."):
        return False
    labels = body.split(".")
    for label in labels:
        if not label or len(label.encode()) > 63:
            return False
        if hostname and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", label) is None:
            return False
    return True


def is_mac(text: str) -> bool:
    """FILTER_VALIDATE_MAC: pairs with colons or dashes, or three groups with dots."""
    return any(
        re.fullmatch(pattern, text) is not None
        for pattern in (
            r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}",
            r"([0-9A-Fa-f]{2}-){5}[0-9A-Fa-f]{2}",
            r"([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}",
        )
    )


@dataclass(frozen=True)
class Constraint:
    """A rule between fields of one record."""

    kind: str  # set_if, unique, depend, reference
    message: str = ""
    field: str = ""
    check: str = ""
    fields: tuple[str, ...] = ()
    ignore_case: bool = False
    index: int = 0  # reference: the number of the constraint at the other field

    def broken(self, node: Node, name: str) -> bool:
        """Whether the record breaks the rule, seen from the field `name`."""
        value = node.text(name)
        if self.kind == "set_if":
            return php.is_empty(value) and node.text(self.field) == self.check
        if self.kind == "depend":
            return php.is_empty(value) and any(not php.is_empty(node.text(other)) for other in self.fields)
        if self.kind == "unique":
            if php.is_empty(value) and not node.field(name).required:
                return False
            keys = sorted({name, *self.fields})
            return node.occurrences(tuple(keys), self.ignore_case) > 1
        raise AssertionError(f"unknown constraint {self.kind}")


class Field:
    """A leaf of a model. Values are text throughout."""

    is_list = False

    def __init__(
        self,
        name: str,
        *,
        default: str = "",
        required: bool = False,
        message: str | None = None,
        constraints: tuple[Constraint, ...] = (),
        volatile: bool = False,
    ) -> None:
        self.name = name
        self.default = default
        self.required = required
        self.message = message
        self.constraints = constraints
        self.volatile = volatile

    def initial(self, node: Node) -> str:
        """The value in a new record."""
        return self.default

    def normalize(self, value: str) -> str:
        """What is stored of a value that was sent."""
        return value

    def data(self, value: str, node: Node) -> Any:
        """What `get` shows."""
        return value

    def label(self, value: str, node: Node) -> str:
        """What people see in a table."""
        return value

    def default_message(self, node: Node) -> str:
        """The text for an invalid value."""
        return "Validation failed."

    def text(self, node: Node, content: str = "") -> str:
        """The validation text of this field, with the offending value filled in."""
        message = self.message if self.message is not None else self.default_message(node)
        return message % content if message.count("%s") == 1 else message

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        """The texts of everything wrong with a value that is not empty."""
        return iter(())

    def check(self, value: str, node: Node) -> Iterator[str]:
        """The texts of everything wrong with a value."""
        if self.required and value == "":
            yield "A value is required."
        if value != "":
            yield from self.invalid(value, node)


class Boolean(Field):
    """0 or 1."""

    def __init__(self, name: str, default: str = "0", *, required: bool = False, **others: Any) -> None:
        super().__init__(name, default=default, required=required, **others)

    def default_message(self, node: Node) -> str:
        return "Value should be a boolean (0,1)."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        if value not in ("0", "1"):
            yield self.text(node)


class Number(Field):
    """An integer within limits."""

    def __init__(self, name: str, minimum: int | None = None, maximum: int | None = None, **others: Any) -> None:
        super().__init__(name, **others)
        self.minimum = minimum
        self.maximum = maximum

    def default_message(self, node: Node) -> str:
        return "Invalid integer value."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        # Two validators look at the value: text breaks both, so that its message turns into a list.
        number = float(value) if php.is_numeric(value) else None
        if (
            number is None
            or (self.minimum is not None and number < self.minimum)
            or (self.maximum is not None and number > self.maximum)
        ):
            yield self.text(node)
        if re.fullmatch(r"\s*[+-]?(0|[1-9][0-9]*)\s*", value) is None:
            yield self.text(node)


class AutoNumber(Number):
    """An integer that a new record gets by itself: the first free one, or a step behind the last."""

    def __init__(self, name: str, minimum: int, maximum: int, *, step: int = 0, **others: Any) -> None:
        super().__init__(name, minimum, maximum, **others)
        self.step = step

    def initial(self, node: Node) -> str:
        used = [php.integer(value, 0) for value in node.column(self.name)]
        if self.step:
            return str(max([self.minimum or 1, *used]) + self.step)
        number = self.minimum or 1
        while number in used:
            number += 1
        return str(number)


class Text(Field):
    """Free text, with an optional mask."""

    def __init__(
        self, name: str, mask: str | None = None, *, flags: int = 0, strict: bool = False, **others: Any
    ) -> None:
        super().__init__(name, **others)
        self.mask = re.compile(mask, flags) if mask else None
        self.strict = strict

    def default_message(self, node: Node) -> str:
        return "Text does not validate."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        if self.strict and re.search(r"[ \t]", value):
            yield "Text may not contain spaces or tabs."
        elif self.strict and re.search(r"[\n\r]", value):
            yield "Text may not contain newlines."
        if self.mask is not None and self.mask.search(value) is None:
            yield self.text(node)


class Description(Field):
    """One line of 1 to 255 characters."""

    def default_message(self, node: Node) -> str:
        return "Description should be a string between 1 and 255 characters."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        # 26.x checks for line breaks by itself; the mask refuses a break in the middle on every release.
        if node.release.at_least_26 and re.search(r"[\n\r]", value):
            yield "Text may not contain newlines."
        if re.search(r"^.{1,255}$", value) is None or len(value.encode()) > 255:
            yield self.text(node)


class Set(Field):
    """Text that may hold a list with commas."""

    def __init__(self, name: str, *, as_list: bool = False, **others: Any) -> None:
        super().__init__(name, **others)
        self.is_list = as_list

    def items(self, value: str) -> list[str]:
        """The entries; without a list, the one value."""
        return value.split(",") if self.is_list else [value]

    def data(self, value: str, node: Node) -> Any:
        if self.is_list:
            return {entry: {"value": entry, "selected": 1} for entry in value.split(",")}
        return value


class Csv(Set):
    """A list of text entries."""

    def __init__(self, name: str, **others: Any) -> None:
        super().__init__(name, as_list=True, **others)


class Hostname(Set):
    """A name in DNS, by PHP's rules and OPNsense's."""

    def __init__(
        self,
        name: str,
        *,
        dns_name: bool = False,
        address: bool = True,
        wildcard: bool = False,
        wildcard_prefix: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(name, **others)
        self.dns_name = dns_name
        self.address = address
        self.wildcard = wildcard
        self.wildcard_prefix = wildcard_prefix

    def normalize(self, value: str) -> str:
        return value.strip()

    def default_message(self, node: Node) -> str:
        if node.release.at_least_26:
            return "[%s] is not a valid IP address or hostname."
        return "Please specify a valid IP address or hostname."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        for entry in self.items(value):
            name = entry[2:] if self.wildcard_prefix and entry.startswith("*.") else entry
            if self.wildcard and name == "*":
                continue
            if is_address(name):
                good = self.address
            else:
                good = validate_domain(name, not self.dns_name) and (
                    node.release.blanks_in_hostname or re.search(r"[\s/*]", name) is None
                )
            if not good:
                yield self.text(node, entry)
                return


class LabelName(Set):
    """Dnsmasq's names: labels of letters, digits, '-' and '_'."""

    def __init__(self, name: str, *, domain: bool = False, wildcard: bool = False, **others: Any) -> None:
        super().__init__(name, **others)
        self.domain = domain
        self.wildcard = wildcard

    def default_message(self, node: Node) -> str:
        return (
            "Labels must be 1\u201363 characters, start with a letter or digit, "
            "and may contain only letters, digits, '-' or '_'. "
        )

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        for item in self.items(value):
            if item == "":
                continue
            if item == "*":
                if not self.wildcard:
                    yield "Wildcards are not allowed."
                return
            if self.domain and len(item) > 255:
                yield "All labels combined may not exceed 255 characters."
                return
            for label in item.split(".") if self.domain else [item]:
                if re.fullmatch(r"(?![_-])[A-Za-z0-9_-]{1,63}", label) is None:
                    yield self.text(node)
                    return


class Network(Set):
    """An address or network; `any` passes unless wildcards are off."""

    def __init__(
        self,
        name: str,
        *,
        mask_required: bool = False,
        mask_allowed: bool = True,
        any_allowed: bool = True,
        family: int = 0,
        **others: Any,
    ) -> None:
        super().__init__(name, **others)
        self.mask_required = mask_required
        self.mask_allowed = mask_allowed
        self.any_allowed = any_allowed
        self.family = family

    def normalize(self, value: str) -> str:
        return value.lower().strip()

    def default_message(self, node: Node) -> str:
        return "Please specify a valid network segment or IP address."

    def _good(self, entry: str) -> bool:
        address = entry
        if "/" in entry:
            if not self.mask_allowed or not is_subnet(entry):
                return False
            address = entry.partition("/")[0]
        elif self.mask_required:
            return False
        if not is_address(address):
            return False
        return self.family in (0, 6 if ":" in address else 4)

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        if value == "any" and self.any_allowed:
            return
        if not all(map(self._good, self.items(value))):
            yield self.text(node)


class Mac(Set):
    """A MAC address."""

    def normalize(self, value: str) -> str:
        return value.strip()

    def default_message(self, node: Node) -> str:
        return "Invalid MAC address."

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        if not all(map(is_mac, self.items(value))):
            yield self.text(node)


class Option(Field):
    """A choice out of a list, or several with `multiple`; shown as an object of all choices."""

    def __init__(
        self,
        name: str,
        options: Options | Callable[[Node], Options] = (lambda node: {}),
        *,
        multiple: bool = False,
        blank: str = "None",
        **others: Any,
    ) -> None:
        super().__init__(name, **others)
        self._options = options
        self.multiple = multiple
        self.blank = blank

    def options(self, node: Node) -> Options:
        """The choices; some depend on the configuration."""
        return self._options(node) if callable(self._options) else self._options

    def default_message(self, node: Node) -> str:
        return "Option [%s] not in list." if node.release.at_least_26 else "Option not in list."

    def data(self, value: str, node: Node) -> Any:
        result: dict[str, Any] = {}
        if not self.required and not self.multiple:
            result[""] = {"value": self.blank, "selected": int(value == "")}
        chosen = value.split(",")
        for key, option in self.options(node).items():
            shown: dict[str, Any] = (
                {"value": option} if isinstance(option, str) else dict(zip(("value", "optgroup"), option, strict=True))
            )
            shown["selected"] = int(key in chosen)
            result[key] = shown
        return result

    def label(self, value: str, node: Node) -> str:
        if not node.release.raw_search:
            return ", ".join(entry["value"] for entry in self.data(value, node).values() if entry["selected"])
        options = self.options(node)
        labels = (options.get(key, key) for key in value.split(",") if key)
        return ", ".join(label if isinstance(label, str) else label[0] for label in labels)

    def extra(self, value: str, node: Node) -> bool:
        """Whether a value outside the list is good all the same."""
        return False

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        options = self.options(node)
        if not self.multiple:
            if value not in options and not self.extra(value, node):
                yield self.text(node)
            return
        for key in value.split(","):
            if key not in options and not self.extra(key, node):
                yield self.text(node, key)
                if not node.release.at_least_26:
                    return


class Protocol(Option):
    """An IP protocol, in upper case."""

    NAMES = ("TCP", "UDP", "TCP/UDP", "ICMP", "ESP", "AH", "GRE", "IGMP", "PIM", "OSPF", "CARP", "ETHERIP", "IPENCAP",
             "IPV6", "IPV6-ICMP", "L2TP", "PFSYNC", "RSVP", "SCTP", "VRRP")  # fmt: skip

    def __init__(self, name: str, **others: Any) -> None:
        super().__init__(name, {"any": "any", **{key: key for key in self.NAMES}}, **others)

    def normalize(self, value: str) -> str:
        return "any" if value.lower() == "any" else value.upper()


class Port(Option):
    """A port; for rules also a service's name, a range or an alias."""

    def __init__(self, name: str, *, rule: bool = False, **others: Any) -> None:
        super().__init__(name, **others)
        self.rule = rule

    def normalize(self, value: str) -> str:
        lowered = value.strip().lower()
        return lowered if self.rule and (lowered == "any" or lowered in WELL_KNOWN_PORTS) else value

    def default_message(self, node: Node) -> str:
        message = "Please specify a valid port number (1-65535)."
        if self.rule:
            message += f" A service name is also possible ({', '.join(WELL_KNOWN_PORTS)})."
        return message

    def data(self, value: str, node: Node) -> Any:
        return value

    def label(self, value: str, node: Node) -> str:
        return value

    def extra(self, value: str, node: Node) -> bool:
        if re.fullmatch(r"[1-9][0-9]{0,4}", value):
            return int(value) <= 65535
        if not self.rule:
            return False
        match = re.fullmatch(r"([0-9]{1,5})-([0-9]{1,5})", value)
        if match:
            return 1 <= int(match.group(1)) < int(match.group(2)) <= 65535
        return value == "any" or value in WELL_KNOWN_PORTS or value in node.world.alias_names(ports=True)


class NetworkAlias(Option):
    """Source or destination of a rule: an address, a network, an interface or an alias."""

    def __init__(self, name: str, **others: Any) -> None:
        super().__init__(name, lambda node: node.world.network_options(), multiple=True, **others)

    def default_message(self, node: Node) -> str:
        return f"{node.text(self.name)} is not a valid source IP address or alias."

    def data(self, value: str, node: Node) -> Any:
        return value

    def label(self, value: str, node: Node) -> str:
        if not node.release.raw_search:
            return value
        return super().label(value, node)

    def extra(self, value: str, node: Node) -> bool:
        # Only a value that is one address as a whole is added to the list; addresses in a list are refused.
        whole = node.text(self.name)
        return value == whole and (is_address(value) or is_subnet(value))


class AliasName(Field):
    """The name of a firewall alias."""

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        if re.fullmatch(r"[a-zA-Z]|(([_a-zA-Z][a-zA-Z0-9]|[a-zA-Z][_a-zA-Z0-9])[_a-zA-Z0-9]{0,29})", value) is None:
            yield (
                "The name must start with a letter or single underscore, be less than 32 characters and only consist "
                "of alphanumeric characters or underscores."
            )
        if value in PF_KEYWORDS:
            yield 'The name cannot be the internally reserved keyword "%s".'
        if value in RESERVED_NAMES:
            yield "Reserved protocol or service names may not be used"


class AliasContent(Field):
    """The entries of an alias, one per line."""

    def data(self, value: str, node: Node) -> Any:
        return {entry: {"value": entry, "selected": 1} for entry in value.split("\n")}

    def invalid(self, value: str, node: Node) -> Iterator[str]:
        kind = node.text("type")
        aliases = node.world.alias_names() | set(node.column("name"))
        rules: dict[str, tuple[Callable[[str], bool], str]] = {
            "port": (lambda entry: entry in aliases or is_port(entry), 'Entry "%s" is not a valid port number.'),
            "host": (
                lambda entry: self._host(entry, aliases),
                'Entry "%s" is not a valid hostname, IP address or range.',
            ),
            "network": (lambda entry: self._network(entry, aliases), 'Entry "%s" is not a network.'),
            "networkgroup": (lambda entry: entry in aliases, 'Entry "%s" is not a valid alias.'),
            "mac": (
                lambda entry: re.fullmatch(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){1,5}", entry) is not None,
                'Entry "%s" is not a valid (partial) MAC address.',
            ),
            "asn": (
                lambda entry: re.fullmatch(r"[1-9][0-9]{0,9}", entry) is not None and int(entry) <= 4294967296,
                'Entry "%s" is not a valid ASN.',
            ),
            "geoip": (
                lambda entry: re.fullmatch(r"[A-Z]{2}", entry) is not None,
                'Entry "%s" is not a valid country code.',
            ),
        }
        if kind in rules:
            good, message = rules[kind]
            for entry in value.split("\n"):
                if not good(entry):
                    yield message % entry

    @staticmethod
    def _host(entry: str, aliases: set[str]) -> bool:
        parts = entry.split("-")
        if len(parts) == 2 and is_address(parts[0]):
            return is_address(parts[1])
        if entry.startswith("!"):
            return is_address(entry[1:])
        return entry in aliases or is_address(entry) or is_domain_name(entry)

    @staticmethod
    def _network(entry: str, aliases: set[str]) -> bool:
        if entry.startswith("!"):
            return is_address(entry[1:]) or is_subnet(entry[1:]) or is_wildcard(entry[1:])
        parts = [part for part in entry.split("-") if part.strip()]
        if len(parts) == 2 and all(map(is_address, parts)):
            return True
        return entry in aliases or is_address(entry) or is_subnet(entry) or is_wildcard(entry)
