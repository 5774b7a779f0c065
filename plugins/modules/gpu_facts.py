#!/usr/bin/python
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Which GPUs a machine has, and whether a container can use them
version_added: 0.1.0
description:
  - Reads what the kernel shows about the graphics cards of a machine, asks C(nvidia-smi) and C(docker), and decides which
    backend of Ollama fits (CUDA, ROCm, Vulkan or the processor), which image, and what is missing otherwise.
  - Only reads. It needs neither root nor a package, and no command takes longer than O(timeout).
  - What cannot be read is no evidence and never an error.
  - Cards are told apart by their ids and classes; names are for display only.
author:
  - Pantheon contributors (@pantheon)
attributes:
  check_mode:
    support: full
    description: The module only reads.
  diff_mode:
    support: none
    description: Nothing is changed.
  idempotent:
    support: full
    description: Nothing is changed.
  facts:
    support: full
    description: Returns C(ansible_facts).
options:
  root:
    description:
      - Prefix of every path that is read. Links that are absolute stay below it.
      - With another root than V(/), the machine that was recorded there is described, not the one where the module runs.
    type: path
    default: /
  command_path:
    description:
      - Folders with C(nvidia-smi) and C(docker). Nothing is looked for elsewhere.
      - Without it, the usual folders below O(root).
    type: list
    elements: path
  timeout:
    description: How many seconds each command may take.
    type: float
    default: 15
notes:
  - Without the right to ask Docker (root, or the group C(docker)) its settings and the files of CDI are read instead.
"""

EXAMPLES = r"""
- name: Look at the GPUs
  pantheon.ai.gpu_facts:

- name: Say what is missing
  ansible.builtin.debug:
    var: ansible_facts['pantheon_gpu'].fix

- name: Describe a machine that was recorded in a folder
  pantheon.ai.gpu_facts:
    root: /opt/gpu-replay
    command_path: [/opt/gpu-replay/bin]
"""

RETURN = r"""
ansible_facts:
  description: Facts of the machine.
  returned: always
  type: dict
  contains:
    pantheon_gpu:
      description: The GPUs of the machine.
      returned: always
      type: dict
      sample:
        vendor: nvidia
        state: ready
        backend: cuda
        count: 1
        vram_mib: 24564
        arch: sm_89
        driver_version: 550.163.01
        driver_block: nvidia
        driver_wanted: {minimum: 550, modules: any}
        ollama_image: ollama/ollama
        ollama_tag: ""
        env: {}
        opt_in: []
        mig: 0
        unified: false
        integrated: false
        fix: ""
        also: []
        second: null
        wsl: false
        secure_boot: false
        devices:
          - vendor: nvidia
            name: NVIDIA GeForce RTX 4090
            pci_id: "10de:2684"
            bus_address: "0000:01:00.0"
            driver: nvidia
            vram_mib: 24564
            arch: sm_89
            uuid: GPU-8a3c2b1d-0000-4000-8000-000000000001
            index: 0
            mig: false
            mig_devices: []
            integrated: false
            usable: true
            rocm: false
            nodes: []
        container:
          source: command
          docker_version: 28.3.2
          cgroup_driver: systemd
          nvidia_runtime: true
          nvidia_cdi: false
          amd_runtime: false
          amd_cdi: false
      contains:
        vendor:
          description: V(nvidia), V(amd), V(intel), or V(none) when no card is of use.
          type: str
          sample: nvidia
        state:
          description:
            - V(ready) when containers can use the cards, V(none) when there is no card.
            - Otherwise what stands in the way, one of V(toolkit_missing), V(driver_too_old), V(reboot_required),
              V(driver_not_loaded), V(driver_missing), V(driver_error), V(nouveau), V(passthrough), V(kfd_missing),
              V(arch_unsupported), V(igpu_only).
          type: str
          sample: ready
        backend:
          description: What Ollama computes with, V(cuda), V(rocm), V(vulkan) or V(cpu).
          type: str
          sample: cuda
        count:
          description: Number of cards, without integrated ones beside others; with those of the second vendor.
          type: int
          sample: 1
        vram_mib:
          description: Memory of the cards of RV(ansible_facts.pantheon_gpu.vendor) together. Null when it is not known.
          type: int
          sample: 24564
        arch:
          description: Lowest compute capability as C(sm_NN), or the target of ROCm.
          type: str
          sample: sm_89
        driver_version:
          description: Version of the loaded driver. The driver of AMD that comes with the kernel has none.
          type: str
          sample: 550.163.01
        driver_block:
          description: How a container gets NVIDIA cards, V(nvidia) (the runtime) or V(cdi).
          type: str
          sample: nvidia
        driver_wanted:
          description: Which NVIDIA driver suits the cards, its lowest C(minimum) version and the C(modules) of the kernel,
            V(open), V(proprietary) or V(any).
          type: dict
          sample: {minimum: 550, modules: any}
        ollama_image:
          description: Image of Ollama for these cards.
          type: str
          sample: ollama/ollama
        ollama_tag:
          description: Variant of that image, V(rocm) or nothing for the plain one.
          type: str
          sample: ""
        env:
          description: Environment that the container needs. Variables in RV(ansible_facts.pantheon_gpu.opt_in) only if the
            owner wants them.
          type: dict
          sample: {}
        opt_in:
          description: Names of the variables in RV(ansible_facts.pantheon_gpu.env) that are the owner's choice.
          type: list
          elements: str
          sample: []
        mig:
          description: Number of MIG instances.
          type: int
          sample: 0
        unified:
          description: Whether the cards use the memory of the machine.
          type: bool
          sample: false
        integrated:
          description: Whether the GPU that counts, or the only one there is, is part of the processor.
          type: bool
          sample: false
        fix:
          description: What to do, in a sentence, for every state other than V(ready) and V(none). For V(ready) what the owner
            still has to know, if anything.
          type: str
          sample: ""
        also:
          description: The second vendor, V(amd), beside NVIDIA.
          type: list
          elements: str
          sample: []
        second:
          description: Facts of the second vendor, by the same names. Null without one.
          type: dict
          sample: null
        wsl:
          description: Whether the machine is a guest of WSL2.
          type: bool
          sample: false
        secure_boot:
          description: Whether Secure Boot is on.
          type: bool
          sample: false
        devices:
          description: Every GPU, also integrated ones and those that cannot be used. C(nodes) are the device nodes that a
            container needs, with the numbers of their groups. C(rocm) says whether ROCm can use the card.
          type: list
          elements: dict
          sample: []
        container:
          description: What Docker can give to containers; C(source) says whether Docker itself said so (V(command)) or its
            files (V(files)). Null without a card of NVIDIA or AMD.
          type: dict
          sample: null
"""

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.pantheon.ai.plugins.module_utils._gpu_facts import detect

ARGUMENTS = {
    "root": {"type": "path", "default": "/"},
    "command_path": {"type": "list", "elements": "path"},
    "timeout": {"type": "float", "default": 15},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    params = module.params
    problems = []
    if params["timeout"] <= 0:
        problems.append("timeout is %g. Give the seconds that a command may take, such as 15." % params["timeout"])
    if not params["root"].startswith("/"):
        problems.append("root is %r. Give an absolute path, such as /opt/gpu-replay." % params["root"])
    for folder in params["command_path"] or []:
        if not folder.startswith("/"):
            problems.append("command_path has %r. Give absolute paths, such as /usr/bin." % folder)
    if problems:
        module.fail_json(msg=" ".join(problems))
    facts = detect(params["root"], params["command_path"], params["timeout"])
    module.exit_json(changed=False, ansible_facts={"pantheon_gpu": facts})


if __name__ == "__main__":
    main()
