# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fill in the wanted databases and their passwords on the controller; see the module's documentation."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._calls import (
    answer,
    key_of,
    leader_was_in_order,
    looks_of,
    wanted_accounts,
    wanted_databases,
    wanted_pooler,
    with_account_passwords,
    with_passwords,
    with_pooler_password,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import placed
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import SecretsError, load_secrets
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError, load_site


class ActionModule(ActionBase):
    """Passwords go from the encrypted file to the module, and never through a variable of a host."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module once with the whole wanted set; skip a machine that is not one of the databases."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        service = str(arguments.get("service") or "postgresql")
        try:
            site = load_site(variables, self._loader)
            if arguments.get("databases") is None:
                arguments["databases"] = wanted_databases(site, str(variables["inventory_hostname"]), service)
                if arguments["databases"] is None:
                    return {**result, "skipped": True, "msg": f"{service} does not run on this machine"}
                pooler = arguments.get("pooler") or wanted_pooler(site, service)
                if pooler:
                    arguments["pooler"] = pooler
                accounts = arguments.get("accounts") or wanted_accounts(site, service)
                if accounts:
                    arguments["accounts"] = accounts
            self._add_passwords(arguments, site, bool(self._task.check_mode))
        except (SecretsError, SiteError) as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message
        # How long to wait matters only where something is to be done.
        asked = {name: value for name, value in arguments.items() if name != "wait"}
        key = {"databases": key_of(asked)}
        seen = answer(looks_of(variables), "postgresql_databases", key)
        if seen is not None:
            machines = placed(site, service) if service in site.services else []
            if seen.get("role") != "standby" or leader_was_in_order(variables, machines, key):
                return {**result, **seen}
        outcome = self._execute_module(
            module_name="pantheon.ai.postgresql_databases",
            module_args=arguments,
            task_vars={**variables, "ansible_no_target_syslog": True},
        )
        outcome.pop("invocation", None)
        result.update(outcome)
        return result

    def _add_passwords(self, arguments: dict[str, Any], site: Site, check_mode: bool) -> None:
        databases, pooler = arguments["databases"], arguments.get("pooler")
        accounts = arguments.get("accounts") or []
        if all(entry.get("password") or not entry.get("secret") for entry in [*databases, *accounts]) and (
            not pooler or pooler.get("password")
        ):
            return
        try:
            values = load_secrets(site.inventory, self._loader)
        except SecretsError:
            if not check_mode:
                raise
            values = {}  # check mode before the first run: they would have been made by now
        stand_in = "not-made-before-the-real-run" if check_mode else None
        arguments["databases"] = with_passwords(databases, values, site.inventory, stand_in)
        if accounts:
            arguments["accounts"] = with_account_passwords(accounts, values, site.inventory, stand_in)
        if pooler:
            arguments["pooler"] = with_pooler_password(dict(pooler), values, site.inventory, stand_in)
