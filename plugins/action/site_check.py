# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the site as a whole. Runs on the controller only; see the module's documentation."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import check_site, placed
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_files import describe
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site, plain


class ActionModule(ActionBase):
    """Collects every problem before it fails, so that one run is enough to see them all."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return what is placed where, or fail with all problems at once."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        self.validate_argument_spec(argument_spec={})
        result["changed"] = False
        try:
            site = load_site(task_vars or {}, self._loader)
            problems = check_site(site)
        except SiteError as error:
            problems = error.problems
        result["problems"] = [plain(asdict(problem)) for problem in problems]
        if problems:
            result.update(failed=True, msg=describe(problems))
            return result
        result["placement"] = {name: hosts for name in sorted(site.services) if (hosts := placed(site, name))}
        result["msg"] = f"{len(result['placement'])} services on {len(site.machines)} machines, no problems."
        return result
