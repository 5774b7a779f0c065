# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of a mount helper: mount(8) calls it with source, mountpoint and -o options."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

TYPE = "pantheon-nfs"

# Options of the kernel's client and of mount(8) that mean nothing here: they are dropped, so that the line for FUSE differs
# from the one for the kernel in the type only.
DROPPED = frozenset([
    "_netdev", "ac", "acdirmax", "acdirmin", "acl", "acregmax", "acregmin", "async", "auto", "bg", "bsize",
    "clientaddr", "comment", "cto", "defaults", "fg", "fsc", "hard", "intr", "lock", "local_lock", "lookupcache",
    "max_connect", "minorversion", "mountproto", "namlen", "nconnect", "noacl", "noauto", "nocto", "nodiratime",
    "nofail", "nofsc", "nointr", "nolock", "noquota", "norelatime", "noresvport", "nosharecache", "nouser",
    "nousers", "proto", "rdirplus", "nordirplus", "relatime", "resvport", "retrans", "retry", "rsize", "rw",
    "sharecache", "softreval", "nosoftreval", "strictatime", "tcp", "trunkdiscovery", "notrunkdiscovery", "user",
    "users", "wsize",
])  # fmt: skip
# What the kernel's FUSE understands itself.
PASSED = frozenset(["atime", "dev", "dirsync", "exec", "noatime", "nodev", "noexec", "nosuid", "suid", "sync"])
VERSIONS = ("4", "4.0", "4.1", "4.2")


class UsageError(Exception):
    """The call cannot be carried out; the text says why and what to do."""


@dataclass(frozen=True)
class Settings:
    """What is mounted where, and how."""

    server: str
    export: str
    mountpoint: str
    read_only: bool = False
    uid: int = 0
    gid: int = 0
    port: int = 2049
    timeout: float = 10.0  # of one call; a call without an answer is sent again for ever
    attributes: float = 3.0  # how long the kernel keeps attributes and names
    kernel: tuple[str, ...] = ()
    foreground: bool = False
    fake: bool = False
    warnings: tuple[str, ...] = field(default=())

    @property
    def source(self) -> str:
        """The export as mount shows it."""
        server = f"[{self.server}]" if ":" in self.server else self.server
        return f"{server}:{self.export}"


def parse_source(source: str) -> tuple[str, str]:
    """Split server:/export; an IPv6 address stands in brackets."""
    if source.startswith("["):
        server, found, export = source[1:].partition("]:")
    else:
        server, found, export = source.partition(":")
    if not found or not server or not export.startswith("/") or "," in source:
        raise UsageError(f"{source!r} is not an export. Write server:/path, with an IPv6 address in brackets.")
    return server, export.rstrip("/") or "/"


def _number(name: str, value: str, lowest: float, highest: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not lowest <= number <= highest:
        raise UsageError(f"option {name}={value}: a number between {lowest:g} and {highest:g} is wanted.")
    return number


def parse(arguments: list[str]) -> Settings:
    """Read the command line; everything that cannot be honoured and must not be dropped is an error."""
    words: list[str] = []
    options: list[str] = []
    flags: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word in ("-o", "-t", "-N"):
            if not rest:
                raise UsageError(f"{word} needs a value.")
            value = rest.pop(0)
            if word == "-o":
                options += [option for option in value.split(",") if option]
        elif word.startswith("-o") and len(word) > 2:
            options += [option for option in word[2:].split(",") if option]
        elif word.startswith("-") and len(word) > 1:
            flags.update(word[1:])
        else:
            words.append(word)
    unknown = flags - set("dfnsv")
    if unknown:
        raise UsageError(f"unknown flag -{''.join(sorted(unknown))}; there are -o, -f (do nothing), -d (foreground).")
    if len(words) != 2:
        raise UsageError("a source and a mountpoint are wanted: server:/export /mountpoint [-o options]")
    server, export = parse_source(words[0])

    numbers = {"uid": 0.0, "gid": 0.0, "port": 2049.0, "timeo": 100.0, "actimeo": 3.0}
    limits = {"uid": 2**32 - 2, "gid": 2**32 - 2, "port": 65535, "timeo": 6000, "actimeo": 86400}
    lowest = {"port": 1, "timeo": 10}
    kernel: list[str] = []
    warnings: list[str] = []
    read_only = False
    for option in options:
        name, _rest, value = option.partition("=")
        if name in ("ro", "rw"):
            read_only = name == "ro"
        elif name in numbers:
            numbers[name] = _number(name, value, lowest.get(name, 0), limits[name])
        elif name == "noac":
            numbers["actimeo"] = 0.0
        elif name in ("vers", "nfsvers"):
            if value not in VERSIONS:
                raise UsageError(f"option {option}: only NFSv4 is spoken here. Use one of {', '.join(VERSIONS)}.")
        elif name == "sec":
            if value != "sys":
                raise UsageError(f"option {option}: only sec=sys is spoken here. Use a kernel with an NFS client.")
        elif name == "xprtsec":
            if value != "none":
                raise UsageError(f"option {option}: TLS is not spoken here. Use a kernel with an NFS client.")
        elif name in ("soft", "softerr"):
            warnings.append(f"option {name} is not followed: operations wait for the server, as with hard")
        elif name in PASSED:
            kernel.append(name)
        elif name not in DROPPED and not name.startswith("x-"):
            warnings.append(f"option {option} is not known here and dropped")
    return Settings(
        server=server,
        export=export,
        mountpoint=os.path.abspath(
            words[1]
        ),  # not realpath: looking at the mountpoint of an automount would wait for us
        read_only=read_only,
        uid=int(numbers["uid"]),
        gid=int(numbers["gid"]),
        port=int(numbers["port"]),
        # One deadline per call; libnfs counts in whole seconds.
        timeout=max(1.0, min(30.0, numbers["timeo"] / 10)),
        attributes=numbers["actimeo"],
        kernel=tuple(dict.fromkeys(kernel)),
        foreground="d" in flags,
        fake="f" in flags,
        warnings=tuple(warnings),
    )
