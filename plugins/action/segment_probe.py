# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in the connections to try from a machine's containers; see the module's documentation."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify import segment_probes


class ActionModule(ActionBase):
    """The controller's half of segment_probe."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once with all probes of the machine; a machine without any is not even connected to."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.get("probes") is None:
            if self._task.check_mode:
                return {**result, "skipped": True, "msg": "nothing is verified in check mode"}
            try:
                site = load_site(variables, self._loader)
            except SiteError as error:
                raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message
            probes = segment_probes(site, str(variables["inventory_hostname"]))
            if not probes:
                return {**result, "changed": False, "ok": True, "results": []}
            arguments["probes"] = [probe.as_dict() for probe in probes]
        result.update(
            self._execute_module(module_name="pantheon.ai.segment_probe", module_args=arguments, task_vars=variables)
        )
        result.pop("invocation", None)
        return result
