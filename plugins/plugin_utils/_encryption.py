# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted volumes: what the owner wants (``pantheon_encryption``), and what follows from it. Private to this collection."""

from __future__ import annotations

import hashlib
import hmac
import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SECRET = "encryption_key"
"""The one secret: the key of each volume is made from it, so that no machine holds the key of another one."""

SECRET_SPEC: dict[str, t.Any] = {"kind": "key", "length": 64}

TIERS = ("data", "compute", "tools", "observability", "edge")
METHODS = ("auto", "luks", "fscrypt")
UNLOCKS = ("file", "tpm2", "manual")

_KEYS = ("name", "machines", "device", "directory", "path", "method", "unlock", "wipe", "tiers", "key_machine")
_PATH = re.compile(r"(/[A-Za-z0-9_.@:+=-]+)+")


@dataclass(frozen=True)
class Encrypted:
    """A volume on each of its machines. The named volumes of services of the ``tiers`` lie on it."""

    name: str
    machines: tuple[str, ...]
    path: str
    device: str = ""
    directory: str = ""
    method: str = "auto"
    unlock: str = "file"
    wipe: str = ""
    tiers: tuple[str, ...] = ()
    key_machine: str = ""


class Fault(t.NamedTuple):
    """What is wrong with one field of the setting."""

    field: str
    value: t.Any
    remedy: str
    message: str


def parse(given: Sequence[t.Any], groups: Mapping[str, Sequence[str]]) -> tuple[tuple[Encrypted, ...], list[Fault]]:
    """Return the volumes that ``pantheon_encryption`` describes, and everything that is wrong with it."""
    volumes: list[Encrypted] = []
    faults: list[Fault] = []
    for index, entry in enumerate(given):
        volume, found = _one(f"pantheon_encryption[{index}]", entry, groups)
        faults += found
        volumes += [volume] if volume else []
    faults += _overlaps(volumes)
    return tuple(volumes), faults


def _one(where: str, entry: t.Any, groups: Mapping[str, Sequence[str]]) -> tuple[Encrypted | None, list[Fault]]:
    if not isinstance(entry, dict):
        return None, [
            Fault(where, entry, "write {name: ..., machines: [...], device: ..., path: ...}", "is not a mapping")
        ]
    faults = [
        Fault(f"{where}.{key}", entry[key], f"known keys are {', '.join(_KEYS)}", "is an unknown key")
        for key in entry
        if key not in _KEYS
    ]
    for key in ("machines", "tiers"):
        if not isinstance(entry.get(key, []), list):
            faults.append(Fault(f"{where}.{key}", entry[key], "make it a list of names", "is no list"))
    if faults:
        return None, faults
    texts = {key: str(entry.get(key) or "") for key in ("name", "path", "device", "directory", "wipe", "key_machine")}
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", texts["name"]):
        faults.append(Fault(f"{where}.name", texts["name"], "use lower-case letters, digits and '-'", "is no name"))
    for key in ("path", "device", "directory"):
        if (texts[key] or key == "path") and (not _PATH.fullmatch(texts[key]) or "/../" in f"{texts[key]}/"):
            faults.append(Fault(f"{where}.{key}", texts[key], "give an absolute path", "is no path"))
    if bool(texts["device"]) == bool(texts["directory"]):
        both = "both are given" if texts["device"] else "neither is given"
        faults.append(Fault(f"{where}.device", texts["device"] or None, "give either device or directory", both))
    if texts["wipe"] and texts["wipe"] != texts["device"]:
        remedy = "name the same device once more, or leave it out"
        faults.append(Fault(f"{where}.wipe", texts["wipe"], remedy, f"is not the device {texts['device']}"))
    for key, allowed in (("method", METHODS), ("unlock", UNLOCKS)):
        if entry.get(key, allowed[0]) not in allowed:
            faults.append(Fault(f"{where}.{key}", entry[key], f"use one of {', '.join(allowed)}", "is unknown"))
    for tier in entry.get("tiers", []):
        if tier not in TIERS:
            faults.append(Fault(f"{where}.tiers", tier, f"use some of {', '.join(TIERS)}", "is no tier"))
    machines: dict[str, None] = {}
    known = groups.get("machines", [])
    for name in entry.get("machines") or ["machines"]:
        machines |= dict.fromkeys(groups.get(name, [name] if name in known else []))
        if name not in known and name not in groups and known:
            faults.append(
                Fault(f"{where}.machines", name, "name a machine or a group", "is neither a machine nor a group")
            )
    if faults:
        return None, faults
    volume = Encrypted(
        machines=tuple(name for name in machines if name in known),
        method=entry.get("method", "auto"),
        unlock=entry.get("unlock", "file"),
        tiers=tuple(entry.get("tiers", [])),
        **texts,
    )
    return volume, faults


def _overlaps(volumes: Sequence[Encrypted]) -> list[Fault]:
    """Return what two volumes of one machine both claim."""
    faults = []
    for number, one in enumerate(volumes):
        for other in volumes[:number]:
            both = sorted(set(one.machines) & set(other.machines))
            if not both:
                continue
            where = f"pantheon_encryption ({one.name})"
            pairs = [("name", one.name, other.name), ("device", one.device, other.device)]
            pairs += [("directory", one.directory, other.directory)]
            for field, mine, theirs in pairs:
                if mine and mine == theirs:
                    remedy = "give each volume of a machine its own"
                    faults.append(Fault(f"{where}.{field}", mine, remedy, f"is used twice on {', '.join(both)}"))
            if f"{one.path}/".startswith(f"{other.path}/") or f"{other.path}/".startswith(f"{one.path}/"):
                remedy = "use paths side by side"
                faults.append(Fault(f"{where}.path", one.path, remedy, f"lies in {other.path} on {', '.join(both)}"))
            for tier in sorted(set(one.tiers) & set(other.tiers)):
                remedy = "name a tier in one of them"
                faults.append(Fault(f"{where}.tiers", tier, remedy, f"is also in {other.name} on {', '.join(both)}"))
    return faults


def machines_of(volumes: Sequence[Encrypted]) -> list[str]:
    """Return the machines that have an encrypted volume, in the order of the setting."""
    return list(dict.fromkeys(name for volume in volumes for name in volume.machines))


def volume_for(volumes: Sequence[Encrypted], host: str, tier: str) -> Encrypted | None:
    """Return the volume of *host* on which services of a tier keep their data, None if there is none."""
    return next((volume for volume in volumes if host in volume.machines and tier in volume.tiers), None)


def place_of(volume: Encrypted, service: str, name: str) -> str:
    """Return the directory that a named volume of a service is bound to."""
    return f"{volume.path}/{service}/{name}"


def bound_volumes(volume: Encrypted | None, service: str, names: Mapping[str, str]) -> dict[str, dict[str, t.Any]]:
    """Return what compose is told about named volumes that lie on an encrypted one; *names* are those in the engine."""
    if volume is None:
        return {}
    return {
        name: {
            "name": real,
            "driver": "local",
            "driver_opts": {"type": "none", "o": "bind", "device": place_of(volume, service, name)},
        }
        for name, real in names.items()
    }


def key_of(secret: str, machine: str, volume: str) -> str:
    """Return the key of a volume of a machine: 64 hexadecimal digits that say nothing about the secret or another key."""
    text = f"pantheon.ai encryption 1\0{machine}\0{volume}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
