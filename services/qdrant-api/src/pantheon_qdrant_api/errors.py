# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong, each with the status that Qdrant answers."""

from __future__ import annotations


class ApiError(Exception):
    """A request that cannot be served; the text is the answer."""

    status = 500


class BadRequestError(ApiError):
    """The request is wrong."""

    status = 400


class NotFoundError(ApiError):
    """A collection, point or snapshot is not there."""

    status = 404


class ConflictError(ApiError):
    """Something of that name is there already."""

    status = 409


class NotHereError(ApiError):
    """Qdrant can do this, and this stand-in cannot."""

    status = 501

    def __init__(self, what: str) -> None:
        """Say that *what* is missing."""
        super().__init__(f"Not implemented in the lab's stand-in: {what}. Use Qdrant itself for it.")
