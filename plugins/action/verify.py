# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the platform from outside and give a verdict. Runs on the controller only; see the module's documentation."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import (
    SecretsError,
    artifacts_directory,
    load_secrets,
    write_public,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError, load_site, plain
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify import failures, make_plan, table, verdict
from ansible_collections.pantheon.ai.plugins.plugin_utils._verify_checks import Limits, Verifier, utc_now

ARGUMENTS: dict[str, Any] = {
    "artifacts": {"type": "path"},
    "segments_from": {"type": "str", "default": "__verify_segments"},
    "connect_timeout": {"type": "float", "default": 3},
    "answer_timeout": {"type": "float", "default": 15},
    "chat_timeout": {"type": "float", "default": 120},
    "port_timeout": {"type": "float", "default": 1},
    "settle": {"type": "float", "default": 20},
}

# Connections that end on another machine through ssh; any other one says nothing about how a machine is reached.
SSH = ("ssh", "smart", "paramiko", "paramiko_ssh", "ansible.builtin.ssh", "ansible.builtin.paramiko_ssh")


class ActionModule(ActionBase):
    """The verdict is the result of the task; it fails when the platform does not do what it should."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Perform the checks, write the verdict and show it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = self.validate_argument_spec(argument_spec=ARGUMENTS)[1]
        if self._task.check_mode:
            return {
                **result,
                "skipped": True,
                "msg": "nothing is verified in check mode: what it would look at is not there yet",
            }
        started, clock = utc_now(), time.monotonic()
        try:
            site = load_site(variables, self._loader)
            plan = make_plan(
                site, secrets_of(site), self._connections(site, variables), self._controllers(site, variables)
            )
            secrets = load_secrets(site.inventory, self._loader)
        except (SecretsError, SiteError) as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message

        verifier = Verifier(
            plan,
            secrets,
            self._segments(site, variables, arguments["segments_from"]),
            Limits(
                connect=arguments["connect_timeout"],
                answer=arguments["answer_timeout"],
                chat=arguments["chat_timeout"],
                settle=arguments["settle"],
                port=arguments["port_timeout"],
            ),
        )
        checks = verifier.perform()
        outcome = verdict(plan, checks, verifier.answers, started, time.monotonic() - clock)

        artifacts = Path(arguments["artifacts"]) if arguments["artifacts"] else artifacts_directory(site.inventory)
        file = artifacts / "verdict.json"
        try:
            write_public(file, json.dumps(outcome, indent=2, ensure_ascii=False) + "\n")
        except OSError as error:
            raise AnsibleActionFail(
                f"{file}: cannot be written ({error.strerror}). Make the folder writable for this user."
            ) from None

        shown = table(outcome)
        Display().display(shown)
        # A verdict that comes out the same way twice is no change of the platform.
        result.update(outcome, changed=False, file=str(file), msg=shown)
        if not outcome["ok"]:
            # The table is on the screen and the file holds everything: the error shows what failed only.
            result.update(failed=True, checks=[check for check in outcome["checks"] if check["ok"] is False])
            result.update(msg=f"The platform does not do what it should ({file}):\n{failures(outcome)}")
        return result

    @staticmethod
    def _connections(site: Site, variables: Mapping[str, Any]) -> dict[str, int | None]:
        """Return the ssh port of each machine, None for one that is managed another way."""
        hostvars = variables.get("hostvars") or {}
        ports: dict[str, int | None] = {}
        for name in site.machines:
            own = hostvars.get(name) or {}
            port = str(own.get("ansible_port") or 22)
            ssh = str(own.get("ansible_connection") or "ssh") in SSH
            ports[name] = int(port) if ssh and port.isdigit() else None
        return ports

    @staticmethod
    def _controllers(site: Site, variables: Mapping[str, Any]) -> set[str]:
        """Return the machines that are the one this runs on."""
        hostvars = variables.get("hostvars") or {}
        return {
            name
            for name in site.machines
            if str((hostvars.get(name) or {}).get("ansible_connection") or "") in ("local", "ansible.builtin.local")
        }

    @staticmethod
    def _segments(site: Site, variables: Mapping[str, Any], name: str) -> dict[str, list[dict[str, Any]] | None]:
        """Return what segment_probe found on each machine in this run; None where it did not run."""
        hostvars = variables.get("hostvars") or {}
        found: dict[str, list[dict[str, Any]] | None] = {}
        for machine in site.machines:
            registered = (hostvars.get(machine) or {}).get(name)
            results = registered.get("results") if isinstance(registered, Mapping) else None
            found[machine] = [dict(plain(item)) for item in results] if isinstance(results, list) else None
        return found
