# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask in one start of Python whether several modules of this collection would find their state as wanted.

Starting a module costs a machine more than what most of them look at. `machine_state` starts on every machine anyway, so
it can ask for the others too, in check mode, and the controller then leaves out the calls that would find nothing to do.
Private to this collection; standard library only.
"""

from __future__ import annotations

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._outcome import Perform


def _module(name: str) -> t.Tuple[t.Dict[str, t.Any], Perform]:
    """Return the argument specification and the function of a module.

    Imported here, one by one: what a machine does not ask for, it does not have to compile.
    """
    if name == "compose_stack":
        from ansible_collections.pantheon.ai.plugins.module_utils import _compose_stack_call as stacks

        return stacks.ARGUMENTS, stacks.perform
    if name == "postgresql_databases":
        from ansible_collections.pantheon.ai.plugins.module_utils import _postgresql_databases as databases

        return databases.ARGUMENTS, databases.perform
    if name == "postgresql_cluster":
        from ansible_collections.pantheon.ai.plugins.module_utils import _postgresql_cluster as cluster

        return cluster.ARGUMENTS, cluster.perform
    if name == "ollama_models":
        from ansible_collections.pantheon.ai.plugins.module_utils import _ollama_models as models

        return models.ARGUMENTS, models.perform
    if name == "storage_mounts":
        from ansible_collections.pantheon.ai.plugins.module_utils import _storage_call as storage

        return storage.LOOK_ARGUMENTS, storage.look
    raise ValueError(
        f"looks[].module: {name!r} is none of compose_stack, postgresql_databases, postgresql_cluster, ollama_models, "
        "storage_mounts"
    )


def look(requests: t.Sequence[t.Dict[str, t.Any]]) -> t.List[t.Dict[str, t.Any]]:
    """Return the answers to those requests that found nothing to do; a look that fails has no answer:
    the call that follows meets the fault again, and reports it.

    Args:
        requests: `module`, and its `parameters`.

    Returns:
        For each of them `module` and the module's `result`.
    """
    from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

    answers = []
    for request in requests:
        arguments, perform = _module(request["module"])
        checked = ArgumentSpecValidator(arguments).validate(request["parameters"])
        if checked.error_messages:
            continue  # the module itself will say what is wrong
        outcome = perform(checked.validated_parameters, True)
        if outcome.idle and not outcome.error and not outcome.warnings:
            answers.append({"module": request["module"], "result": outcome.result})
    return answers
