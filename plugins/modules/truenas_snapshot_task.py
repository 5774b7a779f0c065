#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_snapshot_task
short_description: One periodic snapshot task of a TrueNAS
version_added: 0.1.0
description:
  - Makes a TrueNAS hold one periodic snapshot task. Only given fields are managed; a new task has the defaults of the
    NAS for the others.
  - For more than one object use M(pantheon.ai.truenas_nfs_storage), which needs one login for all of them.
  - A snapshot task has neither a name nor a place for a mark. It is found by dataset and naming schema, and it is
    taken as ours when its dataset carries our mark. One of somebody else is compared, and a difference is an error
    unless O(adopt) is set.
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
  dataset:
    description: Full name of the dataset, for example V(tank/shared).
    type: str
    required: true
  naming_schema:
    description: Names of the snapshots; needs C(%Y %m %d %H %M). Together with the dataset it tells the task apart.
    type: str
    default: auto-%Y-%m-%d_%H-%M
  recursive:
    description: Whether the datasets below are included.
    type: bool
  exclude:
    description: Datasets below that are left out.
    type: list
    elements: str
  lifetime_value:
    description: How long snapshots are kept, in units of the lifetime unit.
    type: int
  lifetime_unit:
    description: Unit of the lifetime - V(hour), V(day), V(week), V(month) or V(year).
    type: str
  allow_empty:
    description: Whether a snapshot is taken when nothing changed.
    type: bool
  enabled:
    description: Whether the task runs.
    type: bool
  schedule:
    description: When snapshots are taken, in the fields of cron.
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
  adopt:
    description: Whether a task on a dataset that does not carry our mark may be changed and removed.
    type: bool
    default: false
  state:
    description: V(absent) removes the task if it is ours. Snapshots that were taken stay.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Every night at three, kept for two weeks
  pantheon.ai.truenas_snapshot_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/shared
    lifetime_value: 2
    lifetime_unit: week
    schedule: {hour: "3"}
  delegate_to: localhost

- name: Every hour under another name, for a dataset that is not ours
  pantheon.ai.truenas_snapshot_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/home
    naming_schema: hourly-%Y-%m-%d_%H-%M
    schedule: {minute: "30"}
    adopt: true
  delegate_to: localhost

- name: No more snapshots
  pantheon.ai.truenas_snapshot_task:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/shared
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
    SNAPSHOT,
    STATE,
    execute_wanted,
    new_module,
    picked,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {**OWNER, **SNAPSHOT, **STATE}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    params = module.params
    wanted = Wanted(
        pool=params["dataset"].strip("/").partition("/")[0],
        owner=params["owner"],
        snapshots=[picked(params, SNAPSHOT)],
        state=params["state"],
        check_pool=False,
        single="snapshot task",
    )
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
