# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the TrueNAS modules (private to the collection)."""

from __future__ import annotations

import typing as t

REASON = "Take the reason away on the NAS, then run again: the module reads what is there."
"""What to do about an error that only the NAS can explain."""


class NasError(Exception):
    """The NAS cannot be used or refused something; remedy says what to do."""

    def __init__(self, message: str, remedy: str = "", code: str = "error") -> None:
        super().__init__(message)
        self.remedy, self.code = remedy, code
        self.done = False
        """Whether what was asked for was done, or may have been."""

    def sentence(self) -> str:
        """Return message and remedy as they are shown to people."""
        message = str(self).rstrip(". ")
        return f"{message}. {self.remedy}" if self.remedy else f"{message}."


class Unreachable(NasError):
    """Nothing usable answers at the address (yet): worth another try."""


class ConnectionLost(NasError):
    """The connection ended before the answer came, so it is not known whether the call took effect."""

    def __init__(self, message: str, remedy: str = "", code: str = "error") -> None:
        super().__init__(message, remedy, code)
        self.done = True


class Refused(NasError):
    """The NAS answered a call with an error."""

    def __init__(
        self,
        method: str,
        rpc_code: int,
        errno: t.Optional[int],
        errname: str,
        reason: str,
        extra: t.Sequence[t.Sequence[t.Any]] = (),
        remedy: str = "",
    ) -> None:
        super().__init__(f"{method}: {reason}", remedy, errname or str(rpc_code))
        self.method, self.rpc_code, self.errno, self.errname = method, rpc_code, errno, errname
        self.reason, self.extra = reason, [list(entry) for entry in extra]

    def sentence(self) -> str:
        return super().sentence() if self.remedy or self.extra else f"{super().sentence()} {REASON}"

    @property
    def is_service_down(self) -> bool:
        """Whether the change was saved, and the service that had to read it does not run any more."""
        return self.errno == 202 or self.errname == "ESERVICESTARTFAILURE"

    @property
    def is_missing_method(self) -> bool:
        """Whether the NAS does not know the method (as opposed to refusing it)."""
        return self.rpc_code == -32601 or self.errno == 201 or self.errname == "ENOMETHOD"

    @property
    def is_busy(self) -> bool:
        """Whether the NAS asks to come back later: too many logins or calls."""
        return (self.errno == 16 and "rate limit" in self.reason.lower()) or self.rpc_code == -32000


class Problems(NasError):
    """Everything that is wrong with the wanted state, found before anything was written."""

    def __init__(self, problems: t.Sequence[str]) -> None:
        self.problems = list(problems)
        head = "" if len(self.problems) == 1 else f"{len(self.problems)} problems, nothing was changed: "
        super().__init__(head + " ".join(f"{problem.rstrip('. ')}." for problem in self.problems), "", "invalid")

    def sentence(self) -> str:
        return str(self)
