#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_replication_task
short_description: One replication task of a TrueNAS
version_added: 0.1.0
description:
  - Makes a TrueNAS hold one replication task. Only given fields are managed; a new task has the defaults of the NAS
    for the others. Running it is left to its schedule or its snapshot tasks.
  - For more than one object use M(pantheon.ai.truenas_nfs_storage), which needs one login for all of them.
  - A replication task has no place for a mark. It is found by name, and it is taken as ours when the datasets of this
    NAS that it works on (the sources of a push, the target of a pull) carry our mark. One of somebody else is
    compared, and a difference is an error unless O(adopt) is set.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.truenas
  - pantheon.ai.truenas.owner
attributes:
  check_mode:
    support: full
    description: Reads and compares, writes nothing, and shows the same difference as a real run.
  diff_mode:
    support: full
    description: Shows the managed fields that differ, before and after.
  idempotent:
    support: full
    description: Values are compared in one form, and read again after a change; a second run writes nothing.
options:
  name:
    description: Name of the task, which tells it apart.
    type: str
    required: true
  direction:
    description: V(push) sends from this NAS, V(pull) fetches from another one.
    type: str
    default: push
  transport:
    description: V(local), V(ssh) or V(ssh+netcat).
    type: str
    default: local
  ssh_credentials:
    description: Name (or id) of the SSH credentials on the NAS; only for a transport over SSH.
    type: str
  source_datasets:
    description: Full names of the datasets that are sent.
    type: list
    elements: str
    required: true
  target_dataset:
    description: Full name of the dataset that receives.
    type: str
    required: true
  recursive:
    description: Whether the datasets below are included. A new task has V(false) if not set.
    type: bool
  exclude:
    description: Datasets below that are left out.
    type: list
    elements: str
  snapshot_tasks:
    description:
      - Snapshot tasks whose snapshots are sent (push only).
      - Each is a dataset with the default naming schema, C(DATASET@SCHEMA), or a dictionary with C(dataset) and
        C(naming_schema).
    type: list
    elements: raw
    aliases: [periodic_snapshot_tasks]
  naming_schema:
    description: Naming schemas of the snapshots to fetch (pull only).
    type: list
    elements: str
  also_include_naming_schema:
    description: Naming schemas of further snapshots to send (push only).
    type: list
    elements: str
  name_regex:
    description: Regular expression for the names of the snapshots.
    type: str
  auto:
    description: Whether it runs by itself. A new task does if it has snapshot tasks or a schedule.
    type: bool
  schedule:
    description: When it runs, in the fields of cron; only without snapshot tasks.
    type: dict
    suboptions:
      minute:
        description: Minutes.
        type: str
        default: "00"
      hour:
        description: Hours.
        type: str
        default: "*"
      dom:
        description: Days of the month.
        type: str
        default: "*"
      month:
        description: Months.
        type: str
        default: "*"
      dow:
        description: Days of the week, 1 is Monday.
        type: str
        default: "*"
      begin:
        description: Time of the day from which on it runs.
        type: str
        default: "00:00"
      end:
        description: Time of the day until which it runs.
        type: str
        default: "23:59"
  retention_policy:
    description:
      - Which snapshots on the target go away - V(source), V(custom) or V(none). A new task has V(none) if not set.
    type: str
  lifetime_value:
    description: How long snapshots are kept on the target; only for the custom policy.
    type: int
  lifetime_unit:
    description: Unit of the lifetime - V(hour), V(day), V(week), V(month) or V(year).
    type: str
  readonly:
    description: What happens to the readonly property of the target - V(set), V(require) or V(ignore).
    type: str
  allow_from_scratch:
    description: Whether snapshots on the target are destroyed to start over when none matches.
    type: bool
  enabled:
    description: Whether the task can run.
    type: bool
  options:
    description: Further fields of the API, as they are, for example C(compression), C(speed_limit) or C(properties).
    type: dict
    default: {}
  adopt:
    description: Whether a task on datasets that do not carry our mark may be changed and removed.
    type: bool
    default: false
  state:
    description: V(absent) removes the task if it is ours. What was replicated stays.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: To another pool of the same NAS, after each snapshot
  pantheon.ai.truenas_replication_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: shared to backup
    source_datasets: [tank/shared]
    target_dataset: backup/shared
    snapshot_tasks: [tank/shared]
    retention_policy: source
  delegate_to: localhost

- name: To another NAS, every night
  pantheon.ai.truenas_replication_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: shared to triton
    transport: ssh
    ssh_credentials: triton
    source_datasets: [tank/shared]
    target_dataset: vault/shared
    also_include_naming_schema: ["auto-%Y-%m-%d_%H-%M"]
    schedule: {hour: "4"}
    options:
      compression: LZ4
  delegate_to: localhost

- name: No longer
  pantheon.ai.truenas_replication_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: shared to backup
    source_datasets: [tank/shared]
    target_dataset: backup/shared
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
diff:
  description:
    - The managed fields that differ, before and after, by kind and name of the object. V(null) is an object that is
      not there.
  returned: always
  type: dict
  sample:
    before: {datasets: {tank/models: {recordsize: 128K}}}
    after: {datasets: {tank/models: {recordsize: 1M}}}
calls:
  description: Methods of the API that were called, in order.
  returned: always
  type: list
  elements: str
  sample: [auth.login_ex, pool.query, pool.dataset.query, sharing.nfs.query]
server:
  description: Version of the API that answered.
  returned: always
  type: str
  sample: 25.10.5
code:
  description: Kind of the error, for programs.
  returned: failure
  type: str
  sample: invalid
problems:
  description: Everything that is wrong, one sentence each, if it was found before anything was written.
  returned: failure
  type: list
  elements: str
  sample: ["shares[0] (tank/models) networks: '10.0.0' is not a network; write it like 10.0.0.0/24"]
"""

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_module import (
    OWNER,
    REPLICATION,
    STATE,
    execute_wanted,
    new_module,
    picked,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {**OWNER, **REPLICATION, **STATE}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    params = module.params
    wanted = Wanted(
        pool="",
        owner=params["owner"],
        replications=[picked(params, REPLICATION)],
        state=params["state"],
        check_pool=False,
        single="replication task",
    )
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
