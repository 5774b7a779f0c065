# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module compose_stack without Ansible: its arguments, and what one call comes to. Private to this collection."""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._compose_stack import (
    Compose,
    ComposeStacks,
    Options,
    Redactor,
    StackError,
    Units,
    failure_text,
    parse_wanted,
)
from ansible_collections.pantheon.ai.plugins.module_utils._docker_api import DockerApi, DockerError
from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Outcome

FILE: t.Dict[str, t.Any] = {
    "path": {"type": "str", "required": True},
    "content": {"type": "str", "required": True},
    "mode": {"type": "str", "default": "0644"},
    "uid": {"type": "int", "default": 0},
    "gid": {"type": "int", "default": 0},
    "sensitive": {"type": "bool", "default": False},
}

STACK: t.Dict[str, t.Any] = {
    "name": {"type": "str", "required": True},
    "tier": {"type": "str", "required": True},
    "project": {"type": "str"},
    "networks": {"type": "list", "elements": "str", "default": []},
    "images": {"type": "list", "elements": "str", "default": []},
    "requires": {"type": "list", "elements": "str", "default": []},
    "storage": {"type": "list", "elements": "str", "default": []},
    "services": {"type": "dict", "required": True},
    "config": {"type": "str", "required": True},
    "files": {"type": "list", "elements": "dict", "required": True, "options": FILE},
}

ARGUMENTS: t.Dict[str, t.Any] = {
    "tiers": {"type": "list", "elements": "str"},
    "only": {"type": "list", "elements": "str"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "remove_volumes": {"type": "bool", "default": False},
    "wait_timeout": {"type": "int", "default": 120},
    "log_lines": {"type": "int", "default": 20},
    "root": {"type": "path", "default": "/opt/pantheon"},
    "machine": {"type": "str", "default": "this machine"},
    "docker_socket": {"type": "path", "default": "/var/run/docker.sock"},
    "keep": {"type": "list", "elements": "str", "default": []},
    "secrets": {"type": "dict", "default": {}, "no_log": True},
    "stacks": {"type": "list", "elements": "dict", "default": [], "options": STACK},
}


def perform(params: t.Dict[str, t.Any], check_mode: bool) -> Outcome:
    """Reconcile the stacks of the machine."""
    secrets = {name: str(value) for name, value in params["secrets"].items()}
    redactor = Redactor(secrets.values())
    try:
        options = Options(
            root=params["root"],
            stacks=[parse_wanted(stack, secrets) for stack in params["stacks"]],
            keep=params["keep"],
            tiers=params["tiers"],
            only=params["only"],
            state=params["state"],
            remove_volumes=params["remove_volumes"],
            wait_timeout=params["wait_timeout"],
            log_lines=params["log_lines"],
            machine=params["machine"],
            check_mode=check_mode,
        )
        docker = DockerApi(params["docker_socket"])
        result = ComposeStacks(options, docker, Compose(params["docker_socket"]), Units(), redactor).run()
    except StackError as error:
        return Outcome({}, error=redactor.text(f"{error}. {error.remedy}".strip()))
    except (DockerError, OSError) as error:
        return Outcome({}, error=redactor.text(f"{params['machine']}: {error}"))
    warnings, idle = result.pop("warnings"), result.pop("idle")
    for key in ("failures", "notes"):
        if not result[key]:
            del result[key]
    failed = failure_text(result["failures"]) if "failures" in result else ""
    return Outcome(result, warnings, failed, idle)
