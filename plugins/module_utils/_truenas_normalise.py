# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One form for values that a person and TrueNAS write differently (private to the collection).

All functions are pure. Those that read what a person wrote raise ValueError with a sentence that names the remedy.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
import typing as t

Network = t.Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Row = t.Dict[str, t.Any]

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40, "P": 2**50}
LEAST_QUOTA = 2**30
SECURITY = ("SYS", "KRB5", "KRB5I", "KRB5P")
LIFETIME_UNITS = ("HOUR", "DAY", "WEEK", "MONTH", "YEAR")
SCHEMA_PARTS = ("%Y", "%m", "%d", "%H", "%M")
CRON = ("minute", "hour", "dom", "month", "dow")
ON_OFF = {"yes": "ON", "true": "ON", "on": "ON", "no": "OFF", "false": "OFF", "off": "OFF"}

SIZES = ("quota", "refquota", "reservation", "refreservation")
NUMBERS = (
    "copies",
    "special_small_block_size",
    "quota_warning",
    "quota_critical",
    "refquota_warning",
    "refquota_critical",
)
SWITCHES = ("atime", "exec", "readonly")
CHOICES: t.Dict[str, t.Tuple[str, ...]] = {
    "acltype": ("OFF", "NFSV4", "POSIX"),
    "aclmode": ("PASSTHROUGH", "RESTRICTED", "DISCARD"),
    "sync": ("STANDARD", "ALWAYS", "DISABLED"),
    "snapdir": ("DISABLED", "VISIBLE", "HIDDEN"),
    "deduplication": ("ON", "VERIFY", "OFF"),
    "checksum": ("ON", "OFF", "FLETCHER2", "FLETCHER4", "SHA256", "SHA512", "SKEIN", "EDONR", "BLAKE3"),
}
COMPRESSION = re.compile(r"ON|OFF|LZ4|LZJB|ZLE|GZIP(-[19])?|ZSTD(-([1-9]|1[0-9]))?|ZSTD-FAST(-[0-9]+)?")
PROPERTIES = tuple(sorted((*SIZES, *NUMBERS, *SWITCHES, *CHOICES, "compression", "recordsize", "comments")))
"""Properties of a dataset that can be set, by the names of the API."""
SAME = {"POSIXACL": "POSIX", "NOACL": "OFF"}


def is_number(value: t.Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def size(value: t.Any) -> int:
    """Return a size in bytes: 1073741824, 1G, 1GiB; nothing, 0 and none are zero."""
    text = str(value if value is not None else "").strip().upper()
    if text in ("", "0", "NONE", "NULL"):
        return 0
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]?)(?:I?B)?", text)
    if not match:
        raise ValueError(f"{value!r} is not a size; write bytes or a number with K, M, G or T, like 500G")
    number = float(match.group(1)) * UNITS[match.group(2)] if "." in match.group(1) else 0
    return int(number) or int(match.group(1).split(".")[0]) * UNITS[match.group(2)]


def size_text(value: int) -> str:
    """Return a size the way TrueNAS names record sizes: 1048576 is 1M."""
    for unit in ("P", "T", "G", "M", "K"):
        if value and value % UNITS[unit] == 0:
            return f"{value // UNITS[unit]}{unit}"
    return str(value)


def wanted_property(name: str, value: t.Any) -> t.Any:
    """Return what a person wrote for a property of a dataset in the form that TrueNAS takes."""
    text = str(value).strip()
    upper = text.upper()
    if name == "comments":
        return text
    if upper == "INHERIT" and name not in SIZES:
        return "INHERIT"
    if name == "recordsize":
        number = size(value)
        if number < 512 or number > 16 * 2**20 or number & (number - 1):
            raise ValueError(f"{value!r} is not a record size; it is a power of two from 512 to 16M, like 1M")
        return size_text(number)
    if name in SIZES:
        number = size(value)
        if name in ("quota", "refquota") and 0 < number < LEAST_QUOTA:
            raise ValueError(f"{value!r} is less than 1G, the least that TrueNAS takes; 0 means no limit")
        return number
    if name in NUMBERS:
        if name == "special_small_block_size":
            return size(value)
        if not re.fullmatch(r"[0-9]+", text):
            raise ValueError(f"{value!r} is not a whole number")
        return int(text)
    if name in SWITCHES:
        if text.lower() not in ON_OFF:
            raise ValueError(f"{value!r} is neither on nor off (nor inherit)")
        return ON_OFF[text.lower()]
    if name == "compression":
        upper = ON_OFF.get(text.lower(), upper)
        if not COMPRESSION.fullmatch(upper):
            raise ValueError(f"{value!r} is no compression; use for example lz4, zstd, zstd-5 or off")
        return upper
    upper = SAME.get(ON_OFF.get(text.lower(), upper), ON_OFF.get(text.lower(), upper))
    if upper not in CHOICES[name]:
        raise ValueError(f"{value!r} is not one of {', '.join(CHOICES[name]).lower()}")
    return upper


