# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters that decide what of the data tier is changed one machine at a time; the decisions are in plugin_utils."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.pantheon.ai.plugins.plugin_utils import _rolling as rolling


def patroni_cluster(printed: str | None) -> dict[str, Any]:
    """Return leader and standbys; nobody of either where nothing could be asked."""
    try:
        members = json.loads(printed or "[]")
    except ValueError:
        members = []
    return rolling.patroni_cluster(members)


def rolling_services(preview: Mapping[str, Any]) -> list[str]:
    """Return what of a machine is changed while the other machines wait."""
    if not isinstance(preview, Mapping):
        raise AnsibleFilterError("rolling_services: give the result of pantheon.ai.compose_stack in check mode.")
    return rolling.rolling_services(preview)


class FilterModule:
    """The filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"patroni_cluster": patroni_cluster, "rolling_services": rolling_services}
