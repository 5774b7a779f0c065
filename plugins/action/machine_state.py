# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Add to a call of machine_state what else is wanted of the machine, if it is to look ahead; see its documentation."""

from __future__ import annotations

import typing as t

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
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError, load_secrets
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks


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
        requests: dict[str, Request] = {}
        if boolean(arguments.get("look_ahead") or False):
            requests = {request["module"]: request for request in self._requests(variables)}
            arguments["looks"] = [
                {"module": request["module"], "parameters": request["parameters"]} for request in requests.values()
            ]
        outcome = self._execute_module(
            module_name="pantheon.ai.machine_state",
            module_args=arguments,
            task_vars={**variables, "ansible_no_target_syslog": True} if requests else variables,
        )
        if requests:
            outcome.pop("invocation", None)  # it would repeat the files of the stacks, with their secrets
            outcome["looks"] = [
                {**look, "keys": requests[look["module"]]["keys"]} for look in outcome.get("looks") or ()
            ]
        result.update(outcome)
        return result

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
                secrets = load_secrets(site.inventory, self._loader)
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