def actual_property(name: str, row: Row, wanted: t.Any) -> t.Any:
    """Return the property of a row in the form of wanted_property, or INHERIT where that is wanted and so."""
    entry = row.get(name)
    if not isinstance(entry, dict):
        # Some releases list what TrueNAS itself keeps in user properties (the comment, warnings) only there.
        entry = (row.get("user_properties") or {}).get(name)
    if not isinstance(entry, dict):
        return "" if name == "comments" else 0 if name in SIZES else "INHERIT" if wanted == "INHERIT" else None
    if wanted == "INHERIT" and entry.get("source") != "LOCAL":
        return "INHERIT"
    parsed, raw, value = entry.get("parsed"), entry.get("rawvalue"), entry.get("value")
    if name == "comments":
        return str(raw if raw is not None else value or "")
    if name in SIZES:
        return parsed if is_number(parsed) else size(raw)
    if name in NUMBERS:
        return parsed if is_number(parsed) else int(str(raw)) if str(raw).isdigit() else raw
    if name == "recordsize":
        try:
            return size_text(int(str(parsed)) if is_number(parsed) else size(raw or value))
        except ValueError:
            return value
    if isinstance(value, bool) or value is None:
        value = parsed if value is None else value
    if isinstance(value, bool):
        return "ON" if value else "OFF"
    upper = str(value).upper()
    return SAME.get(upper, upper)


def network(text: str) -> str:
    """Return a network in CIDR notation, as TrueNAS stores it: 10.1.2.3/16 is 10.1.0.0/16."""
    try:
        found = ipaddress.ip_network(str(text).strip(), strict=False)
    except ValueError:
        raise ValueError(f"{text!r} is not a network; write it like 10.0.0.0/24") from None
    if int(found.network_address) == 0:
        raise ValueError(f"{text!r} means everybody; leave networks and hosts empty and set allow_everyone for that")
    return str(found)


def overlapping(first: str, second: str) -> bool:
    """Whether two networks in CIDR notation share an address."""
    left, right = ipaddress.ip_network(first), ipaddress.ip_network(second)
    return left.version == right.version and left.overlaps(t.cast(t.Any, right))


def host(text: str) -> str:
    """Return a client in the form for comparing."""
    name = str(text).strip().rstrip(".")
    if not name or re.search(r"[\s\"']", name):
        raise ValueError(
            f"{text!r} has blanks or quotes or is empty; write a name, an address, a wildcard or @netgroup"
        )
    # Netgroups are case-sensitive, names are not.
    return name if name.startswith("@") else name.lower()


def clients(networks: t.Iterable[str], hosts: t.Iterable[str]) -> t.List[str]:
    """Say what is wrong with the clients of one share among each other."""
    problems = []
    listed = list(networks)
    for first, second in itertools.combinations(listed, 2):
        if overlapping(first, second):
            problems.append(
                f"networks: {first} is there twice; name it once"
                if first == second
                else f"networks: {first} and {second} overlap; keep the wider one"
            )
    names = list(hosts)
    for name in sorted({name for name in names if names.count(name) > 1}):
        problems.append(f"hosts: {name} is there twice; name it once")
    for name in names:
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            continue
        # A host inside a wider network is fine (it is the more specific entry); the same address twice is refused.
        for entry in listed:
            if address == ipaddress.ip_network(entry).network_address:
                problems.append(f"hosts: {name} is in networks already as {entry}; leave one of them out")
    return problems


