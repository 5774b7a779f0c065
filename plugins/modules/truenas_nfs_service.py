#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_nfs_service
short_description: The NFS service of a TrueNAS
version_added: 0.1.0
description:
  - Sets the configuration of the NFS service, whether it starts at boot, and whether it runs.
  - Only given fields are managed, and only differences are written, as each change of the configuration restarts the
    service if it runs.
author:
  - Pantheon contributors (@pantheon)
extends_documentation_fragment:
  - pantheon.ai.truenas
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
  servers:
    description: Number of threads, 1 to 256; V(0) lets the NAS choose.
    type: int
  allow_nonroot:
    description: Whether mount requests from ports above 1023 are accepted.
    type: bool
  protocols:
    description: Versions to serve, from V(nfsv3) and V(nfsv4).
    type: list
    elements: str
  v4_krb:
    description: Whether Kerberos is enforced.
    type: bool
  v4_domain:
    description: Domain of NFSv4 names.
    type: str
  bindip:
    description: Static addresses of the NAS to listen on; an empty list means all.
    type: list
    elements: str
  mountd_port:
    description: Port of mountd; V(0) lets the NAS choose.
    type: int
  rpcstatd_port:
    description: Port of rpc.statd; V(0) lets the NAS choose.
    type: int
  rpclockd_port:
    description: Port of rpc.lockd; V(0) lets the NAS choose.
    type: int
  mountd_log:
    description: Whether mountd logs.
    type: bool
  statd_lockd_log:
    description: Whether statd and lockd log.
    type: bool
  userd_manage_gids:
    description: Whether the NAS looks up the groups of a user itself, which lifts the limit of 16 groups.
    type: bool
  rdma:
    description: Whether NFS over RDMA is served.
    type: bool
  enabled:
    description: Whether the service starts when the NAS boots.
    type: bool
  state:
    description: Whether the service runs.
    type: str
    choices: [started, stopped]
"""

EXAMPLES = r"""
- name: NFSv4 only, running now and after each boot
  pantheon.ai.truenas_nfs_service:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    protocols: [nfsv4]
    enabled: true
    state: started
  delegate_to: localhost

- name: Let the NAS choose the number of threads
  pantheon.ai.truenas_nfs_service:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    servers: 0
  delegate_to: localhost

- name: Stop serving
  pantheon.ai.truenas_nfs_service:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    enabled: false
    state: stopped
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

from ansible_collections.pantheon.ai.plugins.module_utils._truenas_module import NFS, execute_wanted, new_module, picked
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {**NFS}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    wanted = Wanted(pool="", owner="pantheon", nfs=picked(module.params, NFS), check_pool=False, single="nfs")
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
