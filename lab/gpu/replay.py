#!/usr/bin/env python3
# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write what a machine with GPUs shows, as a folder that the module gpu_facts reads with root and command_path.

    python3 lab/gpu/replay.py orpheus /opt/gpu-replay

Nothing in these trees was recorded on hardware: they are made by the rules that the module follows. The class Tree also
makes the trees of the unit tests.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

GIB = 1 << 30
KERNEL = "6.12.48+deb13-amd64"
NODES = "sys/class/kfd/kfd/topology/nodes"


class Tree:
    """Files, links and programs of a machine, by path without the leading slash."""

    def __init__(self, kernel: str = KERNEL, memory_kb: int = 65_000_000) -> None:
        self.files: dict[str, bytes] = {}
        self.links: dict[str, str] = {}
        self.programs: dict[str, str] = {}
        self.groups: dict[str, int] = {}
        self.folders: set[str] = {"bin"}
        self.kernel = kernel
        self.file("proc/sys/kernel/osrelease", kernel + "\n")
        self.file("proc/meminfo", f"MemTotal:       {memory_kb} kB\nMemFree:         1024 kB\n")

    def file(self, path: str, content: str | bytes = "") -> Tree:
        """Add a file."""
        self.files[path.lstrip("/")] = content if isinstance(content, bytes) else content.encode()
        return self

    def node(self, path: str, group: int | None = None) -> Tree:
        """Add the marker of a device node: a plain file, as a container may not make a real one."""
        self.file(path)
        if group is not None:
            self.groups[path.lstrip("/")] = group
        return self

    def pci(self, bus: str, vendor: int, device: int, kind: int, driver: str | None = None, render: int = 0) -> Tree:
        """Add a PCI function."""
        folder = f"sys/bus/pci/devices/{bus}"
        self.file(f"{folder}/vendor", f"0x{vendor:04x}\n").file(f"{folder}/device", f"0x{device:04x}\n")
        self.file(f"{folder}/class", f"0x{kind:06x}\n")
        if driver:
            self.links[f"{folder}/driver"] = f"../../../../bus/pci/drivers/{driver}"
        if render:
            # A connector is listed beside the card, and is none.
            self.file(f"{folder}/drm/card{render - 128}/dev", "226:0\n")
            self.file(f"{folder}/drm/card{render - 128}-DP-1/status", "disconnected\n")
            self.file(f"{folder}/drm/renderD{render}/dev", f"226:{render}\n")
        return self

    def nvidia_module(self, version: str, flavour: str = "proprietary") -> Tree:
        """Load the NVIDIA module."""
        self.file("sys/module/nvidia/version", version + "\n")
        text = "NVIDIA UNIX Open Kernel Module for x86_64" if flavour == "open" else "NVIDIA UNIX x86_64 Kernel Module"
        return self.file("proc/driver/nvidia/version", f"NVRM version: {text}  {version}  Release Build\n")

    def nvidia_proc(self, bus: str, name: str, uuid: str) -> Tree:
        """Describe a card as the driver does."""
        text = f"Model: \t\t {name}\nGPU UUID: \t {uuid}\nDevice Minor: \t 0\nGPU Excluded:\t No\n"
        return self.file(f"proc/driver/nvidia/gpus/{bus}/information", text)

    def program(self, name: str, script: str) -> Tree:
        """Add a program to bin/."""
        self.programs[name] = "#!/bin/sh\n" + script
        return self

    def smi(self, table: str = "", listing: str = "", status: int = 0, errors: str = "") -> Tree:
        """Add an nvidia-smi that answers the query with a table and -L with a listing."""
        script = f"""\
case "$1" in
  --query-gpu=*) printf %s {shlex.quote(table)}; printf %s {shlex.quote(errors)} >&2; exit {status} ;;
  *) printf %s {shlex.quote(listing)}; printf %s {shlex.quote(errors)} >&2; exit {status} ;;
esac
"""
        return self.program("nvidia-smi", script)

    def docker(
        self,
        runtimes: tuple[str, ...] = ("runc",),
        version: str = "28.3.2",
        cdi: tuple[str, ...] | None = ("/etc/cdi", "/var/run/cdi"),
        devices: tuple[str, ...] = (),
        cgroup: str = "systemd",
    ) -> Tree:
        """Add a docker that answers `docker info`."""
        info: dict[str, object] = {
            "ServerVersion": version,
            "CgroupDriver": cgroup,
            "Runtimes": {name: {"path": name} for name in runtimes},
        }
        if cdi is not None:
            info["CDISpecDirs"] = list(cdi)
        if devices:
            info["DiscoveredDevices"] = [{"Source": "cdi", "ID": name} for name in devices]
        script = f'[ "$1" = info ] || exit 1\nprintf "%s\\n" {shlex.quote(json.dumps(info))}\n'
        return self.program("docker", script)

    def amd(
        self,
        bus: str,
        device: int,
        gfx: int = 0,
        vram: int | None = None,
        gtt: int | None = None,
        discrete: bool = True,
        driver: str | None = "amdgpu",
        kind: int = 0x030000,
        render: int = 128,
    ) -> Tree:
        """Add a card of AMD; *gfx* is its target as KFD writes it, and 0 leaves its node out."""
        self.pci(bus, 0x1002, device, kind, driver, render if driver == "amdgpu" else 0)
        folder = f"sys/bus/pci/devices/{bus}"
        if vram is not None:
            self.file(f"{folder}/mem_info_vram_total", f"{vram}\n")
        if gtt is not None:
            self.file(f"{folder}/mem_info_gtt_total", f"{gtt}\n")
        if discrete and driver == "amdgpu":
            self.file(f"{folder}/mem_info_vram_vendor", "samsung\n").file(f"{folder}/board_info", "type : oem\n")
        if gfx:
            self.kfd_cpu()
            self.kfd(bus, gfx, render)
        return self

    def kfd_cpu(self) -> Tree:
        """Add node 0, the processor."""
        text = "cpu_cores_count 16\nsimd_count 0\nmem_banks_count 1\nvendor_id 0\ngfx_target_version 0\n"
        return self.file(f"{NODES}/0/properties", text).file(f"{NODES}/0/gpu_id", "0\n")

    def kfd(
        self, bus: str, gfx: int, render: int, unique: int = 0, partition: int = 0, banks: tuple[int, ...] = ()
    ) -> Tree:
        """Add a node of KFD for a card; with *banks* it says its memory itself."""
        number = 1 + max((int(path.split("/")[6]) for path in self.files if path.startswith(NODES)), default=-1)
        domain, slot, rest = bus.split(":")
        card, function = rest.split(".")
        location = int(slot, 16) << 8 | int(card, 16) << 3 | int(function) | partition << 28
        text = (
            "cpu_cores_count 0\nsimd_count 192\nmem_banks_count 1\nname_is_not_here 1\n"
            f"vendor_id 4098\ngfx_target_version {gfx}\nlocation_id {location}\ndomain {int(domain, 16)}\n"
            f"drm_render_minor {render}\nlocal_mem_size 0\nunique_id {unique or 1000 + number}\n"
        )
        self.file(f"{NODES}/{number}/properties", text).file(f"{NODES}/{number}/name", "ip discovery\n")
        self.file(f"{NODES}/{number}/gpu_id", f"{40000 + number}\n")
        for position, size in enumerate(banks):
            bank = f"heap_type {position + 1}\nsize_in_bytes {size}\nflags 0\nwidth 8192\n"
            self.file(f"{NODES}/{number}/mem_banks/{position}/properties", bank)
        return self

    def write(self, destination: Path) -> Path:
        """Write everything below a folder."""
        for folder in self.folders:
            (destination / folder).mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            target = destination / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            if path in self.groups:
                # Only root may give a file to another group; the number is then that of whoever runs this.
                with contextlib.suppress(PermissionError):
                    os.chown(target, -1, self.groups[path])
        for path, link in self.links.items():
            target = destination / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(link)
        for name, script in self.programs.items():
            target = destination / "bin" / name
            target.write_text(script)
            target.chmod(0o755)
        return destination


