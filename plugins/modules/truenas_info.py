#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_info
short_description: What a TrueNAS holds for the platform
version_added: 0.1.0
description:
  - Reads pools, marked datasets, NFS shares, the NFS service and tasks of a TrueNAS, for assertions and monitoring.
  - Changes nothing.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.truenas
attributes:
  check_mode:
    support: full
    description: Nothing is changed in any mode.
  diff_mode:
    support: none
    description: Changes nothing, so there is no difference to show.
  idempotent:
    support: full
    description: Changes nothing.
options:
  owner:
    description: Only datasets and shares with this mark. Without it, datasets with any mark and all shares.
    type: str
  gather:
    description: What to read; each costs one call.
    type: list
    elements: str
    choices: [pools, datasets, shares, nfs, service, snapshots, replications]
    default: [pools, datasets, shares, nfs, service]
"""

EXAMPLES = r"""
- name: Read everything that matters for NFS
  pantheon.ai.truenas_info:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
  delegate_to: localhost
  register: nas

- name: Assert that it works
  ansible.builtin.assert:
    that:
      - nas.service.state == 'RUNNING'
      - nas.pools | rejectattr('healthy') | length == 0

- name: Read only the tasks
  pantheon.ai.truenas_info:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    gather: [snapshots, replications]
  delegate_to: localhost
"""

RETURN = r"""
version:
  description: Version of TrueNAS. V(null) if the key may not ask for it; RV(server) is there in any case.
  returned: success
  type: str
  sample: TrueNAS-25.10.5
api_versions:
  description: Versions of the API that the NAS offers.
  returned: success
  type: list
  elements: str
  sample: [v25.04.0, v25.10.5]
pools:
  description: Pools.
  returned: when O(gather) has V(pools)
  type: list
  elements: dict
  sample:
    - {name: tank, status: ONLINE, healthy: true, path: /mnt/tank, size: 100020488, allocated: 4096, free: 100016392}
datasets:
  description: Datasets that carry a mark themselves.
  returned: when O(gather) has V(datasets)
  type: list
  elements: dict
  sample:
    - name: tank/models
      owner: pantheon
      mountpoint: /mnt/tank/models
      encrypted: false
      locked: false
      used: 98304
      available: 1000204881920
      properties: {recordsize: 1M, compression: LZ4, atime: "OFF", acltype: POSIX, quota: 0, refquota: 0, comment: ""}
shares:
  description: NFS shares as the API describes them, with their C(owner) by the mark.
  returned: when O(gather) has V(shares)
  type: list
  elements: dict
  sample:
    - {id: 1, path: /mnt/tank/models, owner: pantheon, networks: [10.0.0.0/24], hosts: [], ro: true, enabled: true}
nfs:
  description: Configuration of the NFS service as the API describes it.
  returned: when O(gather) has V(nfs)
  type: dict
  sample: {protocols: [NFSV4], servers: 4, managed_nfsd: true, allow_nonroot: false}
service:
  description: Whether the NFS service starts at boot and runs.
  returned: when O(gather) has V(service)
  type: dict
  sample: {enabled: true, state: RUNNING}
snapshots:
  description: Periodic snapshot tasks as the API describes them.
  returned: when O(gather) has V(snapshots)
  type: list
  elements: dict
  sample:
    - {id: 1, dataset: tank/shared, naming_schema: "auto-%Y-%m-%d_%H-%M", lifetime_value: 2, enabled: true}
replications:
  description: Replication tasks as the API describes them, without keys.
  returned: when O(gather) has V(replications)
  type: list
  elements: dict
  sample:
    - {id: 1, name: shared to backup, transport: LOCAL, source_datasets: [tank/shared], target_dataset: backup/shared}
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

import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_client import Nas
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_module import execute, new_module
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import GATHER, Info

ARGUMENTS: t.Dict[str, t.Dict[str, t.Any]] = {
    "owner": {"type": "str"},
    "gather": {
        "type": "list",
        "elements": "str",
        "choices": list(GATHER),
        "default": ["pools", "datasets", "shares", "nfs", "service"],
    },
}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)

    def work(nas: Nas) -> t.Dict[str, t.Any]:
        info = Info(nas, module.params["gather"], module.params["owner"])
        return {**info.run(), "api_versions": nas.versions}

    execute(module, work)


if __name__ == "__main__":
    main()
