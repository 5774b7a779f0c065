# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults that tests put into the appliance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("drop", "ebusy", "slow_job", "job_fails", "revoke_key", "service_fails", "pool_degraded", "error")


class FaultError(Exception):
    """The list of faults cannot be used; the text says what to correct."""


@dataclass
class Fault:
    """What goes wrong, for which methods, how often (null: until it is deleted), and after how many that pass."""

    kind: str
    match: str = ""
    times: int | None = 1
    seconds: float = 5.0
    message: str = "Injected fault"
    after: bool = False
    skip: int = 0


class Faults:
    """The faults that wait for their call."""

    def __init__(self) -> None:
        self.waiting: list[Fault] = []

    def put(self, document: Any) -> None:
        """Replace the faults by those of a document."""
        if not isinstance(document, dict) or not isinstance(document.get("faults"), list):
            raise FaultError('send {"faults": [{"kind": ..., "match": ..., "times": ...}]}')
        faults = []
        for entry in document["faults"]:
            if not isinstance(entry, dict) or entry.get("kind") not in KINDS:
                raise FaultError(f"kind must be one of {', '.join(KINDS)}")
            unknown = sorted(set(entry) - set(Fault.__dataclass_fields__))
            if unknown:
                raise FaultError(f"unknown keys: {', '.join(unknown)}")
            faults.append(Fault(**entry))
        self.waiting = faults

    def take(self, kind: str, name: str) -> Fault | None:
        """Return the fault that strikes now, if one does; it counts as used."""
        for fault in self.waiting:
            if fault.kind == kind and fault.match in name:
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.waiting.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Remove all faults."""
        self.waiting = []

    def document(self) -> dict[str, Any]:
        """Return the faults that still wait."""
        return {"faults": [asdict(fault) for fault in self.waiting]}