def smi_line(
    bus: str,
    uuid: str,
    name: str,
    memory: str,
    capability: str,
    driver: str = "550.163.01",
    mig: str = "[N/A]",
    index: int = 0,
) -> str:
    """Return a line of nvidia-smi's table."""
    address = f"0000{bus}".upper()
    return f"{index}, {uuid}, {address}, {name}, {driver}, {memory}, {capability}, {mig}\n"


def nvidia_machine(
    device: int, name: str, memory: int, capability: str, serial: int, driver: str = "550.163.01"
) -> Tree:
    """Return a machine with one NVIDIA card that containers can use."""
    bus, uuid = "0000:01:00.0", f"GPU-7a1e0000-0000-4000-8000-{serial:012d}"
    tree = Tree().pci(bus, 0x10DE, device, 0x030000, "nvidia", 128).pci("0000:01:00.1", 0x10DE, 0x22BA, 0x040300)
    tree.pci("0000:03:00.0", 0x1A03, 0x2000, 0x030000, "ast")
    tree.nvidia_module(driver).nvidia_proc(bus, name, uuid)
    tree.smi(smi_line(bus, uuid, name, str(memory), capability, driver), f"GPU 0: {name} (UUID: {uuid})\n")
    for node in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        tree.node(f"dev/{node}", 0)
    return tree.docker(("runc", "nvidia"))


