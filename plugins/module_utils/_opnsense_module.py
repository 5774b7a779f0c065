# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the OPNsense modules have in common as modules (private to the collection)."""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import AnsibleModule, env_fallback

from ansible_collections.pantheon.ai.plugins.module_utils._opnsense_client import (
    CONNECTION_ARGUMENTS,
    Client,
    OpnsenseError,
    Settings,
)

Arguments = t.Dict[str, t.Dict[str, t.Any]]


def arguments(own: Arguments) -> Arguments:
    """Return the options of a module together with those of the connection."""
    spec: Arguments = {}
    for name, option in CONNECTION_ARGUMENTS.items():
        spec[name] = {key: value for key, value in option.items() if key != "env"}
        spec[name]["fallback"] = (env_fallback, [option["env"]])
    return {**spec, **own}


def run(own: Arguments, work: t.Callable[[Client, t.Dict[str, t.Any], bool], t.Dict[str, t.Any]]) -> None:
    """Connect, work, and leave with the result or with one sentence that says what to do."""
    module = AnsibleModule(argument_spec=arguments(own), supports_check_mode=True)
    client: t.Optional[Client] = None
    try:
        settings = Settings(module.params)
        # Those out of a file are no options, so Ansible does not know them as secrets.
        module.no_log_values.update({settings.key, settings.secret})
        if settings.plain_off_loopback:
            module.warn(f"scheme http sends the API key to {settings.host} without encryption; use https.")
        client = Client(settings)
        result = work(client, module.params, module.check_mode)
        leave = module.exit_json
    except OpnsenseError as error:
        result = {"changed": False, **error.result, "msg": error.sentence(), "failure": error.code}
        if client is not None:
            result.setdefault("requests", client.requests)
        leave = module.fail_json
    finally:
        if client is not None:
            client.close()
    for warning in result.pop("warnings", []):
        module.warn(warning)
    leave(**result)
