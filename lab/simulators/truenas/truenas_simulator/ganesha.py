# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The real NFS server: NFS-Ganesha, whose exports are rendered from the shares."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]

NOBODY = 65534
_RELOADED = "reread exports complete"
_RELOAD_WAIT = 3.0
_STOP_WAIT = 10.0


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def squash(nas: Nas, share: Row) -> dict[str, str | int] | None:
    """Return how a share maps users; None if a user is no longer there, which takes the share out of service."""

    def uid(name: str | None) -> int | None:
        user = nas.find_user(name) if name else None
        return None if user is None else int(user["uid"])

    def gid(name: str | None) -> int | None:
        group = nas.find_group(name) if name else None
        return None if group is None else int(group["gid"])

    for kind in ("mapall", "maproot"):
        user, group = share[f"{kind}_user"], share[f"{kind}_group"]
        if (user and uid(user) is None) or (group and gid(group) is None):
            return None
    if share["mapall_user"]:
        user, group, how = uid(share["mapall_user"]), gid(share["mapall_group"]), "All_Squash"
    else:
        user, group, how = uid(share["maproot_user"]), gid(share["maproot_group"]), "Root_Squash"
        if user == 0 and group == 0:
            return {"Squash": "No_Root_Squash"}
    return {
        "Squash": how,
        "Anonymous_Uid": NOBODY if user is None else user,
        "Anonymous_Gid": NOBODY if group is None else group,
    }


def _rank(client: str) -> tuple[int, int, str]:
    """Return the order of clients: machines, then networks from small to large, patterns, groups, everybody."""
    if client == "*":
        return (4, 0, client)
    if client.startswith("@"):
        return (3, 0, client)
    try:
        network = ipaddress.ip_network(client, strict=False)
    except ValueError:
        return (2, 0, client)
    if network.num_addresses == 1:
        return (0, 0, client)
    return (1, -network.prefixlen, client)


def clients(share: Row, addresses: dict[str, str | None]) -> list[str]:
    """Return who may use a share; no entry at all means everybody, a host without an address is left out."""
    result = []
    for host in share["hosts"]:
        if host == "*" or host.startswith("@") or any(mark in host for mark in "*?["):
            result.append(host)
        elif addresses.get(host):
            result.append(str(addresses[host]))
    result += share["networks"]
    return result if share["hosts"] or share["networks"] else ["*"]


def exports(nas: Nas, addresses: dict[str, str | None]) -> dict[str, list[tuple[str, Row]]]:
    """Return per path the clients with their settings, in the order in which they are to be tried."""
    result: dict[str, list[tuple[str, Row]]] = {}
    if "NFSV4" not in nas.state["nfs"]["protocols"]:
        return result  # the server speaks version 4 only
    for share in nas.store.rows("shares"):
        mapping = squash(nas, share)
        kerberos_only = bool(share["security"]) and "SYS" not in share["security"]
        if not share["enabled"] or mapping is None or kerberos_only or not nas.paths.real(share["path"]).is_dir():
            continue
        dataset = nas.datasets.of_path(share["path"])
        frozen = dataset is not None and nas.datasets.value(dataset, "readonly")[0] == "on"
        settings: Row = {"Access_Type": "RO" if share["ro"] or frozen else "RW", **mapping}
        entries = result.setdefault(share["path"], [])
        entries += [(client, settings) for client in clients(share, addresses)]
    for entries in result.values():
        entries.sort(key=lambda entry: _rank(entry[0]))
    return {path: entries for path, entries in result.items() if entries}


def _block(name: str, settings: Row, depth: int = 0, inner: Sequence[str] = ()) -> str:
    space = "    " * depth
    lines = [f"{space}{name} {{"]
    lines += [f"{space}    {key} = {value};" for key, value in settings.items()]
    return "\n".join([*lines, *inner, f"{space}}}"])


def version(program: str) -> int:
    """Return the major version of the server; 0 if it does not say."""
    try:
        done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"V?([0-9]+)\.[0-9]", done.stdout + done.stderr)
    return int(found.group(1)) if found else 0


