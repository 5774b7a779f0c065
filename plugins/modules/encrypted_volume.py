#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: encrypted_volume
short_description: A disk or directory of a machine that can be read only with its key
version_added: 0.1.0
description:
  - Makes an encrypted volume out of a block device (LUKS2 where the kernel has dm-crypt, else ext4 that encrypts its files,
    fscrypt) or of a directory on a file system that can encrypt files, unlocks it, and mounts it at a path.
  - Nothing is formatted that has any signature on it, unless O(wipe) names the same device. A disk that this module made is
    never formatted again, whatever O(wipe) says.
  - The key is compared with the disk before anything is touched; a wrong one is an error.
  - The directory under the mount is made unwritable (mode 0000, and immutable where the file system knows that), so that nothing
    lands beneath it, unencrypted, while the volume is locked.
  - Units unlock and mount the volume at boot, before Docker starts; see O(unlock). Units are known by their first line.
  - With fscrypt, content and names of files are encrypted; sizes, times, owners and the shape of the tree are not. LUKS
    encrypts all of it.
author:
  - Pantheon contributors (@pantheon)
requirements:
  - root and systemd
  - e2fsprogs, and cryptsetup for the method V(luks)
  - systemd 250 or newer for O(unlock=tpm2)
attributes:
  check_mode:
    support: full
    description: Reports the same actions and touches nothing. What a locked volume holds cannot be seen.
  diff_mode:
    support: full
    description: Shows what is on the device before and after, and units; keys never.
  idempotent:
    support: full
    description: A second call changes nothing.
options:
  name:
    description: What the volume is called in units, messages and files.
    type: str
    required: true
  device:
    description:
      - A block device. A name below C(/dev/disk/by-id) stays with its disk; whatever the name, the disk is known by its UUID.
      - Just one of O(device) and O(directory) is given.
    type: str
  directory:
    description: An empty directory on a file system that can encrypt files (ext4 after C(tune2fs -O encrypt)).
    type: str
  path:
    description: Where the volume is mounted. The directory is made; it may hold nothing.
    type: str
    required: true
  method:
    description: V(auto) takes LUKS where the kernel has dm-crypt, else fscrypt. A volume that is there keeps its method.
    type: str
    choices: [auto, luks, fscrypt]
    default: auto
  unlock:
    description:
      - V(file) keeps the key in C(/etc/pantheon/encryption), which only root reads. It protects a disk that is thrown away or
        stolen without the disk of the system.
      - V(tpm2) keeps the key sealed to the TPM of the machine and its Secure Boot state (PCR 7), with C(systemd-creds).
      - V(manual) keeps no key. After a boot the volume stays locked until a call of this module brings the key.
    type: str
    choices: [file, tpm2, manual]
    default: file
  key:
    description:
      - 32 to 512 random characters. Without it, the action of this collection makes one from C(encryption_key) in the secrets of the
        inventory, another one for each machine and volume.
      - It is not stretched, so it has to be random.
    type: str
  key_machine:
    description: The machine whose key the action takes, for a disk that came from it or a machine that was renamed. Without it, this one.
    type: str
    default: ''
  wipe:
    description: The same as O(device), to allow that whatever is on it is erased, once.
    type: str
    default: ''
  volumes:
    description:
      - Volumes of Docker that are bound to a directory of this one. The directories are made. One that exists elsewhere is an
        error, after all else was done.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name of the volume in Docker.
        type: str
        required: true
      directory:
        description: Its directory below O(path).
        type: str
        required: true
  docker_root:
    description: Where Docker keeps its volumes.
    type: str
    default: /var/lib/docker
  state:
    description:
      - V(unlocked) unlocks and mounts what is set up, and changes nothing else.
      - V(locked) unmounts the volume and takes the key from the kernel, until the next boot or call. What is in use stays, and the
        task fails and names the processes.
      - V(absent) also takes units and key from the machine. The disk keeps its content, encrypted.
    type: str
    choices: [present, unlocked, locked, absent]
    default: present
"""

EXAMPLES = r"""
- name: A second disk for databases
  pantheon.ai.encrypted_volume:
    name: data
    device: /dev/disk/by-id/nvme-Samsung_SSD_990_S7XANJ0W
    path: /srv/pantheon/data
  become: true

- name: A disk that held something else, and a key that only a person brings
  pantheon.ai.encrypted_volume:
    name: data
    device: /dev/sdb
    wipe: /dev/sdb
    path: /srv/pantheon/data
    unlock: manual
  become: true
"""

RETURN = r"""
actions:
  description: What was done, or in check mode what would be done, in order.
  returned: always
  type: list
  elements: str
  sample: [protect /srv/pantheon/data, format /dev/sdb (luks), unlock data, mount /srv/pantheon/data]
volume:
  description: What is there. With O(state=absent), only its name.
  returned: success
  type: dict
  sample:
    name: data
    method: luks
    device: /dev/sdb
    path: /srv/pantheon/data
    unlock: file
    mounted: true
    unlocked: true
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._encrypted_volume import ARGUMENTS, perform


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
