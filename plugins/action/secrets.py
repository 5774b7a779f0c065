# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the secrets of the environment complete. Runs on the controller only; see the module's documentation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import secrets_of
from ansible_collections.pantheon.ai.plugins.plugin_utils._secrets import (
    SecretsError,
    artifacts_directory,
    certificate_authorities,
    ensure,
    write_public,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import SiteError, load_site


class ActionModule(ActionBase):
    """Only names leave this plugin; the values stay in the encrypted file."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Add missing secrets and write the authority's certificate; the result names what was added."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = self.validate_argument_spec(
            argument_spec={"artifacts": {"type": "path"}, "renew_days": {"type": "int", "default": 30}}
        )[1]
        check_mode = bool(self._task.check_mode)
        try:
            site = load_site(variables, self._loader)
            if not site.inventory:
                raise AnsibleActionFail(
                    "secrets are kept beside the inventory, and this inventory is not a file or folder. "
                    "Give one with -i, for example -i inventories/lab."
                )
            specification = secrets_of(site)
            done, values = ensure(
                site.inventory,
                self._loader,
                specification,
                site.settings.domain,
                check_mode=check_mode,
                renew_days=arguments["renew_days"],
            )
        except (SecretsError, SiteError) as error:
            raise AnsibleActionFail(str(error)) from None  # Ansible would repeat the cause behind the message

        artifacts = Path(arguments["artifacts"]) if arguments["artifacts"] else artifacts_directory(site.inventory)
        certificate = artifacts / "ca.crt"
        content = certificate_authorities(specification, values)
        written = False
        if content and not check_mode:
            try:
                written = write_public(certificate, content)
            except OSError as error:
                raise AnsibleActionFail(
                    f"{certificate}: cannot be written ({error.strerror}). Make the folder writable for this user."
                ) from None

        result.update(asdict(done), changed=done.changed or written, ca_certificate=str(certificate))
        result["msg"] = _sentence(result, check_mode)
        if self._task.diff:
            result["diff"] = [_difference(result)]
        return result


def _sentence(result: dict[str, Any], check_mode: bool) -> str:
    would = "would be " if check_mode else ""
    parts = []
    if result["added"]:
        parts.append(f"{would}added: {', '.join(result['added'])}")
    if result["renewed"]:
        reasons = ", ".join(f"{name} ({reason})" for name, reason in sorted(result["renewed"].items()))
        parts.append(f"{would}renewed: {reasons}")
    return f"{result['file']}: {'; '.join(parts) or 'complete'}"


def _difference(result: dict[str, Any]) -> dict[str, str]:
    before = sorted([*result["kept"], *result["unknown"]])
    after = sorted({*before, *result["added"]})
    renewed = result["renewed"]

    def lines(names: list[str], note: str) -> str:
        parts = {part: name for name in renewed for part in (f"{name}_key", f"{name}_certificate")}
        return "".join(
            f"{name}: {note if name in parts else '(kept)' if name in before else '(new)'}\n" for name in names
        )

    return {
        "before_header": f"{result['file']} (names only)",
        "after_header": f"{result['file']} (names only)",
        "before": lines(before, "(kept)"),
        "after": lines(after, "(renewed)"),
    }
