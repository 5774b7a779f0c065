# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the stacks of a host on the controller and hand them to the module in one call; see its documentation."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    SOCKET,
    answer,
    looks_of,
    missing_secrets,
    stack_keys,
    stack_parameters,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError, load_secrets, secrets_file
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import Stack, render_stacks

NOT_YET = "generated-by-the-real-run"

ARGUMENTS: dict[str, t.Any] = {
    "tiers": {"type": "list", "elements": "str"},
    "only": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "remove_volumes": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 120},
    "log_lines": {"type": "int", "default": 20},
    "docker_socket": {"type": "path", "default": SOCKET},
}


def chosen(
    given: list[str] | None, run_tags: t.Iterable[str], skip_tags: t.Iterable[str], services: t.Iterable[str]
) -> list[str] | None:
    """Return the services to restrict a run to, None for no restriction.

    Those given win; else --tags and --skip-tags count, as far as they name services.
    """
    if given is not None:
        return given
    names = set(services)
    skipped = names & {str(tag) for tag in skip_tags}
    tagged = names & {str(tag) for tag in run_tags}
    return sorted((tagged or names) - skipped) if tagged or skipped else None


class ActionModule(ActionBase):
    """The controller's half of compose_stack."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Render, and run the module once. A faulty catalog or a missing secret fails before the machine is touched."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)[1]
        host = str(variables["inventory_hostname"])
        site = load_site(variables, self._loader)
        only = chosen(
            arguments["only"],
            variables.get("ansible_run_tags") or (),
            variables.get("ansible_skip_tags") or (),
            site.services,
        )
        parameters = {**arguments, "only": only, "root": site.settings.root, "machine": host}
        if arguments["state"] == "present":
            stacks = render_stacks(site, host, arguments["tiers"], only)
            secrets = self._secrets(stacks, variables, result)
            parameters = stack_parameters(site, host, stacks, secrets, **{**arguments, "only": only})
            looks = looks_of(variables)
            seen = answer(looks, "compose_stack", stack_keys(parameters))
            if seen is not None:
                mine = {stack["name"] for stack in stacks}
                seen["stacks"] = {name: report for name, report in seen["stacks"].items() if name in mine}
                seen["diff"] = []
                # Handed on: nothing was done here, so the looks still hold for the tasks that follow.
                return {**result, **seen, "looks": looks}

        outcome = self._execute_module(
            module_name="pantheon.ai.compose_stack",
            module_args=parameters,
            # The system log of the machine would get every file at every run.
            task_vars={**variables, "ansible_no_target_syslog": True},
        )
        outcome.pop("invocation", None)  # it repeats the files, and is of no use to anybody
        warnings = [*result.pop("warnings", []), *outcome.pop("warnings", [])]
        result.update(outcome)
        if warnings:
            result["warnings"] = warnings
        return result

    def _secrets(
        self, stacks: list[Stack], variables: t.Mapping[str, t.Any], result: dict[str, t.Any]
    ) -> dict[str, str]:
        """Return the values of the environment's secrets; in check mode also for those that a real run would make."""
        if not any(stack["secret_names"] for stack in stacks):
            return {}
        inventory = variables.get("inventory_dir")
        if not inventory:
            raise AnsibleActionFail(
                "Secrets are kept beside the inventory, and this inventory is neither a file nor a folder. "
                "Give one with -i, for example -i inventories/lab."
            )
        try:
            # In check mode the secrets step of a first run has not written the file.
            fresh = self._task.check_mode and not secrets_file(inventory).exists()
            secrets = {} if fresh else load_secrets(inventory, self._loader)
        except SecretsError as error:
            raise AnsibleActionFail(str(error)) from error
        missing = missing_secrets(stacks, secrets)
        if not missing:
            return secrets
        wanted = "; ".join(f"{name} (of {', '.join(users)})" for name, users in sorted(missing.items()))
        if not self._task.check_mode:
            raise AnsibleActionFail(
                f"{secrets_file(inventory)} has no value for: {wanted}. Run the secrets step, which makes what is missing: "
                "ansible-playbook playbooks/preflight.yml, or site.yml without --tags."
            )
        result.setdefault("warnings", []).append(
            f"{secrets_file(inventory)} has no value yet for: {wanted}. The files that need one are reported as changed."
        )
        return {**dict.fromkeys(missing, NOT_YET), **secrets}
