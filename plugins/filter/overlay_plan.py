# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter overlay_plan; the decisions are in plugin_utils."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.pantheon.ai.plugins.plugin_utils._overlay import plan_overlay


def overlay_plan(
    views: Mapping[str, Mapping[str, Any]],
    asked: Sequence[Mapping[str, Any]] | None = None,
    looked: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return what has to happen so that the machines form one swarm with its overlay networks."""
    known = {
        name: view
        for source in (looked or {}, views)
        for name, view in source.items()
        if isinstance(view, Mapping) and "swarm" in view
    }
    hosts = options.pop("hosts", None) or list(known)
    for answer in asked or []:
        if "swarm" in answer:
            known[answer["item"]] = answer
    try:
        return dict(plan_overlay(known, hosts=hosts, asked=asked is not None, **options))
    except (KeyError, TypeError, AttributeError) as error:
        raise AnsibleFilterError(f"overlay_plan: {type(error).__name__} {error} in {sorted(options)}") from error


class FilterModule:
    """Filters of the overlay."""

    def filters(self) -> dict[str, Any]:
        """Return the filters by name."""
        return {"overlay_plan": overlay_plan}
