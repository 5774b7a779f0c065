# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors in the words of Neo4j."""

from __future__ import annotations

import re


class Neo4jError(Exception):
    """An error that a client is told: a status code of Neo4j and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ProtocolError(Exception):
    """What arrived is no Bolt, or no message of this state; the connection ends."""


def unsupported(what: str) -> Neo4jError:
    """Return the refusal of something that the stand-in does not do."""
    return Neo4jError(
        "Neo.ClientError.Statement.NotImplemented",
        f"{what} (this is a stand-in for Neo4j: FalkorDB behind a front of Pantheon).",
    )


# The first pattern that is found in the engine's message gives the code.
_CODES = (
    (
        r"unique constraint violation|mandatory constraint violation",
        "Neo.ClientError.Schema.ConstraintValidationFailed",
    ),
    (r"query timed out", "Neo.ClientError.Transaction.TransactionTimedOut"),
    (r"is to be executed only on read-only queries|write queries? .*read-only", "Neo.ClientError.Statement.AccessMode"),
    (r"missing parameters?", "Neo.ClientError.Statement.ParameterMissing"),
    (r"procedure .* is not registered|unknown procedure", "Neo.ClientError.Procedure.ProcedureNotFound"),
    (
        r"already indexed|index already exists|constraint already exists",
        "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists",
    ),
    (r"unable to drop index|no such (index|constraint)", "Neo.ClientError.Schema.IndexNotFound"),
    (r"division by zero", "Neo.ClientError.Statement.ArithmeticError"),
    (
        r"type mismatch|incompatible types|property values can only be|cannot merge a map",
        "Neo.ClientError.Statement.TypeError",
    ),
    (r"mem(ory)? consumption exceeded", "Neo.TransientError.General.MemoryPoolOutOfMemoryError"),
    (r"out of memory|^oom ", "Neo.TransientError.General.OutOfMemoryError"),
    (r"max pending queries", "Neo.TransientError.General.TransactionOutOfMemoryError"),
    (
        r"errmsg|unknown function|not defined|invalid input|syntax|received .* arguments|undefined|more than one statement|empty query",
        "Neo.ClientError.Statement.SyntaxError",
    ),
)


def from_engine(message: str) -> Neo4jError:
    """Return the error that says what FalkorDB said, under the code that Neo4j gives to such errors."""
    found = (code for pattern, code in _CODES if re.search(pattern, message, re.IGNORECASE))
    code = next(found, "Neo.ClientError.Statement.ArgumentError")
    return Neo4jError(code, f"FalkorDB: {message.removeprefix('ERR ')}")
