# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of the API: what a method raises, and the numbers and names that a client sees."""

from __future__ import annotations

import errno
from collections.abc import Iterator

ENOMETHOD = 201
ESERVICESTARTFAILURE = 202
ENOTAUTHENTICATED = 207

OWN_NAMES = {
    201: "ENOMETHOD",
    202: "ESERVICESTARTFAILURE",
    203: "EALERTCHECKERUNAVAILABLE",
    204: "EREMOTENODEERROR",
    205: "EDATASETISLOCKED",
    206: "EINVALIDRRDTIMESTAMP",
    207: "ENOTAUTHENTICATED",
    208: "ESSLCERTVERIFICATIONERROR",
    209: "EREBOOTREQUIRED",
    210: "EHAUNAVAILABLE",
}


def errname(code: int) -> str:
    """Return the name of an error number, the appliance's own numbers included."""
    return errno.errorcode.get(code) or OWN_NAMES.get(code) or "EUNKNOWN"


class CallError(Exception):
    """A method could not do its work."""

    def __init__(self, message: str, code: int = errno.EFAULT, extra: object = None) -> None:
        super().__init__(message, code)
        self.message, self.errno, self.extra = message, code, extra

    def __str__(self) -> str:
        return f"[{errname(self.errno)}] {self.message}"


class ValidationError(Exception):
    """One attribute of a call is wrong; attribute is None for "this object does not exist"."""

    def __init__(self, attribute: str | None, message: str, code: int = errno.EINVAL) -> None:
        super().__init__(attribute, message, code)
        self.attribute, self.message, self.errno = attribute, message, code

    def __str__(self) -> str:
        return f"[{errname(self.errno)}] {self.attribute}: {self.message}"

    def entry(self) -> tuple[str | None, str, int]:
        """Return what stands in the error's extra list."""
        return (self.attribute, self.message, self.errno)


class InstanceNotFound(ValidationError):
    """There is no object with this id."""

    def __init__(self, message: str) -> None:
        super().__init__(None, message, errno.ENOENT)


class ValidationErrors(Exception):
    """Everything that is wrong with a call, collected."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[ValidationError] = []

    def add(self, attribute: str, message: str, code: int = errno.EINVAL) -> None:
        """Note one more problem."""
        self.errors.append(ValidationError(attribute, message, code))

    def add_child(self, attribute: str, child: ValidationErrors) -> None:
        """Note the problems of a part under the name of the whole."""
        for error in child.errors:
            self.add(f"{attribute}.{error.attribute}", error.message, error.errno)

    def check(self) -> None:
        """Raise if there is any problem."""
        if self.errors:
            raise self

    def __bool__(self) -> bool:
        return bool(self.errors)

    def __iter__(self) -> Iterator[tuple[str | None, str, int]]:
        return iter(error.entry() for error in self.errors)

    def __str__(self) -> str:
        return "".join(f"{error}\n" for error in self.errors)


class MatchNotFound(IndexError):
    """A query with the option get found nothing."""
