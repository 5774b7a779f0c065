# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add to a call of machine_state the secrets in its files, and what else is wanted of the machine, if it is to look ahead."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._appliances import mounts_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    STORAGE_DEFAULTS,
    client_digests,
    cluster_key,
    cluster_parameters,
    key_of,
    missing_secrets,
    stack_keys,
    stack_parameters,
    storage_key,
    wanted_accounts,
    wanted_databases,
    wanted_models,
    wanted_pooler,
    with_account_passwords,
    with_passwords,
    with_pooler_password,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog_core import SECRET_PATTERN
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError, load_secrets, secrets_file
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

NOT_YET = "not-generated-yet"
"""Stands for a secret in check mode that a real run would make."""


class Request(t.TypedDict):
    """What to look at, and the keys that a later task has to come to."""

    module: str
    parameters: dict[str, t.Any]
    keys: dict[str, str]


class ActionModule(ActionBase):
    """The controller's half of machine_state."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module once."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        hidden = self._fill_in_secrets(arguments, variables, result)
        requests: dict[str, Request] = {}
        if boolean(arguments.get("look_ahead") or False):
            requests = {request["module"]: request for request in self._requests(variables)}
            arguments["looks"] = [
                {"module": request["module"], "parameters": request["parameters"]} for request in requests.values()
            ]
        outcome = self._execute_module(
            module_name="pantheon.ai.machine_state",
            module_args=arguments,
            task_vars={**variables, "ansible_no_target_syslog": True} if requests or hidden else variables,
        )
        if requests or hidden:
            outcome.pop("invocation", None)  # it would repeat the files of the stacks, with their secrets
        if requests:
            outcome["looks"] = [
                {**look, "keys": requests[look["module"]]["keys"]} for look in outcome.get("looks") or ()
            ]
        warnings = [*result.pop("warnings", []), *outcome.pop("warnings", [])]
        result.update(outcome)
        if warnings:
            result["warnings"] = warnings
        return result

    def _secrets(self, inventory: str) -> dict[str, str]:
        """Return the secrets of the environment; deriving the key of the vault takes a while, so once per call."""
        kept: dict[str, str] | None = getattr(self, "_kept_secrets", None)
        if kept is None:
            kept = self._kept_secrets = load_secrets(inventory, self._loader)
        return kept

    def _fill_in_secrets(
        self, arguments: dict[str, t.Any], variables: t.Mapping[str, t.Any], result: dict[str, t.Any]
    ) -> bool:
        """Put the secrets that files name (``@@secret:NAME@@``) into *arguments*; return whether there were any.

        The values are known to the action only: they never become variables of a host, and such a file has no diff.
        """
        files = arguments.get("files") or []
        names = sorted({name for file in files for name in SECRET_PATTERN.findall(str(file.get("content") or ""))})
        if not names:
            return False
        inventory = variables.get("inventory_dir")
        if not inventory:
            raise AnsibleActionFail(
                "Secrets are kept beside the inventory, and this inventory is neither a file nor a folder. "
                "Give one with -i, for example -i inventories/lab."
            )
        try:
            fresh = self._task.check_mode and not secrets_file(inventory).exists()
            values = {} if fresh else self._secrets(inventory)
        except SecretsError as error:
            raise AnsibleActionFail(str(error)) from error
        missing = [name for name in names if name not in values]
        if missing:
            said = f"{secrets_file(inventory)} has no value for: {', '.join(missing)}."
            if not self._task.check_mode:
                raise AnsibleActionFail(f"{said} Run playbooks/preflight.yml, which makes what is missing.")
            result.setdefault("warnings", []).append(f"{said} The files that need one are reported as changed.")
            values = {**dict.fromkeys(missing, NOT_YET), **values}

        def filled(file: dict[str, t.Any]) -> dict[str, t.Any]:
            content = str(file.get("content") or "")
            if SECRET_PATTERN.search(content) is None:
                return file
            content = SECRET_PATTERN.sub(lambda found: str(values[found.group(1)]), content)
            return {**file, "content": content, "sensitive": True}

        arguments["files"] = [filled(file) for file in files]
        return True

    def _requests(self, variables: t.Mapping[str, t.Any]) -> list[Request]:
        """Return what to look at. Data that cannot be used is reported by the tasks that need it, not here."""
        host = str(variables["inventory_hostname"])
        requests: list[Request] = []
        try:
            site = load_site(variables, self._loader)
            stacks = render_stacks(site, host)
            databases, pooler = wanted_databases(site, host), wanted_pooler(site)
            secrets: dict[str, str] = {}
            if databases is not None or any(stack["secret_names"] for stack in stacks):
                secrets = self._secrets(site.inventory)
            if not missing_secrets(stacks, secrets):
                parameters = stack_parameters(site, host, stacks, secrets)
                requests.append(Request(module="compose_stack", parameters=parameters, keys=stack_keys(parameters)))
            if databases is not None:
                parameters = {"service": "postgresql", "databases": with_passwords(databases, secrets, site.inventory)}
                if pooler:
                    parameters["pooler"] = with_pooler_password(pooler, secrets, site.inventory)
                accounts = wanted_accounts(site)
                if accounts:
                    parameters["accounts"] = with_account_passwords(accounts, secrets, site.inventory)
                keys = {"databases": key_of(parameters)}
                # A look does not wait: what is not there yet is the business of the task that follows.
                parameters["wait"] = 0
                requests.append(Request(module="postgresql_databases", parameters=parameters, keys=keys))
                cluster = cluster_parameters(site)
                if cluster:
                    requests.append(Request(module="postgresql_cluster", parameters=cluster, keys=cluster_key(cluster)))
            # Also without any: there may be some of earlier runs to take away.
            settings = {name: variables.get(f"storage_{name}", value) for name, value in STORAGE_DEFAULTS.items()}
            parameters = {"mounts": mounts_of(site, host), **self._templar.template(settings)}
            keys = {"mounts": storage_key(parameters)}
            parameters["client"] = client_digests()
            requests.append(Request(module="storage_mounts", parameters=parameters, keys=keys))
            models = wanted_models(site, host)
            if models:
                keys = {"models": key_of({"models": models})}
                requests.append(Request(module="ollama_models", parameters={"models": models}, keys=keys))
        except (SiteError, SecretsError):
            return []
        return requests
