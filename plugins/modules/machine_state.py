#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: machine_state
short_description: Bring one layer of a machine into its wanted state with a single call
version_added: 0.1.0
description:
  - Takes the whole wanted state of a layer (packages, accounts, files, kernel settings, units) and compares it with the
    machine before anything is changed. What differs is applied in one fixed order, so a call that has nothing to do
    costs as much as a single small task.
  - Order - units are stopped, files marked O(files[].early) are written, packages are installed, then accounts, files,
    kernel settings and units follow; packages, accounts and directories are removed last.
  - Files are replaced in one step. The restart that a changed file asks for is noted in
    C(/var/lib/pantheon/machine_state.json) before the file is written, so that a run that was killed in between is
    finished by the next one.
  - Runs that overlap wait for each other, and for whoever holds the lock of the package manager.
author:
  - Pantheon contributors (@pantheon-ai)
requirements:
  - Debian 12 or 13, or Ubuntu 22.04 or 24.04, with systemd
attributes:
  check_mode:
    description: Can run in check mode and report the same actions as the real run.
    support: full
  diff_mode:
    description: Returns what changes, without the content of files marked O(files[].sensitive).
    support: full
  idempotent:
    description: A second call changes nothing.
    support: full
options:
  packages:
    description: Packages of the distribution.
    type: list
    elements: dict
    suboptions:
      name:
        description:
          - Name of the package.
          - Names separated by V(|) are alternatives; any installed one satisfies, else the first is installed.
        type: str
        required: true
      state:
        description: Whether the package is to be there. A removed package keeps its data; it is never purged.
        type: str
        choices: [present, absent]
        default: present
      host_only:
        description: Whether the package is left out in a container, and reported in RV(not_applied).
        type: bool
        default: false
  lock_timeout:
    description: Seconds to wait for the locks of the package manager, and for another run of this module.
    type: int
    default: 300
  timezone:
    description: Time zone, for example V(Europe/Berlin).
    type: str
  groups:
    description: Groups.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      system:
        description: Whether a new group gets an ID of the system's range.
        type: bool
        default: false
      state:
        description: Whether the group is to be there.
        type: str
        choices: [present, absent]
        default: present
  users:
    description: Users. They get no password.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      comment:
        description: The person's name.
        type: str
      shell:
        description: Login shell. New users get V(/bin/bash) if it is not set.
        type: str
      groups:
        description: Supplementary groups that the user is added to; others stay.
        type: list
        elements: str
        default: []
      system:
        description: Whether a new user gets an ID of the system's range.
        type: bool
        default: false
      authorized_keys:
        description:
          - Public keys that may sign in. Keys that the owner added by hand stay; a key that is taken off this list is
            removed again.
        type: list
        elements: str
      sudo:
        description: Whether the user may become root without a password. Left out, nothing is changed about that.
        type: bool
      exclusive_keys:
        description: Whether keys that are not in O(users[].authorized_keys) are removed.
        type: bool
        default: false
      state:
        description: Whether the user is to be there. The home directory of a removed user stays.
        type: str
        choices: [present, absent]
        default: present
  directories:
    description: Directories.
    type: list
    elements: dict
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      mode:
        description: Mode in octal digits.
        type: str
        default: "0755"
      owner:
        description: Owning user.
        type: str
        default: root
      group:
        description: Owning group.
        type: str
        default: root
      state:
        description: Whether the directory is to be there. A directory that is not empty is never removed.
        type: str
        choices: [present, absent]
        default: present
  files:
    description: Whole files. Missing parent directories are created with mode V(0755).
    type: list
    elements: dict
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      content:
        description:
          - The whole content.
          - C(@@secret:NAME@@) stands for a secret of the environment, which is put in on the controller. Such a file is sensitive.
        type: str
        default: ""
      mode:
        description: Mode in octal digits.
        type: str
        default: "0644"
      owner:
        description: Owning user.
        type: str
        default: root
      group:
        description: Owning group.
        type: str
        default: root
      early:
        description: Whether the file is written before packages are installed, as a service reads it at its first start.
        type: bool
        default: false
      sensitive:
        description: Whether the content stays out of the diff.
        type: bool
        default: false
      validate:
        description:
          - Command that checks the new file before it replaces the old one; V(%s) stands for its path.
          - Left out while the command is not installed yet.
        type: str
      notify:
        description: What has to follow a change of the file.
        type: list
        elements: dict
        default: []
        suboptions: &notify
          unit:
            description: Name of the unit.
            type: str
            required: true
          action:
            description: What is done with the unit, if it is running.
            type: str
            choices: [restart, reload]
            default: restart
      state:
        description: Whether the file is to be there.
        type: str
        choices: [present, absent]
        default: present
  json_files:
    description:
      - JSON files that belong to somebody else and get a few keys of ours.
      - Mappings are merged and lists united; other values of ours replace the owner's, which come back once we no
        longer want the key.
    type: list
    elements: dict
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      merge:
        description: Our keys.
        type: dict
        default: {}
      mode:
        description: Mode of a new file; an existing one keeps its mode and owner.
        type: str
        default: "0644"
      owner:
        description: Owner of a new file.
        type: str
        default: root
      group:
        description: Group of a new file.
        type: str
        default: root
      early:
        description: Whether the file is written before packages are installed.
        type: bool
        default: false
      validate:
        description: Command that checks the new file before it replaces the old one; V(%s) stands for its path.
        type: str
      notify:
        description: What has to follow a change of the file.
        type: list
        elements: dict
        default: []
        suboptions: *notify
      state:
        description: With V(absent), what an earlier call added is taken out again.
        type: str
        choices: [present, absent]
        default: present
  sysctl_file:
    description: File that holds O(sysctl). Needed to set or remove kernel settings.
    type: path
  sysctl:
    description:
      - Kernel settings. They are written to O(sysctl_file) and applied at once.
      - In a container only settings of its own namespaces are touched; all others would change its host, and are
        reported in RV(not_applied).
    type: dict
    default: {}
  units:
    description: Units of systemd.
    type: list
    elements: dict
    suboptions:
      name:
        description: Full name, for example V(docker.service).
        type: str
        required: true
      enabled:
        description: Whether the unit starts at boot.
        type: bool
      state:
        description: Whether the unit runs.
        type: str
        choices: [started, stopped]
      masked:
        description:
          - V(true) masks the unit, V(false) unmasks it.
          - Left out, a unit that somebody masked stays as it is and is reported in RV(not_applied).
        type: bool
      optional:
        description: Whether a unit that does not exist is left out instead of being an error.
        type: bool
        default: false
      host_only:
        description: Whether the unit is left alone in a container, and reported in RV(not_applied).
        type: bool
        default: false
  docker:
    description: The Docker engine with compose v2. An engine that is there is never replaced.
    type: dict
    suboptions:
      state:
        description: V(absent) removes the packages, not the data.
        type: str
        choices: [present, absent, ignore]
        default: present
      source:
        description:
          - V(auto) keeps an engine that is there, and otherwise takes the distribution's packages, or Docker's own where
            the distribution has no compose v2.
          - V(existing) installs nothing.
        type: str
        choices: [auto, distribution, upstream, existing]
        default: auto
      repository_url:
        description: Where Docker's own packages are, without the name of the distribution.
        type: str
        default: https://download.docker.com/linux
  gather:
    description: Further facts to return.
    type: list
    elements: str
    choices: [docker, swarm]
    default: []
  swarm_services:
    description: Names of swarm services to describe in RV(swarm); managers only. Left out, all of them.
    type: list
    elements: str
  look_ahead:
    description:
      - Whether to look also at the mounts, stacks, databases, their cluster and models that the inventory places on the machine, as far as nothing
        of the machine itself had to be changed. The action of the same name on the controller works out what they are.
      - A later task of the same run that would find nothing to do then answers from RV(looks), without another start of
        Python on the machine. For runs like C(site.yml) only, where nothing else works on the machine in between.
    type: bool
    default: false
  looks:
    description: What to look at. Filled in by the action.
    type: list
    elements: dict
    default: []
    suboptions:
      module:
        description: The module whose state is compared, in check mode.
        type: str
        choices: [compose_stack, postgresql_databases, postgresql_cluster, ollama_models, storage_mounts]
        required: true
      parameters:
        description: The parameters of the module.
        type: dict
        required: true
