# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the role drill; the figures are worked out in plugin_utils."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.pantheon.ai.plugins.plugin_utils import _drill as drill


def drill_writes(said: str, fault: float | None = None) -> dict[str, Any]:
    """Return the figures of one writer from what it printed."""
    try:
        return drill.writes(json.loads(said), None if fault is None else float(fault))
    except (KeyError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"drill_writes: {error}. Look at what the client of the drill printed.") from error


def drill_summary(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures of all rounds."""
    return drill.summary(rounds)


def drill_replication(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the master of Redis from the looped answers of its machines."""
    return drill.replication({str(one["item"]): str(one.get("stdout") or "") for one in results})


class FilterModule:
    """The filters of the drill."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "drill_replication": drill_replication,
            "drill_summary": drill_summary,
            "drill_writes": drill_writes,
        }
