# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in the models that the inventory places on a machine; see the module's documentation."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import answer, key_of, looks_of, wanted_models
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site


class ActionModule(ActionBase):
    """The controller's half of ollama_models."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once with all models of the machine; skip a machine without any."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        if arguments.get("models") is None:
            try:
                site = load_site(variables, self._loader)
            except SiteError as error:
                raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message
            arguments["models"] = wanted_models(site, str(variables["inventory_hostname"]))
            if not arguments["models"]:
                return {**result, "skipped": True, "msg": "no model is placed on this machine"}
        # How long to wait matters only where something is to be done; another server or container is another question.
        asked = {name: value for name, value in arguments.items() if name not in ("wait", "stall_timeout")}
        seen = answer(looks_of(variables), "ollama_models", {"models": key_of(asked)})
        if seen is not None:
            return {**result, **seen}
        result.update(
            self._execute_module(module_name="pantheon.ai.ollama_models", module_args=arguments, task_vars=variables)
        )
        return result