"""

EXAMPLES = r"""
- name: Time, packages and one setting
  pantheon.ai.machine_state:
    timezone: Europe/Berlin
    packages:
      - name: systemd-timesyncd|chrony
      - name: telnet
        state: absent
    sysctl_file: /etc/sysctl.d/60-pantheon.conf
    sysctl:
      vm.max_map_count: 262144

- name: A service that restarts when its settings change
  pantheon.ai.machine_state:
    files:
      - path: /etc/systemd/journald.conf.d/pantheon.conf
        content: |
          [Journal]
          SystemMaxUse=1G
        notify:
          - unit: systemd-journald.service
    units:
      - name: systemd-journald.service
        state: started

- name: Docker with compose v2, and our keys in the owner's settings
  pantheon.ai.machine_state:
    docker:
      source: auto
    json_files:
      - path: /etc/docker/daemon.json
        merge:
          log-driver: local
        early: true
        notify:
          - unit: docker.service
    units:
      - name: docker.service
        enabled: true
        state: started

- name: Only look at the machine
  pantheon.ai.machine_state:
    gather: [docker, swarm]
    swarm_services: [pantheon-anchor]
  register: machine

- name: Take a file away again
  pantheon.ai.machine_state:
    files:
      - path: /etc/systemd/journald.conf.d/pantheon.conf
        state: absent
        notify:
          - unit: systemd-journald.service
