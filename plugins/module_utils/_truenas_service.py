# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The NFS service of a NAS: its configuration, its start at boot and its state (private to the collection)."""

from __future__ import annotations

import ipaddress
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_client import REPLIES_WITH_RESULT
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_engine import (
    Context,
    Part,
    Row,
    Step,
    Values,
    did_not_converge,
    differences,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_errors import NasError, Refused

FLAGS = ("allow_nonroot", "v4_krb", "mountd_log", "statd_lockd_log", "userd_manage_gids", "rdma")
PORTS = ("mountd_port", "rpcstatd_port", "rpclockd_port")
PROTOCOLS = ("NFSV3", "NFSV4")
RDMA_PORT = 20049
START_TIMEOUT = 120


def parse(entry: t.Mapping[str, t.Any], label: str, problems: t.List[str]) -> Values:
    """Read the configuration that a person wrote; every mistake becomes a line in problems."""
    values: Values = {key: bool(entry[key]) for key in FLAGS if entry.get(key) is not None}
    servers = entry.get("servers")
    if servers is not None:
        values["servers"] = servers or None
        if not 0 <= servers <= 256:
            problems.append(
                f"{label} servers: {servers} is not a number of threads; use 1 to 256, or 0 to let the NAS choose"
            )
    for key in PORTS:
        port = entry.get(key)
        if port is None:
            continue
        values[key] = port or None
        if port == RDMA_PORT:
            problems.append(f"{label} {key}: {port} is reserved for NFS over RDMA; choose another port")
        elif not 0 <= port <= 65535:
            problems.append(f"{label} {key}: {port} is not a port; use 1 to 65535, or 0 to let the NAS choose")
    if entry.get("protocols") is not None:
        protocols = [str(item).strip().upper() for item in entry["protocols"]]
        for item in protocols:
            if item not in PROTOCOLS:
                problems.append(f"{label} protocols: {item} is unknown; use nfsv3 and nfsv4")
        if not protocols:
            problems.append(f"{label} protocols: at least one is needed; use nfsv4")
        values["protocols"] = sorted(set(protocols))
        if entry.get("v4_domain") and "NFSV4" not in protocols:
            problems.append(f"{label} v4_domain: it is only for NFSv4; add nfsv4 to protocols or leave v4_domain out")
        if entry.get("v4_krb") and "NFSV4" not in protocols:
            problems.append(f"{label} v4_krb: it is only for NFSv4; add nfsv4 to protocols or leave v4_krb out")
    if entry.get("v4_domain") is not None:
        values["v4_domain"] = str(entry["v4_domain"]).strip()
    if entry.get("bindip") is not None:
        addresses = []
        for item in entry["bindip"]:
            try:
                addresses.append(str(ipaddress.ip_address(str(item).strip())))
            except ValueError:
                problems.append(f"{label} bindip: {item!r} is not an address; name static addresses of the NAS")
        values["bindip"] = sorted(set(addresses))
    return values


def actual(row: Row, wanted: t.Iterable[str]) -> Values:
    """Return the configuration of the NAS in the form of parse."""
    values: Values = {}
    for key in wanted:
        value = row.get(key)
        if key == "servers":
            # While the NAS chooses, it shows how many threads it chose.
            value = None if row.get("managed_nfsd") else value
        elif key in ("protocols", "bindip"):
            value = sorted(str(item).upper() if key == "protocols" else str(item) for item in value or [])
        elif key in FLAGS:
            value = bool(value)
        elif key in PORTS:
            value = value or None
        else:
            value = str(value or "")
        values[key] = value
    return values


class NfsConfig(Part):
    """The configuration of the NFS service: only given fields, and only real differences (a change restarts it)."""

    kind = "nfs"

    def __init__(self, context: Context, wanted: Values, label: str = "nfs") -> None:
        super().__init__(context)
        self.wanted, self.label = wanted, label

    def read(self) -> None:
        if self.wanted:
            self.context.nfs = self.client.call("nfs.config")

    def plan(self) -> None:
        if not self.wanted:
            return
        row = self.context.nfs or {}
        protocols = self.wanted.get("protocols") or row.get("protocols") or []
        if self.wanted.get("v4_domain") and "NFSV4" not in protocols:
            self.problem(self.label, "v4_domain: it is only for NFSv4, which is off on the NAS; set protocols: [nfsv4]")
        found = differences(self.wanted, actual(row, self.wanted))
        if found:
            self.change(
                "config",
                {key: was for key, (_wanted, was) in found.items()},
                {key: wanted for key, (wanted, _was) in found.items()},
            )
            data = {key: wanted for key, (wanted, _was) in found.items()}
            self.steps.append(Step(self.label, lambda: self.client.call("nfs.update", data)))

    def verify(self) -> None:
        if self.steps:
            self.context.nfs = self.client.call("nfs.config")
            found = differences(self.wanted, actual(self.context.nfs or {}, self.wanted))
            if found:
                raise did_not_converge(self.label, found)


class Service(Part):
    """Whether the NFS service runs and starts at boot; None leaves it as it is."""

    kind = "nfs"

    def __init__(
        self, context: Context, enabled: t.Optional[bool], running: t.Optional[bool], label: str = "nfs"
    ) -> None:
        super().__init__(context)
        self.enabled, self.running, self.label = enabled, running, label
        self.row: Row = {}

    @property
    def wanted(self) -> Values:
        """Return the wanted fields."""
        values: Values = {}
        if self.enabled is not None:
            values["enabled"] = self.enabled
        if self.running is not None:
            values["state"] = "started" if self.running else "stopped"
        return values

    def _query(self) -> Row:
        rows = self.client.call("service.query", [["service", "=", "nfs"]], {})
        if not rows:
            raise NasError("the NAS lists no NFS service", "Check that this is a TrueNAS with NFS.", "service")
        return t.cast(Row, rows[0])

    def _actual(self) -> Values:
        state = str(self.row.get("state"))
        names = {"RUNNING": "started", "STOPPED": "stopped"}
        return {"enabled": bool(self.row.get("enable")), "state": names.get(state, state.lower())}

    def read(self) -> None:
        if self.wanted:
            self.row = self._query()

    def plan(self) -> None:
        if not self.wanted:
            return
        found = differences(self.wanted, self._actual())
        if not found:
            return
        self.change(
            "service",
            {key: was for key, (_wanted, was) in found.items()},
            {key: wanted for key, (wanted, _was) in found.items()},
        )
        if "enabled" in found:
            data = {"enable": bool(self.enabled)}
            keys = {"enable": "enabled"}
            self.steps.append(Step(self.label, lambda: self.client.call("service.update", "nfs", data), keys))
        if "state" in found:
            self.steps.append(Step(self.label, lambda: self._control("START" if self.running else "STOP")))

    def _control(self, verb: str) -> None:
        word = "start" if verb == "START" else "stop"
        remedy = "Look at the log of nfs-server on the NAS (System, Services), then run again."
        try:
            done = self._call(verb)
        except Refused as error:
            if error.remedy or "not authorized" in error.reason.lower():
                raise  # not the service: the login, the rights, too many calls, or a method that is not there
            raise NasError(
                f"{self.label} state: the NFS service did not {word} ({error.reason})", remedy, "service"
            ) from error
        # What the answer to a stop means differs between the releases; for that, the state read afterwards counts.
        if done is False and verb == "START":
            raise NasError(f"{self.label} state: the NFS service did not {word}", remedy, "service")

    def _call(self, verb: str) -> t.Any:
        # Without silent: false a failure would only be the answer false.
        if self.client.version >= REPLIES_WITH_RESULT:
            options: Values = {"silent": False, "ha_propagate": True, "timeout": START_TIMEOUT}
            return self.client.job("service.control", verb, "nfs", options)
        return self.client.call(f"service.{verb.lower()}", "nfs", {"silent": False})

    def verify(self) -> None:
        if self.steps:
            self.row = self._query()
            found = differences(self.wanted, self._actual())
            if found:
                raise did_not_converge(self.label, found)