def render(nas: Nas, addresses: dict[str, str | None], port: int, major: int = 0) -> str:
    """Return the configuration of the server."""
    config = nas.state["nfs"]
    core: Row = {
        "Protocols": 4,
        "NFS_Port": port,
        "mount_path_pseudo": "true",
        "Enable_NLM": "false",
        "Enable_RQUOTA": "false",
    }
    if major >= 6:
        # It wants CAP_SYS_RESOURCE, which a container may not have; without that it only is a little slower.
        core["allow_set_io_flusher_fail"] = "true"
    if len(config["bindip"]) == 1:
        core["Bind_addr"] = config["bindip"][0]
    defaults = {
        "Access_Type": "None",
        "SecType": "sys",
        "PrivilegedPort": "false" if config["allow_nonroot"] else "true",
        "Manage_Gids": "true" if config["userd_manage_gids"] else "false",
    }
    blocks = [
        "# Written by the TrueNAS simulator from its shares; changes are lost.",
        _block("NFS_CORE_PARAM", core),
        _block(
            "NFSv4",
            {
                "Graceless": "true",
                "Lease_Lifetime": 60,
                "Grace_Period": 60,
                "Only_Numeric_Owners": "true",
                "RecoveryBackend": "fs",
            },
        ),
        _block("EXPORT_DEFAULTS", defaults),
    ]
    for path, entries in exports(nas, addresses).items():
        # Clients with the same rights share a block, as long as that does not change their order.
        inner = [_block("FSAL", {"Name": "VFS"}, 1)]
        inner += [_block("CLIENT", {"Clients": client, **settings}, 1) for client, settings in entries]
        head = {
            "Export_Id": nas.export_id(path),
            "Path": _quote(str(nas.paths.real(path))),
            "Pseudo": _quote(path),
            "Protocols": 4,
            "Transports": "TCP",
        }
        blocks.append(_block("EXPORT", head, 0, inner))
    return "\n\n".join(blocks) + "\n"


def alive(number: int) -> bool:
    """Return whether a process runs; one that only waits to be reaped does not."""
    try:
        text = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


class Server:
    """The process of the NFS server."""

    def __init__(self, nas: Nas, file: Path, command: Sequence[str] | None, port: int, wait: float) -> None:
        self.nas, self.file, self.port, self.wait = nas, file, port, wait
        self.command = list(command or ["ganesha.nfsd", "-F", "-L", "STDERR", "-f", str(file)])
        self.pid_file = nas.options.state / "ganesha.pid"
        self.process: asyncio.subprocess.Process | None = None
        self.reader: asyncio.Task[None] | None = None
        self.reloaded = asyncio.Event()
        self.lines: list[str] = []
        self.major: int | None = None

    @property
    def pids(self) -> list[int]:
        """The process of the server, while it runs."""
        running = self.process is not None and self.process.returncode is None
        return [self.process.pid] if running and self.process else []

    async def write(self) -> None:
        """Write the configuration: whole, or not at all."""
        if self.major is None:
            self.major = version(self.command[0]) if Path(self.command[0]).name == "ganesha.nfsd" else 0
        text = render(self.nas, await self.nas.share_addresses(), self.port, self.major)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        new = self.file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        os.replace(new, self.file)

    async def start(self) -> bool:
        """Start the server; return whether it answers."""
        if self.pids:
            return True
        await self._end_leftover()
        await self.write()
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
        except OSError as error:
            self.lines = [str(error)]
            return False
        self.pid_file.write_text(f"{self.process.pid}\n", encoding="utf-8")
        self.lines = []
        self.reader = asyncio.create_task(self._read(self.process))
        return await self._listening()

    async def _listening(self) -> bool:
        addresses = self.nas.state["nfs"]["bindip"]
        host = addresses[0] if len(addresses) == 1 else "127.0.0.1"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.wait
        while self.pids and loop.time() < deadline:
            try:
                _, writer = await asyncio.open_connection(host, self.port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return bool(self.pids)
        await self.stop()
        return False

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while line := await process.stderr.readline():
            text = line.decode("utf-8", "replace").rstrip()
            sys.stderr.write(f"{text}\n")
            self.lines = [*self.lines[-19:], text]
            if _RELOADED in text.lower():
                self.reloaded.set()

    async def _end_leftover(self) -> None:
        """End a server that an earlier run of the simulator left behind: it holds the port."""
        try:
            number = int(self.pid_file.read_text(encoding="utf-8"))
            command = Path(f"/proc/{number}/cmdline").read_bytes()
        except (OSError, ValueError):
            return
        if str(self.file).encode() not in command or number == os.getpid():
            return
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, how)
            for _ in range(int(_STOP_WAIT / 0.05)):
                if not alive(number):
                    return
                await asyncio.sleep(0.05)

    async def stop(self) -> bool:
        """Stop the server; return whether it is gone."""
        process = self.process
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_WAIT)
            except asyncio.TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self.process = None
        self.pid_file.unlink(missing_ok=True)
        return True

    async def reload(self) -> bool:
        """Have the server read its exports anew; return whether it still runs."""
        await self.write()
        if not self.pids or self.process is None:
            return False
        self.reloaded.clear()
        self.process.send_signal(signal.SIGHUP)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.reloaded.wait(), _RELOAD_WAIT)
        return bool(self.pids)
