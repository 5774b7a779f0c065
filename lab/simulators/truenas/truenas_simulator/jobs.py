# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs: calls that go on after their answer, with states, progress and notifications."""

from __future__ import annotations

import asyncio
import datetime as dt
import traceback
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from .audit import redact
from .errors import CallError, InstanceNotFound, ValidationError, ValidationErrors
from .registry import Call, Method

if TYPE_CHECKING:
    from .nas import Nas
    from .rpc import Connection

KEPT = 1000
DONE = ("SUCCESS", "FAILED", "ABORTED")


def _now() -> dt.datetime:
    return dt.datetime.now(tz=dt.timezone.utc)


class Job:
    """One job."""

    def __init__(
        self, nas: Nas, number: int, method: Method, arguments: list[Any], connection: Connection, message: Any
    ):
        self.nas, self.id, self.method, self.arguments, self.connection = nas, number, method, arguments, connection
        self.owner = connection.session
        self.message_ids = [message] if message else []
        self.state = "WAITING"
        self.progress: dict[str, Any] = {"percent": 0, "description": "", "extra": None}
        self.result: Any = None
        self.error: BaseException | None = None
        self.trace: str | None = None
        self.time_started = _now()
        self.time_finished: dt.datetime | None = None
        self.finished = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def document(self) -> dict[str, Any]:
        """Return the job as clients see it."""
        error = self.error
        return {
            "id": self.id,
            "message_ids": self.message_ids,
            "method": self.method.name,
            "arguments": redact(self.method.name, self.arguments),
            "transient": False,
            "description": None,
            "abortable": False,
            "logs_path": None,
            "logs_excerpt": None,
            "progress": dict(self.progress),
            "result": self.result if self.state == "SUCCESS" else None,
            "result_encoding_error": None,
            "error": None if error is None else str(error) or repr(error),
            "exception": self.trace,
            "exc_info": None if error is None else _info(error),
            "state": self.state,
            "time_started": self.time_started,
            "time_finished": self.time_finished,
            "credentials": self.owner.document() if self.owner else None,
        }

    def set_progress(self, percent: int | None = None, description: str | None = None) -> None:
        """Report progress; only a change is sent."""
        changed = False
        if percent is not None and self.progress["percent"] != percent:
            self.progress["percent"] = percent
            changed = True
        if description and self.progress["description"] != description:
            self.progress["description"] = description
            changed = True
        if changed:
            self.notify("CHANGED")

    def notify(self, kind: str) -> None:
        """Tell the subscribers who may see the job."""
        self.nas.send_event("core.get_jobs", kind, self.id, self.document(), self.visible_to)

    def visible_to(self, connection: Connection) -> bool:
        """Return whether a connection may see the job: its owner's do, and those of administrators."""
        session = connection.session
        if session is None:
            return False
        return session.full_admin or (self.owner is not None and session.username == self.owner.username)

    async def wait(self) -> Any:
        """Wait for the end; return the result or raise the error."""
        await self.finished.wait()
        if self.error is not None:
            raise self.error
        if self.state == "ABORTED":
            raise CallError("Job has been aborted")
        return self.result

    async def run(self, lock: asyncio.Lock) -> None:
        """Do the work and tell about it."""
        async with lock:
            try:
                self.state = "RUNNING"
                self.notify("CHANGED")
                slow = self.nas.faults.take("slow_job", self.method.name)
                if slow:
                    await asyncio.sleep(slow.seconds)
                failure = self.nas.faults.take("job_fails", self.method.name)
                if failure:
                    raise CallError(failure.message)
                call = Call(self.nas, self.connection, self)
                self.result = await self.method.handler(call, *self.arguments)
                if self.method.write:
                    self.nas.store.save()
                self._end("SUCCESS")
                self.set_progress(100)
            except asyncio.CancelledError:
                self._end("ABORTED")
            except Exception as error:  # noqa: BLE001  # whatever a method raises is the result of the job
                self.error = error
                self.trace = "".join(traceback.format_exception(error))
                self._end("FAILED")
        self.finished.set()
        self.notify("CHANGED")

    def _end(self, state: str) -> None:
        self.state, self.time_finished = state, _now()


def _info(error: BaseException) -> dict[str, Any]:
    kind: str = type(error).__name__
    code: int | None = None
    extra: object = None
    if isinstance(error, ValidationError):
        kind, code, extra = "VALIDATION", error.errno, [error.entry()]
    elif isinstance(error, ValidationErrors):
        kind, extra = "VALIDATION", list(error)
    elif isinstance(error, CallError):
        code, extra = error.errno, error.extra
    return {"repr": repr(error), "type": kind, "errno": code, "extra": extra}


class Jobs:
    """All jobs, and the locks that make some wait for others."""

    def __init__(self, nas: Nas) -> None:
        self.nas = nas
        self.count = 0
        self.all: OrderedDict[int, Job] = OrderedDict()
        self.locks: dict[str, asyncio.Lock] = {}

    def start(self, method: Method, arguments: list[Any], connection: Connection, message: Any) -> Job:
        """Start a job."""
        assert method.lock is not None
        self.count += 1
        job = Job(self.nas, self.count, method, arguments, connection, message)
        if len(self.all) > KEPT:
            for number, old in self.all.items():
                if old.state in DONE:
                    del self.all[number]
                    break
        self.all[job.id] = job
        job.notify("ADDED")
        name = method.lock(arguments)
        lock = self.locks.setdefault(name, asyncio.Lock()) if name else asyncio.Lock()
        job.task = asyncio.create_task(job.run(lock))
        return job

    def get(self, number: int, connection: Connection) -> Job:
        """Return a job, or say that it does not exist."""
        job = self.all.get(number)
        if job is None:
            raise InstanceNotFound(f"Job with id {number} does not exist")
        if not job.visible_to(connection):
            raise CallError("Job is not owned by current session.", 1)
        return job

    def reset(self) -> None:
        """Forget all jobs; those that run are stopped."""
        for job in self.all.values():
            if job.task and not job.task.done():
                job.task.cancel()
        self.all.clear()
        self.count = 0