def amd_machine() -> Tree:
    """Return a machine with a Radeon RX 7900 XTX."""
    tree = Tree(memory_kb=131_000_000).amd("0000:03:00.0", 0x744C, 110000, 25753026560, 64 * GIB)
    tree.pci("0000:03:00.1", 0x1002, 0xAB30, 0x040300)
    return tree.node("dev/kfd", 993).node("dev/dri/renderD128", 993).docker()


def bare_machine(driver: str | None) -> Tree:
    """Return a machine with an NVIDIA card that no driver of NVIDIA holds."""
    tree = Tree().pci("0000:01:00.0", 0x10DE, 0x2684, 0x030000, driver)
    return tree.pci("0000:01:00.1", 0x10DE, 0x22BA, 0x040300).docker()


#: The machines of the lab that carry a GPU in this form, and a few more for trying the roles.
MACHINES: dict[str, Callable[[], Tree]] = {
    "orpheus": lambda: nvidia_machine(0x2684, "NVIDIA GeForce RTX 4090", 24564, "8.9", 1),
    "kratos": lambda: nvidia_machine(0x2204, "NVIDIA GeForce RTX 3090", 24576, "8.6", 2),
    "nyx": lambda: nvidia_machine(0x2230, "NVIDIA RTX A6000", 49140, "8.6", 3),
    "hades": amd_machine,
    "no-driver": lambda: bare_machine(None),
    "amd-no-driver": lambda: Tree().amd("0000:03:00.0", 0x744C, driver=None).docker(),
    "passthrough": lambda: bare_machine("vfio-pci"),
    "no-card": lambda: Tree().pci("0000:03:00.0", 0x1A03, 0x2000, 0x030000, "ast").docker(),
}


def main(arguments: list[str] | None = None) -> int:
    """Write the tree of one machine."""
    parser = argparse.ArgumentParser(description="Write what a machine with GPUs shows, for the module gpu_facts.")
    parser.add_argument("machine", choices=sorted(MACHINES), help="whose GPUs")
    parser.add_argument("destination", type=Path, help="folder to write, for example /opt/gpu-replay")
    chosen = parser.parse_args(arguments)
    MACHINES[chosen.machine]().write(chosen.destination)
    print(f"root: {chosen.destination}, command_path: {chosen.destination / 'bin'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
