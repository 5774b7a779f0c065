# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The methods of the API: who may call them, with what, and in which releases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .schema import Field

if TYPE_CHECKING:
    from .jobs import Job
    from .nas import Nas
    from .rpc import Connection

RELEASES = ("25.04", "25.10", "26")
VERSIONS = {"25.04": "25.04.2.6", "25.10": "25.10.6", "26": "26.0.0"}
_OLD = ("v25.04.0", "v25.04.1", "v25.04.2")
_NEW = (*_OLD, "v25.10.0", "v25.10.1", "v25.10.2", "v25.10.3", "v25.10.4", "v25.10.5")
API_VERSIONS = {"25.04": _OLD, "25.10": _NEW, "26": (*_NEW, "v26.0.0")}


@dataclass
class Call:
    """A call that runs: the appliance, the connection it came over and, for a job, the job."""

    nas: Nas
    connection: Connection
    job: Job | None = None


Handler = Callable[..., Awaitable[Any]]
Parameters = Mapping[str, Field] | Callable[[str], Mapping[str, Field]]


@dataclass(frozen=True)
class Method:
    """A method of the API."""

    name: str
    handler: Handler
    parameters: Parameters
    roles: tuple[str, ...]
    access: str  # public: before login too; session: whoever is logged in; roles: who has one of the roles
    write: bool
    lock: Callable[[list[Any]], str | None] | None  # set for a job: the name of the lock that it needs
    limited: bool  # calls before login are counted
    first: str
    last: str
    hidden: bool  # not there in the API of an older release that a newer one still serves

    @property
    def is_job(self) -> bool:
        """Whether a call starts a job."""
        return self.lock is not None

    def accepts(self, release: str) -> Mapping[str, Field]:
        """Return the parameters in a release."""
        return self.parameters(release) if callable(self.parameters) else self.parameters


METHODS: dict[str, Method] = {}


def method(
    name: str,
    parameters: Parameters | None = None,
    *,
    roles: tuple[str, ...] = (),
    access: str = "roles",
    write: bool = False,
    lock: Callable[[list[Any]], str | None] | None = None,
    limited: bool = True,
    first: str = RELEASES[0],
    last: str = RELEASES[-1],
    hidden: bool = False,
) -> Callable[[Handler], Handler]:
    """Register a method."""

    def register(handler: Handler) -> Handler:
        METHODS[name] = Method(
            name, handler, parameters or {}, roles, access, write, lock, limited, first, last, hidden
        )
        return handler

    return register
