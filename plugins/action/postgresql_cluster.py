# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in the members of the cluster and its configuration on the controller; see the module's documentation."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    cluster_key,
    cluster_parameters,
    cluster_seen,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site


class ActionModule(ActionBase):
    """The controller's half of postgresql_cluster."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once for the whole cluster; skip where there is none."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.get("members") is None:
            try:
                parameters = cluster_parameters(load_site(variables, self._loader))
            except SiteError as error:
                raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message
            if parameters is None:
                return {**result, "skipped": True, "msg": "postgresql runs on no machine"}
            arguments = {**parameters, **arguments}
        if arguments.get("tolerate") is None:
            # Machines that are off, or that --limit leaves out.
            here = variables.get("ansible_play_hosts") or list(arguments["members"])
            arguments["tolerate"] = [name for name in arguments["members"] if name not in here]
        seen = cluster_seen(variables, arguments["members"], cluster_key(arguments))
        if seen is not None:
            return {**result, **seen}
        outcome = self._execute_module(
            module_name="pantheon.ai.postgresql_cluster", module_args=arguments, task_vars=variables
        )
        outcome.pop("invocation", None)  # it would repeat the whole configuration
        result.update(outcome)
        return result
