#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_dataset
short_description: One dataset of a TrueNAS
version_added: 0.1.0
description:
  - Makes a TrueNAS hold one dataset with its properties and the permissions of its top folder.
  - For more than one object use M(pantheon.ai.truenas_nfs_storage), which needs one login for all of them.
  - A dataset that exists without our mark is compared, and a difference is an error unless O(adopt) is set.
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
    description:
      - Full name, for example V(tank/models). Its parent has to exist. Never the root of a pool, C(.system) or
        C(ix-*).
    type: str
    required: true
  comment:
    description: Comment, shown on the NAS.
    type: str
  recordsize:
    description: Record size, for example V(1M) (best for model files). V(inherit) takes that of the parent.
    type: str
  compression:
    description: Compression, for example V(lz4), V(zstd), V(off) or V(inherit).
    type: str
  atime:
    description: Whether reading a file updates its access time - V(on), V(off) or V(inherit).
    type: str
  quota:
    description:
      - Most space for the dataset with all below it and its snapshots, for example V(500G). V(0) means no limit.
    type: str
  refquota:
    description: Most space for the dataset alone, without snapshots. V(0) means no limit.
    type: str
  acltype:
    description:
      - Type of the access control lists - V(posix), V(nfsv4), V(off) or V(inherit).
      - The mode of the lists that each type needs is set along.
    type: str
  share_type:
    description:
      - What a new dataset is prepared for. Only used when it is created.
      - All but V(generic) and V(smb) force NFSv4 access lists, which numeric owners of containers do not go well
        with.
    type: str
    choices: [generic, multiprotocol, nfs, smb, apps]
    default: generic
  permissions:
    description: Owner and permissions of the top folder. Only given fields are managed.
    type: dict
    suboptions:
      user:
        description: Name of the owning user, as the NAS knows it. Excludes the numeric id.
        type: str
      uid:
        description: Numeric id of the owning user; best for the users of containers, which the NAS does not know.
        type: int
      group:
        description: Name of the owning group, as the NAS knows it. Excludes the numeric id.
        type: str
      gid:
        description: Numeric id of the owning group.
        type: int
      mode:
        description: Permissions as four octal digits in quotes, for example V("0775").
        type: str
      strip_acl:
        description:
          - Whether an access control list that is on the folder may be removed to set the mode.
          - One that a new dataset inherited is always removed.
        type: bool
        default: false
  properties:
    description:
      - Further ZFS properties by the names of the API, for example C(sync), C(readonly), C(exec), C(snapdir),
        C(copies) or C(reservation).
      - A name with a colon is a user property; without a value it is removed.
    type: dict
    default: {}
  adopt:
    description:
      - Whether a dataset that exists without a mark is taken over, which sets the mark. Nothing is created anew.
      - Without it such a dataset is only compared, and a difference is an error.
    type: bool
    default: false
  state:
    description: With V(absent) the dataset stays, unless O(destroy) is set.
    type: str
    choices: [present, absent]
    default: present
  destroy:
    description:
      - Whether O(state=absent) destroys datasets at all.
      - Even then only a dataset that carries our own mark (set on it, not inherited), has no dataset below it, is
        used by no share or task that stays, and uses no more than O(destroy_max_used). It is never done recursively
        or by force.
      - If one condition does not hold, the task fails before anything is changed.
      - A key without the role C(DATASET_DELETE) makes destruction impossible on the NAS itself.
    type: bool
    default: false
  destroy_max_used:
    description:
      - How much a dataset that is destroyed may use, for example V(10G). 1 MiB is added for the metadata of ZFS.
      - With V(0) there may be no file in it, however small.
    type: str
    default: "0"
"""

EXAMPLES = r"""
- name: A dataset for models, owned by the user of the containers
  pantheon.ai.truenas_dataset:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: tank/models
    recordsize: 1M
    compression: "off"
    permissions: {uid: 950, gid: 950, mode: "0775"}
  delegate_to: localhost

- name: A dataset with further properties
  pantheon.ai.truenas_dataset:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: tank/archive
    properties:
      sync: always
      "example:purpose": archive
  delegate_to: localhost

- name: Destroy an empty dataset of ours
  pantheon.ai.truenas_dataset:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    name: tank/scratch
    state: absent
    destroy: true
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
kept:
  description: Datasets that stay, and why.
  returned: with O(state=absent)
  type: list
  elements: dict
  sample:
    - {name: tank/models, reason: destroy is false}
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
    DATASET,
    DESTROY,
    OWNER,
    PERMISSIONS,
    STATE,
    execute_wanted,
    new_module,
    picked,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {**OWNER, **DATASET, "permissions": {"type": "dict", "options": PERMISSIONS}, **STATE, **DESTROY}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    params = module.params
    wanted = Wanted(
        pool=params["name"].strip("/").partition("/")[0],
        owner=params["owner"],
        datasets=[{**picked(params, DATASET), "owner": params["permissions"]}],
        state=params["state"],
        destroy=params["destroy"],
        destroy_max_used=params["destroy_max_used"],
        single="dataset",
    )
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
