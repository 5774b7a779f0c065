#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_nfs_share
short_description: One NFS share of a TrueNAS
version_added: 0.1.0
description:
  - Makes a TrueNAS hold one NFS share with its clients. The NFS service itself is left to
    M(pantheon.ai.truenas_nfs_service).
  - For more than one object use M(pantheon.ai.truenas_nfs_storage), which needs one login for all of them.
  - The share is described completely. Of several shares of a path that carry our mark, the one that fits best is
    meant; one that has no client in common and another O(read_only) is taken as a different share.
  - A share of the path without our mark is an error, unless O(adopt) is set.
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
    description: Dataset to share. Excludes the path.
    type: str
  path:
    description: Absolute path of a folder in a pool, below V(/mnt). Excludes the dataset.
    type: str
  name:
    description: Name of the export in the result. Without it, the name of the dataset without its pool.
    type: str
  comment:
    description: Comment, shown on the NAS. The mark of the owner is added.
    type: str
  networks:
    description: Networks that may mount it, for example V(10.0.0.0/24).
    type: list
    elements: str
    default: []
  hosts:
    description: Hosts that may mount it, as names, addresses, names with wildcards or V(@netgroup).
    type: list
    elements: str
    default: []
  allow_everyone:
    description: Has to be set for a share without networks and hosts, because everybody may mount that.
    type: bool
    default: false
  read_only:
    description: Whether clients can only read.
    type: bool
    default: false
    aliases: [ro]
  maproot:
    description:
      - Whom root of a client becomes, as V(user), V(user:group) or a dictionary with C(user) and C(group).
      - V(root:root) leaves root its rights.
    type: raw
  mapall:
    description: Whom every user of a client becomes, written like the mapping of root. Excludes that.
    type: raw
  security:
    description: Ways to authenticate - V(sys), V(krb5), V(krb5i), V(krb5p). Without any, V(sys).
    type: list
    elements: str
    default: []
  enabled:
    description: Whether the share can be used.
    type: bool
    default: true
  expose_snapshots:
    description: Whether clients see the snapshots (TrueNAS Enterprise only). Left as it is if not set.
    type: bool
  adopt:
    description: Whether a share of this path without a mark is taken over. Without it, such a share is an error.
    type: bool
    default: false
  export_server:
    description: Name or address of the NAS in the returned exports. Without it, O(host).
    type: str
  state:
    description: V(absent) removes all shares of the path that carry our mark.
    type: str
    choices: [present, absent]
    default: present
"""

EXAMPLES = r"""
- name: Models, read-only for a network
  pantheon.ai.truenas_nfs_share:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/models
    read_only: true
    networks: [10.0.0.0/24]
  delegate_to: localhost

- name: The same path, writable for one host
  pantheon.ai.truenas_nfs_share:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/models
    hosts: [zelus.example.lan]
    maproot: root:root
  delegate_to: localhost

- name: Nobody mounts it any more
  pantheon.ai.truenas_nfs_share:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    dataset: tank/models
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
exports:
  description:
    - What clients mount. C(clients) empty means everybody. One path may be there twice, for different clients.
    - C(options) are the mount options for fstab or a mount unit.
  returned: when shares are managed
  type: list
  elements: dict
  sample:
    - name: models
      server: poseidon
      source: poseidon:/mnt/tank/models
      path: /mnt/tank/models
      ro: true
      options: "ro,vers=4.2,proto=tcp,hard,noatime,nconnect=4,rsize=1048576,wsize=1048576,_netdev,nofail,\
        x-systemd.automount,x-systemd.mount-timeout=30s,x-systemd.requires=network-online.target"
      clients: [10.0.0.0/24]
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
    SHARE,
    STATE,
    execute_wanted,
    new_module,
    picked,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {**OWNER, **SHARE, "export_server": {"type": "str"}, **STATE}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    params = module.params
    path = (params["path"] or "").split("/")
    pool = params["dataset"].strip("/").partition("/")[0] if params["dataset"] else path[2] if len(path) > 2 else ""
    wanted = Wanted(
        pool=pool,
        owner=params["owner"],
        shares=[picked(params, SHARE)],
        state=params["state"],
        check_pool=False,
        export_server=params["export_server"] or params["host"],
        single="share",
    )
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
