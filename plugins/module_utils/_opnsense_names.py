# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and values of DNS records in one form (private to the collection)."""

from __future__ import annotations

import ipaddress
import re
import typing as t

LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?")
HOST_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
TYPES = ("A", "AAAA", "MX", "TXT")
MAX_TTL = 2147483647


def plain(name: str) -> str:
    """Return a name of the router as it is compared: lower case, without the final dot."""
    return name.strip().rstrip(".").lower()


def normalise(name: str) -> str:
    """Return a name that somebody typed: lower case, without the final dot, IDN as ASCII. Raise ValueError."""
    name = name.strip()
    name = name.removesuffix(".")
    labels = name.split(".")
    if not name:
        raise ValueError("is empty")
    result = []
    for label in labels:
        if not label.isascii():
            try:
                label = label.encode("idna").decode("ascii")
            except UnicodeError:
                raise ValueError(f"contains the label {label!r}, which has no form in ASCII") from None
        result.append(label.lower())
    return ".".join(result)


def check_name(name: str, wildcard: bool = False) -> t.List[str]:
    """Return what is wrong with a normalised name."""
    problems = []
    labels = name.split(".")
    if wildcard and labels[0] == "*":
        labels = labels[1:]
        if not labels:
            return ["has nothing below which * could stand; write *.domain"]
    if '"' in name or "'" in name:
        problems.append("contains a quote, which stops the resolver; write it without")
    for label in labels:
        if not label:
            problems.append("contains an empty label; write one dot between two labels")
        elif len(label) > 63:
            problems.append(f"contains the label {label[:20]}... of {len(label)} characters; a label has at most 63")
        elif not LABEL.fullmatch(label) and '"' not in label and "'" not in label:
            problems.append(f"contains the label {label!r}; a label is made of letters, digits, - and _")
    if len(name) > 253:
        problems.append(f"has {len(name)} characters; a name has at most 253")
    return problems


def split(name: str) -> t.Tuple[str, str]:
    """Return host and domain of a full name. The domain has no label with an underscore: the router refuses these."""
    labels = name.split(".")
    if len(labels) == 1:
        return "", name
    count = 1
    while count < len(labels) - 1 and any(not HOST_LABEL.fullmatch(label) for label in labels[count:]):
        count += 1
    return ".".join(labels[:count]), ".".join(labels[count:])


def join(host: str, domain: str) -> str:
    """Return the full name of host and domain."""
    return f"{host}.{domain}" if host and domain else host or domain


def address(text: str) -> str:
    """Return an address in its shortest form, or the text in lower case when it is none."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        return text.strip().lower()


def family(text: str) -> int:
    """Return 4 or 6 for an address, 0 for anything else."""
    try:
        return ipaddress.ip_address(text.strip()).version
    except ValueError:
        return 0


def inside(name: str, zone: str) -> bool:
    """Tell whether a name lies in a zone."""
    return name == zone or name.endswith(f".{zone}")


def reverse(text: str) -> str:
    """Return the name of the PTR record of an address."""
    return ipaddress.ip_address(text).reverse_pointer.lower()


def first_words(text: str) -> str:
    """Return the part of a TXT text by which it can be known in the list of the running server.

    That list is cut at the first blank, and what needs an escape is written differently there.
    """
    match = re.match(r'[^\s"\\\x00-\x20\x7f-\U0010ffff]*', text)
    return match.group(0) if match else ""


def live_token(kind: str, value: str) -> str:
    """Return the value of a record of the running server as it can be compared: it is cut at the first blank."""
    if kind in ("A", "AAAA"):
        return address(value)
    if kind == "MX":
        return value.split()[0] if value.split() else ""
    if kind == "TXT":
        value = value.strip()
        return first_words(value.removeprefix('"'))
    return plain(value)
