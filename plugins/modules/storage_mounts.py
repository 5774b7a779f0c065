#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: storage_mounts
short_description: NFS mounts of a machine as systemd units, asserted and reported
version_added: 0.1.0
description:
  - Takes all mounts that a machine is to have, and brings it there with one call. A mount of ours that is not in the list
    is unmounted, and its units are removed.
  - Each mount is a C(.mount) unit that an automount starts, or, on a machine without automounts (a container), a timer
    that tries until the mount holds. A server that was away is mounted again without another run.
  - The directory under a mount is made unwritable (mode 0000, and immutable where the file system knows that) before
    anything is mounted on it, so that nothing is written to the disk of the machine while the mount is missing.
  - Afterwards every mount is looked at, for O(wait) seconds at most, and what is mounted is compared with what is wanted.
    A server that does not answer is a warning, and the rest is done. A server that answers and refuses is a failure.
  - Units are known by their first line. Lines of C(/etc/fstab), and units and mounts of others, are never changed; where
    one is in the way, the task fails before anything is changed.
author:
  - Pantheon contributors (@pantheon)
requirements:
  - root and systemd
  - for the backend V(kernel), the package nfs-common
  - for the backend V(fuse), C(/dev/fuse), libnfs13 or libnfs14, python3-fusepy, and the client of the role
    P(pantheon.ai.storage#role)
attributes:
  check_mode:
    support: full
    description: Reports the same actions. Nothing is mounted, so a mount that is not there yet is not looked at.
  diff_mode:
    support: full
    description: Shows units, settings and protected directories.
  idempotent:
    support: full
    description: A second call writes nothing. A mount that a call has tried in vain is not a change.
options:
  mounts:
    description: All mounts. An empty list removes those of earlier calls.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the mount is called in results and messages.
        type: str
        required: true
      source:
        description:
          - The export, as V(server:/path); an IPv6 address stands in brackets.
          - With O(mounts[].backend=bind), a directory of the machine.
        type: str
        required: true
      path:
        description: Where it is mounted. The directory is made; it may hold nothing.
        type: str
        required: true
      read_only:
        description: Whether nothing can be written.
        type: bool
        default: true
      options:
        description:
          - Mount options, one per entry; one replaces the default of the same name. Defaults are V(vers=4.2), V(proto=tcp),
            V(hard), V(noatime), V(nconnect=4), V(rsize=1048576), V(wsize=1048576), V(_netdev) and V(nofail).
          - V(nconnect) has to be the same for all mounts of one server.
          - V(ro), V(rw) and V(x-systemd.automount), as a line for fstab has them, may be there if they say the same as the
            units.
        type: list
        elements: str
        default: []
      backend:
        description: How it is mounted. Without it, as O(backend) says.
        type: str
        choices: [auto, kernel, fuse, bind]
      uid:
        description: Backend V(fuse) only. The user that the client acts as on the server. Without it, root.
        type: int
      gid:
        description: Backend V(fuse) only. The group that the client acts as on the server. Without it, root.
        type: int
      state:
        description: With V(absent), as if it were not in the list.
        type: str
        choices: [present, absent]
        default: present
  backend:
    description:
      - V(kernel) is the NFS client of the kernel, V(fuse) a client in user space, V(bind) a directory of the machine that
        stands in for an export.
      - V(auto) takes the kernel's client if there is one, else FUSE; it never takes V(bind).
    type: str
    choices: [auto, kernel, fuse, bind]
    default: auto
  readahead_kib:
    description: Read-ahead of the kernel's client in KiB; V(0) leaves the kernel's own (128).
    type: int
    default: 16384
  mount_timeout:
    description: Seconds that systemd gives one attempt to mount.
    type: int
    default: 30
  wait:
    description: Seconds that the call waits for mounts to answer, all of them together.
    type: float
    default: 15
  detect_only:
    description: Only say which clients O(mounts) need on this machine, and which packages bring them. Nothing is mounted.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Models to read, a shared folder to write
  pantheon.ai.storage_mounts:
    mounts:
      - name: models
        source: nas.lab.internal:/mnt/tank/models
        path: /models
      - name: shared
        source: nas.lab.internal:/mnt/tank/shared
        path: /shared
        read_only: false
  become: true

- name: More streams to a fast server
  pantheon.ai.storage_mounts:
    mounts:
      - name: models
        source: nas.lab.internal:/mnt/tank/models
        path: /models
        options: [nconnect=8]
  become: true

- name: Take all mounts of ours away
  pantheon.ai.storage_mounts:
    mounts: []
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode what would be done, in order.
  returned: always
  type: list
  elements: str
  sample: [protect /models, write /etc/systemd/system/models.mount, reload systemd, start models.automount]
mounts:
  description:
    - What is there, by name. C(available) says whether it was read just now; C(reason) says why not.
  returned: unless O(detect_only)
  type: dict
  sample:
    models:
      backend: kernel
      source: nas.lab.internal:/mnt/tank/models
      path: /models
      type: nfs4
      mounted: true
      read_only: true
      available: true
      reason: ""
detected:
  description: The backend that V(auto) stands for on this machine; empty if there is none. Else O(backend).
  returned: always
  type: str
  sample: kernel
backends:
  description: The clients that the mounts need.
  returned: with O(detect_only)
  type: list
  elements: str
  sample: [fuse]
packages:
  description: The packages that bring these clients, as M(pantheon.ai.machine_state) takes them.
  returned: with O(detect_only)
  type: list
  elements: dict
  sample: [{name: "libnfs14|libnfs13"}, {name: python3-fusepy}]
ansible_facts:
  description: The mounts as facts.
  returned: unless O(detect_only)
  type: dict
  contains:
    pantheon_storage:
      description: The same as RV(mounts).
      returned: always
      type: dict
      sample: {models: {backend: fuse, source: "nas:/mnt/tank/models", mounted: true, read_only: true, available: true}}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._storage_call import ARGUMENTS, perform


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
