#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_cluster
short_description: Readiness, configuration and planned switchover of the PostgreSQL cluster under Patroni
version_added: 0.1.0
description:
  - Talks to the REST API of the Patroni members. Each of them answers for the whole cluster, so one machine of the group runs this for all.
  - With O(state=ready) it waits until there is exactly one leader, every member streams on the leader's timeline, and as many synchronous
    standbys as wanted do so. What is written before that may be lost with the leader.
  - It then gives Patroni the keys of O(dynamic), and restarts members whose settings wait for that. Standbys come first, one at a time, and each has to
    stream again before the next. The leader hands over to a synchronous standby and comes back as one, so that writes pause for the switchover only;
    it is restarted in its place where there is no such standby. A configuration that needs no restart restarts nothing.
  - Lowering V(max_connections), V(max_worker_processes), V(max_wal_senders), V(max_prepared_transactions) or V(max_locks_per_transaction) begins with a
    restart of the leader in its place, because a standby does not start with less than its primary had.
  - With O(state=switchover) it hands over to O(candidate).
  - The action of the same name on the controller fills in O(members), O(tls), O(dynamic) and O(tolerate) from the catalog and the inventory.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description:
      - It looks once and does not wait. Which members would restart follows from what is known of the parameters of PostgreSQL 17; parameters of
        extensions are taken as ones that need no restart.
  diff_mode:
    support: full
    description: The keys that differ, the members that wait for a restart, and the leader.
  idempotent:
    support: full
    description: A second call with O(state=ready) changes nothing, nor does a switchover to the member that leads already.
options:
  scope:
    description: Name of the cluster in Patroni. Members of another cluster are refused.
    type: str
    default: pantheon
    aliases: [name]
  members:
    description: The members that belong to the cluster, with the addresses of their REST APIs.
    type: dict
    default: {}
  tls:
    description: Files on the machine for https. Their owner has to be able to read them, so run this as root.
    type: dict
    suboptions:
      ca:
        description: The authority that signed the certificates of the members.
        type: path
        required: true
      cert:
        description: The certificate that this client shows.
        type: path
        required: true
      key:
        description: Its key.
        type: path
        required: true
  dynamic:
    description:
      - What Patroni's dynamic configuration should hold, as C(patronictl show-config) prints it. Keys that are not named here stay as they are.
      - Which keys were set is kept in the configuration itself, in the list C(pantheon_managed). A key that was named once and no longer is goes
        back to Patroni's default. Keys that somebody else set stay, unless they were named here at some time.
    type: dict
    default: {}
  state:
    description: What to bring about.
    type: str
    choices: [ready, switchover]
    default: ready
  candidate:
    description: The member to hand over to. Without it, a synchronous standby.
    type: str
  standbys:
    description:
      - How many synchronous standbys have to stream. Without it one, or none if there is only one member.
      - Never more than there are members besides the leader that are not in O(tolerate).
    type: int
  tolerate:
    description: Members that may be missing, because their machines are off or not part of the run. They are neither waited for nor restarted.
    type: list
    elements: str
    default: []
  wait:
    description: How many seconds each step may take until the members are ready.
    type: float
    default: 180
"""

EXAMPLES = r"""
- name: Wait for the cluster and give it its configuration
  pantheon.ai.postgresql_cluster:
  become: true

- name: Move the leader away before the machine is worked on
  pantheon.ai.postgresql_cluster:
    state: switchover
    candidate: thanatos
  become: true
"""

RETURN = r"""
leader:
  description: The member that leads after the call. Empty in check mode when there is no cluster yet.
  returned: success
  type: str
  sample: erebus
members:
  description: The members as they were seen last.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: erebus, role: leader, state: running, timeline: 3, lag: null}
    - {name: thanatos, role: sync_standby, state: streaming, timeline: 3, lag: 0}
before:
  description: The members as they were before, in the same form.
  returned: success, with O(state=switchover)
  type: list
  elements: dict
  sample:
    - {name: thanatos, role: leader, state: running, timeline: 2, lag: null}
    - {name: erebus, role: sync_standby, state: streaming, timeline: 2, lag: 0}
restarted:
  description: The members that were restarted, in this order. Also in a failure.
  returned: always
  type: list
  elements: str
  sample: [thanatos, erebus]
switched:
  description: From which to which member the cluster was handed over. Also in a failure. Empty if it was not.
  returned: always
  type: dict
  sample: {from: erebus, to: thanatos}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._postgresql_cluster import ARGUMENTS, perform


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    outcome = perform(module.params, module.check_mode)
    for warning in outcome.warnings:
        module.warn(warning)
    if outcome.error:
        module.fail_json(msg=outcome.error, **outcome.result)
    module.exit_json(**outcome.result)


if __name__ == "__main__":
    main()