def conflict(
    first: t.Tuple[t.FrozenSet[str], t.FrozenSet[str]], second: t.Tuple[t.FrozenSet[str], t.FrozenSet[str]]
) -> str:
    """Return a client that two shares of one path have in common (TrueNAS refuses that), or nothing."""
    if not any(first) and not any(second):
        return "everybody"
    both = sorted(first[1] & second[1])
    if both:
        return both[0]
    for left in sorted(first[0]):
        for right in sorted(second[0]):
            if overlapping(left, right):
                return left if left == right else f"{left} and {right}"
    return ""


def mode(text: t.Any) -> str:
    """Return permissions as four octal digits."""
    value = str(text).strip()
    # 0770 without quotes reaches a module as the decimal number 504: three digits count only where they cannot be that.
    if re.fullmatch(r"0[0-7]{3}", value) and int(value, 8):
        return value
    if re.fullmatch(r"[67][0-7]{2}", value):
        return "0" + value
    raise ValueError(f'{text!r} is not a mode; write four octal digits in quotes, like "0775"')


def schedule(value: t.Optional[t.Mapping[str, t.Any]]) -> t.Optional[t.Dict[str, str]]:
    """Return a schedule with all its fields, in one spelling."""
    if value is None:
        return None
    result = {}
    for field in CRON:
        text = value.get(field)
        text = ("00" if field == "minute" else "*") if text is None else str(text).strip()
        parts = []
        for part in text.split(","):
            part = re.sub(r"(?<![0-9])0+(?=[0-9])", "", part.strip())
            parts.append(part)
        result[field] = ",".join(parts)
    result["minute"] = re.sub(r"^[0-9]$", lambda match: "0" + match.group(), result["minute"])
    for field, default in (("begin", "00:00"), ("end", "23:59")):
        hours, _separator, minutes = str(value.get(field) or default).partition(":")
        result[field] = f"{hours.zfill(2)}:{(minutes or '00')[:2].zfill(2)}"
    return result


def naming_schema(text: str) -> str:
    """Return the naming schema of snapshots, or say what is missing."""
    missing = [part for part in SCHEMA_PARTS if part not in text]
    if missing and "%s" not in text:
        raise ValueError(f"{text!r} lacks {' '.join(missing)}; TrueNAS needs %Y %m %d %H %M in it")
    if "/" in text or "@" in text:
        raise ValueError(f"{text!r} has a character that a snapshot's name cannot have")
    return text


def account(value: t.Any) -> t.Tuple[t.Optional[str], t.Optional[str]]:
    """Return user and group of a mapping, written as user, user:group or a dictionary."""
    if value is None or value == "":
        return None, None
    if isinstance(value, dict):
        unknown = sorted(set(value) - {"user", "group"})
        if unknown:
            raise ValueError(f"{', '.join(unknown)} is unknown; use user and group")
        user, group = value.get("user"), value.get("group")
    else:
        user, _separator, group = str(value).partition(":")
    user, group = (str(user).strip() or None) if user else None, (str(group).strip() or None) if group else None
    if group and not user:
        raise ValueError(f"the group {group} needs a user; write user:group")
    return user, group


def dataset_name(name: str, pool: str) -> str:
    """Return the full name of a dataset, which may be given without its pool."""
    plain = name.strip().strip("/")
    return plain if not pool or plain == pool or plain.startswith(pool + "/") else f"{pool}/{plain}"


def forbidden_dataset(name: str) -> str:
    """Say why a dataset is never touched, or nothing."""
    parts = name.split("/")
    if len(parts) < 2 or not all(parts):
        return f"{name} is the root dataset of a pool (or no dataset), which is never touched; name a dataset below it"
    special = next((part for part in parts[1:] if part == ".system" or part.startswith(("ix-", ".ix-"))), "")
    if special:
        return f"{name} belongs to TrueNAS itself ({special}) and is never touched; choose another name"
    if len(name) > 200 or not all(re.fullmatch(r"[A-Za-z0-9_.: -]+", part) and part.strip() == part for part in parts):
        return f"{name} is not a name of a dataset; use letters, digits and _ - . : (at most 200 characters)"
    return ""
