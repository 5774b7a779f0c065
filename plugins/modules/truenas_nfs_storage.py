#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: truenas_nfs_storage
short_description: Storage and NFS shares of a TrueNAS, the whole desired state in one task
version_added: 0.1.0
description:
  - Makes a TrueNAS hold datasets with their permissions, the NFS service, NFS shares with their clients, snapshot
    tasks and replication tasks. One login, everything is read first, and nothing is written when nothing differs.
  - All mistakes and conflicts are told at once, before the first write. Then the order is - pool, datasets (parents
    first), permissions, configuration of NFS, shares, start of the service, snapshot tasks, replication tasks. After
    each kind the NAS is read again, and a value that did not stay is an error.
  - Nothing runs on the NAS but its own JSON-RPC API over TLS (WebSocket), and nothing is installed anywhere.
  - A dataset or share that exists without our mark is an error if it differs, unless it is adopted; without a
    difference a dataset is left alone. Datasets that are no longer listed are never touched.
  - Snapshot and replication tasks have no place for a mark. A task is taken as ours when the datasets of this NAS
    that it works on (the sources of a push, the target of a pull) carry our mark. A snapshot task is found by dataset
    and naming schema, a replication task by name.
  - Of datasets, NFS and tasks only the given fields are managed. A share is described completely, as it decides who
    has access; of shares with the same path each wanted one is matched with the existing one that fits best.
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
  pool:
    description:
      - Name of the pool that the names of datasets are relative to.
      - A pool that is not healthy is a warning, a broken one an error. So that a run without changes asks at most six
        questions, it is not asked for its health there when the state has many parts; before a write it always is.
    type: str
    required: true
  datasets:
    description: Datasets, by name without or with the pool. Parents have to exist or be listed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name, for example V(models) or V(tank/models). Never the root of a pool, C(.system) or C(ix-*).
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
      owner:
        description: Owner and permissions of the top folder. Only given fields are managed.
        type: dict
        aliases: [permissions]
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
  shares:
    description:
      - NFS shares. The same path may be shared twice for different clients, for example read-only for all and
        writable for one.
      - Left out, shares are not managed (with O(state=absent), all shares with our mark in the pool are removed).
    type: list
    elements: dict
    suboptions:
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
  purge_shares:
    description:
      - Whether shares in the pool that carry our mark and are not in O(shares) are removed. No data goes away.
    type: bool
    default: true
  nfs:
    description:
      - The NFS service. Only given fields are managed, and only differences are written, as each change restarts the
        service.
      - With O(shares) or with this, the service is made to start at boot and to run, unless C(enabled) and C(state)
        say else.
    type: dict
    suboptions:
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
  snapshots:
    description: Periodic snapshot tasks.
    type: list
    elements: dict
    default: []
    suboptions:
      dataset:
        description: Name of the dataset, without or with the pool.
        type: str
        required: true
      naming_schema:
        description:
          - Names of the snapshots; needs C(%Y %m %d %H %M). Together with the dataset it tells the task apart.
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
  replications:
    description: Replication tasks.
    type: list
    elements: dict
    default: []
    suboptions:
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
        description: Datasets that are sent; without or with the pool, but full names for a pull.
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
          - Which snapshots on the target go away - V(source), V(custom) or V(none). A new task has V(none) if not
            set.
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
        description:
          - Further fields of the API, as they are, for example C(compression), C(speed_limit) or C(properties).
        type: dict
        default: {}
      adopt:
        description: Whether a task on datasets that do not carry our mark may be changed and removed.
        type: bool
        default: false
  export_server:
    description: Name or address of the NAS in the returned exports. Without it, O(host).
    type: str
  state:
    description:
      - V(absent) removes the listed replication and snapshot tasks that are ours, and shares with our mark. The NFS
        service stays as it is.
      - Datasets stay, unless O(destroy) is set.
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
- name: Storage of the platform, models read-only for all but one machine
  pantheon.ai.truenas_nfs_storage:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    pool: tank
    nfs:
      protocols: [nfsv4]
    datasets:
      - name: models
        recordsize: 1M
        atime: "off"
        owner: {uid: 950, gid: 950, mode: "0775"}
      - name: shared
        quota: 500G
    shares:
      - dataset: models
        read_only: true
        networks: [10.0.0.0/24]
      - dataset: models
        hosts: [zelus.example.lan]
      - dataset: shared
        networks: [10.0.0.0/24]
        maproot: root
    snapshots:
      - dataset: shared
        lifetime_value: 2
        lifetime_unit: week
        schedule: {hour: "3"}
    replications:
      - name: shared to backup
        source_datasets: [shared]
        target_dataset: backup/shared
        snapshot_tasks: [shared]
        retention_policy: source
  delegate_to: localhost
  register: storage

- name: Take over a dataset that was made by hand
  pantheon.ai.truenas_nfs_storage:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    pool: tank
    datasets:
      - name: media
        compression: lz4
        adopt: true
  delegate_to: localhost

- name: Remove the shares and tasks, and the dataset if it is empty
  pantheon.ai.truenas_nfs_storage:
    host: poseidon.example.lan
    username: pantheon
    tls_fingerprint: "{{ nas_fingerprint }}"
    pool: tank
    datasets:
      - name: scratch
    shares:
      - dataset: scratch
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
    NFS,
    OWNER,
    PERMISSIONS,
    REPLICATION,
    SHARE,
    SNAPSHOT,
    STATE,
    execute_wanted,
    new_module,
)
from ansible_collections.pantheon.ai.plugins.module_utils._truenas_storage import Wanted

ARGUMENTS = {
    "pool": {"type": "str", "required": True},
    **OWNER,
    "datasets": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {**DATASET, "owner": {"type": "dict", "aliases": ["permissions"], "options": PERMISSIONS}},
    },
    "shares": {"type": "list", "elements": "dict", "options": SHARE},
    "purge_shares": {"type": "bool", "default": True},
    "nfs": {"type": "dict", "options": NFS},
    "snapshots": {"type": "list", "elements": "dict", "default": [], "options": SNAPSHOT},
    "replications": {"type": "list", "elements": "dict", "default": [], "options": REPLICATION},
    "export_server": {"type": "str"},
    **STATE,
    **DESTROY,
}


def main() -> None:
    """Run the module."""
    module = new_module(ARGUMENTS)
    params = module.params
    wanted = Wanted(
        pool=params["pool"],
        owner=params["owner"],
        datasets=params["datasets"],
        shares=params["shares"],
        nfs=params["nfs"],
        snapshots=params["snapshots"],
        replications=params["replications"],
        state=params["state"],
        destroy=params["destroy"],
        destroy_max_used=params["destroy_max_used"],
        purge_shares=params["purge_shares"],
        manage_service=True,
        export_server=params["export_server"] or params["host"],
    )
    execute_wanted(module, wanted)


if __name__ == "__main__":
    main()
