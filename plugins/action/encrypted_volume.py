# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give a call of encrypted_volume its key, made from the secrets of the inventory; see the module's documentation."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._encryption import SECRET, key_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError, load_secrets, secrets_file
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import inventory_folder


class ActionModule(ActionBase):
    """The controller's half of encrypted_volume."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module once."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        machine = arguments.pop("key_machine", "") or variables["inventory_hostname"]
        if not arguments.get("key") and arguments.get("state", "present") in ("present", "unlocked"):
            key = self._key(variables, str(machine), str(arguments.get("name")))
            if key is not None:
                arguments["key"] = key
        outcome = self._execute_module(
            module_name="pantheon.ai.encrypted_volume",
            module_args=arguments,
            task_vars={**variables, "ansible_no_target_syslog": True},
        )
        outcome.pop("invocation", None)
        result.update(outcome)
        return result

    def _key(self, variables: t.Mapping[str, t.Any], machine: str, volume: str) -> str | None:
        """Return the key; None in check mode before the secrets were ever made."""
        folder = inventory_folder(variables)
        if folder is None:
            raise AnsibleActionFail(
                f"volume {volume}: no key was given, and this inventory has no folder for secrets. Give key, or an inventory with -i."
            )
        try:
            if self._task.check_mode and not secrets_file(folder).exists():
                return None
            secrets = load_secrets(folder, self._loader)
        except SecretsError as error:
            raise AnsibleActionFail(str(error)) from error
        if SECRET in secrets:
            return key_of(secrets[SECRET], machine, volume)
        if self._task.check_mode:
            return None
        raise AnsibleActionFail(
            f"{secrets_file(folder)} has no value for {SECRET}. Run the secrets step, which makes what is missing: "
            "ansible-playbook playbooks/preflight.yml, or site.yml without --tags."
        )