"""

RETURN = r"""
looks:
  description:
    - The looks of O(looks) that found everything as wanted, with what the module returned.
    - C(keys) are hashes of the parameters, added on the controller; a later task has to come to the same ones.
  returned: when there were looks, and nothing of the machine had to be changed
  type: list
  elements: dict
  sample:
    - module: ollama_models
      keys: {models: 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae}
      result: {changed: false, models: {"llama3.2:3b": {action: none, size: 2019393189, digest: a80c4f17acd5}}}
actions:
  description: What was done, or in check mode what would be done, in order.
  returned: always
  type: list
  elements: str
  sample: [merge /etc/docker/daemon.json, restart docker.service]
not_applied:
  description: What was wanted and deliberately not done, with the reason.
  returned: always
  type: list
  elements: dict
  sample:
    - subject: sysctl vm.max_map_count
      reason: belongs to the host of this container (docker), not to the container
hostname:
  description: Name of the machine as the kernel knows it.
  returned: always
  type: str
  sample: erebus
os:
  description: The operating system.
  returned: always
  type: dict
  sample: {id: debian, version: "13", codename: trixie}
virtualization:
  description: Whether the machine is a container, and of which kind.
  returned: always
  type: dict
  sample: {container: true, type: docker}
memory_mb:
  description: Memory of the machine, or the limit of its container, in MiB.
  returned: always
  type: int
  sample: 64215
docker:
  description: The Docker engine.
  returned: when O(gather) asks for it
  type: dict
  sample: {installed: true, running: true, version: 26.1.5, compose_version: 2.26.1, origin: distribution}
swarm:
  description:
    - Membership of the engine in a swarm. C(managers) are the addresses of the managers this machine knows;
      C(nodes) and C(services) are there on a manager with a majority (C(has_quorum)).
  returned: when O(gather) asks for docker or swarm
  type: dict
  sample:
    state: active
    node_id: n1x9
    address: 10.0.0.11
    is_manager: true
    has_quorum: true
    cluster_id: c7a2
    managers: ["10.0.0.11:2377"]
    nodes:
      - {id: n1x9, name: erebus, status: ready, availability: active, role: manager, leader: true, reachability: reachable}
    services:
      pantheon-anchor: {image: "registry.example/anchor:1", networks: [pantheon-data], mode: global}
    error: ""
networks:
  description: Overlay networks that this machine sees, by name; all of them on a manager.
  returned: when O(gather) asks for docker or swarm
  type: dict
  sample:
    pantheon-data:
      id: k2v0
      subnet: 10.90.32.0/20
      range: 10.90.32.0/21
      encrypted: true
      attachable: true
      addresses: {redis: 10.90.40.9}
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._looks import look
from ansible_collections.pantheon.ai.plugins.module_utils._machine_docker import UPSTREAM_URL, MachineError
from ansible_collections.pantheon.ai.plugins.module_utils._machine_state import MachineState, System

