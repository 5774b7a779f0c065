# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services: their table, starting and stopping."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from . import models
from .errors import CallError, InstanceNotFound
from .filters import filter_list
from .registry import Call, method
from .schema import Bool, Choice, Field, Int, Model, Str, Union

if TYPE_CHECKING:
    from .nas import Nas

Row = dict[str, Any]

WRITE_ROLES = (
    *("SERVICE_WRITE", "SHARING_NFS_WRITE", "SHARING_SMB_WRITE", "SHARING_ISCSI_WRITE", "SHARING_FTP_WRITE"),
    "SHARING_NVME_TARGET_WRITE",
)
_ROLE_OF = {
    "cifs": "SHARING_SMB_WRITE",
    "nfs": "SHARING_NFS_WRITE",
    "iscsitarget": "SHARING_ISCSI_WRITE",
    "ftp": "SHARING_FTP_WRITE",
    "nvmet": "SHARING_NVME_TARGET_WRITE",
}
_OWN_PIDS = 4000


def running(nas: Nas, name: str) -> bool:
    """Return whether a service runs; for the NFS server that is what its process says."""
    if name == "nfs" and nas.server is not None:
        return bool(nas.server.pids)
    return bool(nas.state["services"][name]["running"])


def service_rows(nas: Nas, with_state: bool = True) -> list[Row]:
    """Return the services as queries show them."""
    rows = []
    for name, service in nas.state["services"].items():
        state, pids = "UNKNOWN", []
        if with_state:
            up = running(nas, name)
            state = "RUNNING" if up else "STOPPED"
            pids = [_OWN_PIDS + service["id"]] if up else []
            if name == "nfs" and nas.server is not None:
                pids = nas.server.pids
        rows.append({"id": service["id"], "service": name, "enable": service["enable"], "state": state, "pids": pids})
    return rows


async def act(nas: Nas, verb: str, name: str) -> bool:
    """Start, stop, restart or reload a service; return whether it then is as it should be."""
    service = nas.state["services"][name]
    broken = verb != "stop" and nas.faults.take("service_fails", name) is not None
    server = nas.server if name == "nfs" else None
    if verb in ("stop", "restart") or broken:
        if server is not None:
            await server.stop()
        service["running"] = False
    if verb == "stop" or broken:
        return not broken
    if server is not None:
        ok = await (server.reload() if verb == "reload" else server.start())
        service["running"] = ok
        return ok
    if verb != "reload":
        service["running"] = True
    return bool(service["running"])


async def _control(call: Call, verb: str, name: str, options: Row) -> bool:
    nas = call.nas
    if name not in nas.state["services"]:
        raise KeyError(name)
    session = call.job.owner if call.job else call.connection.session
    assert session is not None
    if not session.has_any(("SERVICE_WRITE", _ROLE_OF.get(name, "SERVICE_WRITE"))):
        word = "restart" if verb == "reload" else verb
        code = errno.EFAULT if verb == "stop" else errno.EPERM
        raise CallError(f"{name}: authenticated session lacks privilege to {word} service", code)
    done = await act(nas, verb, name)
    nas.store.save()
    row = next(row for row in service_rows(nas) if row["service"] == name)
    nas.send_event("service.query", "CHANGED", row["id"], row)
    if not done and verb in ("start", "stop") and not options["silent"]:
        text = "Service not running after start" if verb == "start" else "Service still running after stop"
        lines = nas.server.lines if name == "nfs" and nas.server is not None else []
        raise CallError("\n".join(lines) or text)
    return done


@method("service.query", models.query, roles=("SERVICE_READ",))
async def query(call: Call, filters: list[Any], options: Row) -> Any:
    """Return services."""
    with_state = (options.get("extra") or {}).get("include_state", True)
    return filter_list(service_rows(call.nas, with_state), filters, options)


@method("service.get_instance", lambda release: models.instance(Int(), release), roles=("SERVICE_READ",))
async def get_instance(call: Call, number: int, options: Row) -> Row:
    """Return one service."""
    for row in service_rows(call.nas):
        if row["id"] == number:
            return row
    raise InstanceNotFound(f"Service {number} does not exist")


@method(
    "service.update",
    {
        "id_or_name": Field(Union(Int(), Str())),
        "service_update": Field(Model("ServiceUpdate", {"enable": Field(Bool())})),
    },
    roles=WRITE_ROLES,
    write=True,
    hidden=True,
)
async def update(call: Call, id_or_name: int | str, data: Row) -> int:
    """Set whether a service starts with the appliance."""
    session = call.connection.session
    assert session is not None
    for name, service in call.nas.state["services"].items():
        if name == id_or_name or str(service["id"]) == str(id_or_name):
            if not session.has_any(("SERVICE_WRITE", _ROLE_OF.get(name, "SERVICE_WRITE"))):
                raise CallError(f"{name}: authenticated session lacks privilege to update service", errno.EPERM)
            service["enable"] = data["enable"]
            return int(service["id"])
    raise CallError(f"Service {id_or_name} not found.", errno.ENOENT)


@method(
    "service.control",
    {
        "verb": Field(Choice("START", "STOP", "RESTART", "RELOAD")),
        "service": Field(Str()),
        "options": models.service_options(),
    },
    roles=WRITE_ROLES,
    write=True,
    lock=lambda arguments: f"service_{arguments[1]}",
    first="25.10",
    hidden=True,
)
async def control(call: Call, verb: str, service: str, options: Row) -> bool:
    """Start, stop, restart or reload a service, as a job."""
    return await _control(call, verb.lower(), service, options)


def _verb(verb: str) -> None:
    @method(
        f"service.{verb}",
        {"service": Field(Str()), "options": models.service_options()},
        roles=WRITE_ROLES[:-1],
        write=True,
        last="25.10",
        hidden=True,
    )
    async def handler(call: Call, service: str, options: Row) -> bool:
        return await _control(call, verb, service, options)


for _name in ("start", "stop", "restart", "reload"):
    _verb(_name)


@method("service.started", {"service": Field(Str())}, roles=("SERVICE_READ",), hidden=True)
async def started(call: Call, service: str) -> bool:
    """Return whether a service runs."""
    if service not in call.nas.state["services"]:
        raise KeyError(service)
    return running(call.nas, service)


@method("service.started_or_enabled", {"service": Field(Str())}, roles=("SERVICE_READ",), hidden=True)
async def started_or_enabled(call: Call, service: str) -> bool:
    """Return whether a service runs or starts with the appliance."""
    row = filter_list(service_rows(call.nas), [["service", "=", service]], {"get": True})
    return row["state"] == "RUNNING" or bool(row["enable"])
