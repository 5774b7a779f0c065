# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The appliance: everything that its methods share."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import os
import shutil
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import auth, certificate, datasets, folders, scram, services, shares, system, tasks
from .audit import Log
from .errors import ESERVICESTARTFAILURE, CallError
from .faults import Faults
from .ganesha import Server
from .jobs import Jobs
from .paths import Paths
from .registry import API_VERSIONS, METHODS, RELEASES, Method
from .rpc import Connection
from .store import Store

Row = dict[str, Any]

# The modules whose import registers methods.
PARTS = (auth, datasets, folders, services, shares, system, tasks)
EXPORT_IDS = 65000


@dataclass(frozen=True)
class Options:
    """How the simulator was started."""

    state: Path
    root: Path
    release: str = "25.10"
    auth_delay: float = 1.0
    rate_delay: float | None = None
    dataset_rows: str = "facts"
    ganesha: Path | None = None
    ganesha_command: tuple[str, ...] | None = None
    ganesha_port: int = 2049
    ganesha_wait: float = 15.0


class Nas:
    """The state, the running parts, and the rules that more than one method needs."""

    def __init__(self, options: Options, config: Row) -> None:
        self.options, self.release = options, options.release
        self.store = Store(options.state, config)
        self.paths = Paths(options.root)
        self.certificate = certificate.load(options.state)
        self.log = Log(options.state / "audit.jsonl", self.secrets)
        self.faults = Faults()
        self.limiter = auth.Limiter(options.rate_delay)
        self.jobs = Jobs(self)
        self.datasets = datasets.Datasets(self)
        self.snapshots = tasks.Snapshots(self)
        self.connections: set[Connection] = set()
        self.verifiers: dict[str, scram.Verifier] = {}
        self.server: Server | None = None
        if options.ganesha:
            command = options.ganesha_command
            self.server = Server(self, options.ganesha, command, options.ganesha_port, options.ganesha_wait)
        position = RELEASES.index(self.release)
        self.methods: dict[str, Method] = {
            name: method
            for name, method in METHODS.items()
            if RELEASES.index(method.first) <= position <= RELEASES.index(method.last)
        }
        self.make_folders()

    @property
    def state(self) -> Row:
        """What the appliance remembers."""
        return self.store.state

    @property
    def apis(self) -> tuple[str, ...]:
        """The versions of the API that this release serves."""
        return API_VERSIONS[self.release]

    @property
    def older_apis(self) -> tuple[str, ...]:
        """The versions of the API that lie before those of this release's own series."""
        series = f"v{self.release}."
        return tuple(api for api in self.apis if not api.startswith(series))

    def secrets(self) -> Iterable[str]:
        """Yield every secret that must never be shown."""
        for key in self.store.rows("api_keys"):
            yield key["key"]
        for user in self.store.rows("users"):
            for name in ("password", "otp"):
                if user.get(name):
                    yield user[name]

    def make_folders(self) -> None:
        """Make the folders of all datasets."""
        self.paths.root.mkdir(parents=True, exist_ok=True)
        for name, dataset in sorted(self.datasets.all.items()):
            if dataset["type"] == "FILESYSTEM":
                self.paths.create(name)

    async def boot(self) -> None:
        """Do what a NAS does when it starts: run the services that are enabled, and no others."""
        for name, service in self.state["services"].items():
            service["running"] = False
            if service["enable"]:
                await services.act(self, "start", name)
        self.store.save()

    async def shutdown(self) -> None:
        """End what runs."""
        if self.server is not None:
            await self.server.stop()
        for connection in list(self.connections):
            await connection.socket.close()

    async def reset(self) -> None:
        """Go back to the start: state, folders, faults, log."""
        self.jobs.reset()
        if self.server is not None:
            await self.server.stop()
        for name in list(self.datasets.all):
            if "/" not in name:
                self.empty(self.paths.dataset(name))
        shutil.rmtree(self.options.state / "snapshots", ignore_errors=True)
        self.store.reset()
        self.verifiers.clear()
        self.faults.clear()
        self.limiter.counts.clear()
        self.log.clear()
        self.make_folders()
        await self.boot()

    def empty(self, folder: Path) -> None:
        """Remove all that is in a folder."""
        for entry in os.scandir(folder) if folder.is_dir() else ():
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)

    # -- notifications and logins ---------------------------------------------------------------------------------

    def send_event(
        self, name: str, kind: str, number: Any, fields: Any, allowed: Callable[[Connection], bool] | None = None
    ) -> None:
        """Notify all who have subscribed and may know."""
        for connection in list(self.connections):
            if allowed is None or allowed(connection):
                connection.send_event(name, kind, number, fields)

    def revoke_by_fault(self, name: str, session: auth.Session) -> bool:
        """Revoke the key of a session if a test wants it; return whether the session's key is revoked."""
        if session.key is None:
            return False
        fault = self.faults.take("revoke_key", name)
        if fault:
            auth.revoke(session.key, fault.message)
            self.store.save()
        key = self.store.find("api_keys", session.key["id"])
        return key is None or bool(key["revoked"] and fault)

    async def verifier(self, key: Row) -> scram.Verifier:
        """Return what proves a key without sending it; it is costly to compute, as it is meant to be."""
        iterations = self.state["system"]["scram_iterations"]
        name = hashlib.sha256(f"{key['id']}:{key['key']}:{iterations}".encode()).hexdigest()
        if name not in self.verifiers:
            salt = hashlib.sha256(f"{self.state['system']['serial']}:{key['id']}".encode()).digest()[:16]
            self.verifiers[name] = await asyncio.to_thread(scram.verifier, key["key"], salt, iterations)
        return self.verifiers[name]

    # -- users, owners, pools -------------------------------------------------------------------------------------

    def find_user(self, name: str) -> Row | None:
        """Return the user with this name."""
        return auth.find_user(self.store, name)

    def find_group(self, name: str) -> Row | None:
        """Return the group with this name."""
        return next((group for group in self.store.rows("groups") if group["group"] == name), None)

    def user_name(self, uid: int) -> str | None:
        """Return the name of a user."""
        return next((user["username"] for user in self.store.rows("users") if user["uid"] == uid), None)

    def group_name(self, gid: int) -> str | None:
        """Return the name of a group."""
        return next((group["group"] for group in self.store.rows("groups") if group["gid"] == gid), None)

    def owner_of(self, path: str, found: os.stat_result) -> tuple[int, int]:
        """Return owner and group of a path: those of the folder, or those that only the simulator knows."""
        known = self.state.get("owners", {}).get(os.path.normpath(path))
        if known and os.geteuid() != 0:
            return int(known[0]), int(known[1])
        if os.geteuid() != 0:
            return 0, 0
        return found.st_uid, found.st_gid

    def set_owner(self, path: str, real: Path, uid: int, gid: int) -> None:
        """Change the owner: for real where that is allowed, else only in what the simulator tells."""
        if os.geteuid() == 0:
            os.chown(real, uid, gid, follow_symlinks=False)
            return
        normal = os.path.normpath(path)
        owners = self.state.setdefault("owners", {})
        old = owners.get(normal, [0, 0])
        owners[normal] = [old[0] if uid == -1 else uid, old[1] if gid == -1 else gid]

    def pool(self, name: str) -> Row:
        """Return a pool."""
        return next(pool for pool in self.state["pools"] if pool["name"] == name)

    def addresses(self) -> list[str]:
        """Return the static addresses of the appliance."""
        known: list[str] = list(self.state["system"]["addresses"])
        if known:
            return known
        try:
            found = {str(entry[4][0]) for entry in socket.getaddrinfo(socket.gethostname(), None)}
        except OSError:
            found = set()
        return sorted(address for address in found if not ipaddress.ip_address(address.split("%")[0]).is_loopback)

    def forget_snapshot_task(self, number: int) -> None:
        """Unbind a snapshot task from the replications."""
        for task in self.store.rows("replications"):
            if number in task["periodic_snapshot_tasks"]:
                task["periodic_snapshot_tasks"].remove(number)

    # -- the NFS server -------------------------------------------------------------------------------------------

    def export_id(self, path: str) -> int:
        """Return the number of an export; a path keeps it, so that the server sees a change and no new export."""
        numbers: dict[str, int] = self.state.setdefault("exports", {})
        if path not in numbers:
            used = set(numbers.values())
            numbers[path] = next(number for number in range(1, EXPORT_IDS) if number not in used)
        return numbers[path]

    async def share_addresses(self) -> dict[str, str | None]:
        """Return the addresses of all hosts that shares name."""
        return await shares.resolve(self, [host for share in self.store.rows("shares") for host in share["hosts"]])

    async def shares_changed(self) -> None:
        """Tell the NFS server that shares have changed."""
        await self.service_changed("nfs", "reload")

    async def service_changed(self, name: str, verb: str) -> None:
        """Restart or reload a service that runs; one that then does not run is an error."""
        if services.running(self, name):
            if not await services.act(self, verb, name):
                raise CallError(f"The {name} service failed to start", ESERVICESTARTFAILURE, [name])
        elif name == "nfs" and self.server is not None:
            await self.server.write()