STATE = {"type": "str", "choices": ["present", "absent"], "default": "present"}
NOTIFY = {
    "type": "list",
    "elements": "dict",
    "default": [],
    "options": {
        "unit": {"type": "str", "required": True},
        "action": {"type": "str", "choices": ["restart", "reload"], "default": "restart"},
    },
}
FLAG = {"type": "bool", "default": False}
NAME = {"type": "str", "required": True}
PATH = {"type": "path", "required": True}
OWNER = {"type": "str", "default": "root"}

ARGUMENTS = {
    "packages": {"type": "list", "elements": "dict", "options": {"name": NAME, "state": STATE, "host_only": FLAG}},
    "lock_timeout": {"type": "int", "default": 300},
    "timezone": {"type": "str"},
    "groups": {
        "type": "list",
        "elements": "dict",
        "options": {"name": NAME, "system": {"type": "bool", "default": False}, "state": STATE},
    },
    "users": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": NAME,
            "comment": {"type": "str"},
            "shell": {"type": "str"},
            "groups": {"type": "list", "elements": "str", "default": []},
            "system": {"type": "bool", "default": False},
            "sudo": {"type": "bool"},
            "authorized_keys": {"type": "list", "elements": "str", "no_log": False},
            "exclusive_keys": {"type": "bool", "default": False, "no_log": False},
            "state": STATE,
        },
    },
    "directories": {
        "type": "list",
        "elements": "dict",
        "options": {
            "path": PATH,
            "mode": {"type": "str", "default": "0755"},
            "owner": OWNER,
            "group": OWNER,
            "state": STATE,
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "options": {
            "path": PATH,
            "content": {"type": "str", "default": ""},
            "mode": {"type": "str", "default": "0644"},
            "owner": OWNER,
            "group": OWNER,
            "early": {"type": "bool", "default": False},
            "sensitive": {"type": "bool", "default": False},
            "validate": {"type": "str"},
            "notify": NOTIFY,
            "state": STATE,
        },
    },
    "json_files": {
        "type": "list",
        "elements": "dict",
        "options": {
            "path": PATH,
            "merge": {"type": "dict", "default": {}},
            "mode": {"type": "str", "default": "0644"},
            "owner": OWNER,
            "group": OWNER,
            "early": {"type": "bool", "default": False},
            "validate": {"type": "str"},
            "notify": NOTIFY,
            "state": STATE,
        },
    },
    "sysctl_file": {"type": "path"},
    "sysctl": {"type": "dict", "default": {}},
    "units": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": NAME,
            "enabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
            "masked": {"type": "bool"},
            "optional": FLAG,
            "host_only": FLAG,
        },
    },
    "docker": {
        "type": "dict",
        "options": {
            "state": {"type": "str", "choices": ["present", "absent", "ignore"], "default": "present"},
            "source": {
                "type": "str",
                "choices": ["auto", "distribution", "upstream", "existing"],
                "default": "auto",
            },
            "repository_url": {"type": "str", "default": UPSTREAM_URL},
        },
    },
    "gather": {"type": "list", "elements": "str", "choices": ["docker", "swarm"], "default": []},
    "swarm_services": {"type": "list", "elements": "str"},
    "look_ahead": {"type": "bool", "default": False},
    "looks": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "module": {
                "type": "str",
                "required": True,
                "choices": [
                    "compose_stack",
                    "postgresql_databases",
                    "postgresql_cluster",
                    "ollama_models",
                    "storage_mounts",
                ],
            },
            "parameters": {"type": "dict", "required": True},
        },
    },
}


def main() -> None:
    """Run the module."""
    # no_log keeps the wanted state (whole files) out of the system log; the result is not touched by it.
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True, no_log=True)
    try:
        result = MachineState(System(module.run_command), module.params, module.check_mode).reconcile()
    except MachineError as error:
        module.fail_json(msg=("%s. %s" % (str(error).rstrip("."), error.remedy)).strip(), remedy=error.remedy)
    except PermissionError as error:
        module.fail_json(msg="%s. Run as root (become: true)." % error)
    if module.params["looks"] and not result["changed"]:
        result["looks"] = look(module.params["looks"])
    module.exit_json(**result)


if __name__ == "__main__":
    main()
