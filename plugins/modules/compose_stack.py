#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reconcile the compose stacks of a machine with what the catalog wants there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: compose_stack
short_description: Reconcile the compose stacks of a machine with the catalog
version_added: "0.1.0"
description:
  - Brings the compose projects of the catalog's services on one machine into the wanted state, with one call for all of
    them. Files are compared by content and written atomically; only projects whose files or containers differ are
    touched, and a service that does not become healthy fails the task with its last log lines.
  - An action plugin of the same name runs on the controller. It reads catalog, inventory and secrets, renders every
    file of every stack of the host, and hands the result to the module. In a playbook only O(tiers), O(only), O(state),
    O(remove_volumes), O(wait_timeout) and O(log_lines) are given; the action fills in the other options.
  - Secrets travel apart from the files, which hold placeholders. They appear in no result, diff, log or process list;
    the values that files on the machine hold from earlier runs are hidden, too.
author: Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: The prediction is the plan that a real run carries out.
  diff_mode:
    support: full
    description: Files with secrets are shown with the names of the secrets in place of their values.
  idempotent:
    support: full
    description: A second call changes nothing and restarts nothing.
  platform:
    support: full
    description: Linux machines with Docker Engine and compose v2.
    platforms: linux
requirements:
  - Docker Engine with the compose plugin, version 2, on the machine
options:
  tiers:
    description:
      - Tiers that this call is responsible for. Stacks of other tiers are neither deployed nor removed.
      - Without it, all tiers.
    type: list
    elements: str
  only:
    description:
      - Names of the services to look at; others stay as they are, also those that are no longer wanted.
      - The action takes the names of services among the tags of the run (C(--tags litellm)) when this is not given.
    type: list
    elements: str
  state:
    description:
      - V(present) deploys what the catalog places on the machine, and removes stacks of ours that it no longer places there.
      - V(absent) removes every stack of ours in O(tiers) and O(only).
    type: str
    choices: [present, absent]
    default: present
  remove_volumes:
    description:
      - Whether to remove the volumes, and so the data, of the stacks that are removed.
    type: bool
    default: false
  wait_timeout:
    description:
      - Seconds that a service may take to become healthy, beyond the C(start_seconds) of its health check in the catalog.
      - A service without a health check has to run for two seconds.
    type: int
    default: 120
  log_lines:
    description:
      - How many log lines of a failed service to show.
    type: int
    default: 20
  root:
    description:
      - The directory that holds one directory per stack. The action takes it from the variable C(pantheon_root).
    type: path
    default: /opt/pantheon
  machine:
    description:
      - The name of the machine for messages. Filled in by the action.
    type: str
    default: this machine
  docker_socket:
    description:
      - The socket of the Docker engine.
    type: path
    default: /var/run/docker.sock
  keep:
    description:
      - Names of all stacks that belong on the machine, whatever their tier; they are not removed. Filled in by the action.
    type: list
    elements: str
    default: []
  secrets:
    description:
      - Values of the secrets, by name. Filled in by the action.
    type: dict
    default: {}
  stacks:
    description:
      - The stacks as they shall be. Filled in by the action.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the stack, and of its directory.
        type: str
        required: true
      tier:
        description: Tier of the stack.
        type: str
        required: true
      project:
        description: Name of the compose project; C(pantheon-<name>) without it.
        type: str
      networks:
        description: Networks that each container of the stack has to be on.
        type: list
        elements: str
        default: []
      images:
        description: Images that the stack uses; for information.
        type: list
        elements: str
        default: []
      requires:
        description: Stacks of the same machine that have to be up before this one.
        type: list
        elements: str
        default: []
      storage:
        description:
          - Directories in which something has to be mounted before a container of the stack starts.
          - Where it is not, mounting is tried, and then the stack fails with a sentence. What runs is left alone.
        type: list
        elements: str
        default: []
      services:
        description: Services of the project, each with C(start_seconds).
        type: dict
        required: true
      config:
        description: Hash of the wanted state; the label C(ai.pantheon.config) of the containers.
        type: str
        required: true
      files:
        description: Files of the stack's directory.
        type: list
        elements: dict
        required: true
        suboptions:
          path:
            description: Path inside the directory.
            type: str
            required: true
          content:
            description: Text of the file, with a placeholder for each secret.
            type: str
            required: true
          mode:
            description: Permissions, octal.
            type: str
            default: "0644"
          uid:
            description: Owner.
            type: int
            default: 0
          gid:
            description: Group.
            type: int
            default: 0
          sensitive:
            description: Whether the content on the machine must not be shown.
            type: bool
            default: false
"""

EXAMPLES = r"""
- name: Deploy every stack of the compute tier that belongs on this machine
  pantheon.ai.compose_stack:
    tiers: [compute]

- name: Deploy one service and leave the others alone
  pantheon.ai.compose_stack:
    only: [litellm]
    wait_timeout: 300

- name: Remove every stack of Pantheon from this machine, but keep the data
  pantheon.ai.compose_stack:
    state: absent

- name: Remove the vector store with its data
  pantheon.ai.compose_stack:
    state: absent
    only: [qdrant]
    remove_volumes: true
"""

RETURN = r"""
stacks:
  description: What was done to each stack that this call is responsible for; in check mode, what would be done.
  returned: always
  type: dict
  contains:
    changed:
      description: Whether anything of the stack changed.
      type: bool
      sample: true
    state:
      description: Whether the stack belongs on the machine.
      type: str
      sample: present
    files:
      description: Files that changed, each with V(created), V(changed) or V(removed).
      type: dict
      sample: {"compose.override.yml": changed, ".env": changed}
    services:
      description:
        - Services of the stack, each with C(action) (V(none), V(created), V(recreated), V(started) or V(removed)),
          C(health), and the C(reason) of an action.
      type: dict
      sample: {"litellm": {"action": recreated, "health": healthy, "reason": its configuration changed}}
    volumes_removed:
      description: Volumes that were removed.
      type: list
      elements: str
      sample: []
    unit:
      description: Whether starting at boot was V(enabled) or V(disabled) by this call, else V(none).
      type: str
      sample: none
    kept:
      description: Files in the directory of a removed stack that are not ours, and were left.
      type: list
      elements: str
      sample: [notes.txt]
  sample:
    litellm:
      changed: true
      state: present
      files: {"compose.override.yml": changed, ".env": changed}
      services: {"litellm": {"action": recreated, "health": healthy, "reason": its configuration changed}}
      volumes_removed: []
      unit: none
      kept: []
failures:
  description: One entry for each stack that failed.
  returned: when a stack failed
  type: list
  elements: dict
  sample:
    - stack: litellm
      service: litellm
      machine: orpheus
      reason: it is not healthy after 180 s; the last health check ended with 1
      remedy: "On orpheus: cd /opt/pantheon/litellm && docker compose logs litellm"
      logs: ["connection to postgresql refused"]
notes:
  description: Things worth knowing that are no warnings, such as a machine without systemd.
  returned: when there are any
  type: list
  elements: str
  sample: ["systemd does not run this machine: stacks are not started at boot"]
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._compose_stack_call import ARGUMENTS, perform


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    outcome = perform(module.params, module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    if not module._diff:
        outcome.result.pop("diff", None)
    if outcome.error:
        module.fail_json(msg=outcome.error, **outcome.result)
    module.exit_json(**outcome.result)


if __name__ == "__main__":
    main()
