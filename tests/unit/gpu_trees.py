# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines for the tests of the GPU detection, a function for each row of the truth table."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "lab" / "gpu" / "replay.py"
if not SOURCE.is_file():
    pytest.skip("the trees are made by the lab, which is not there", allow_module_level=True)

_spec = importlib.util.spec_from_file_location("gpu_replay", SOURCE)
assert _spec and _spec.loader
replay: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(replay)

Tree = replay.Tree
smi_line = replay.smi_line
GIB = replay.GIB

BUS, BUS2 = "0000:01:00.0", "0000:21:00.0"
UUID, UUID2 = "GPU-aaaaaaaa-0000-4000-8000-000000000001", "GPU-aaaaaaaa-0000-4000-8000-000000000002"
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
RX7900 = 25753026560
MI300X = 206141652992


def pci_nvidia(device: int = 0x2684, driver: str | None = "nvidia", bus: str = BUS, tree: Any = None) -> Any:
    """An NVIDIA card with its audio function."""
    tree = tree or Tree()
    tree.pci(bus, 0x10DE, device, 0x030000, driver, 128)
    return tree.pci(bus[:-1] + "1", 0x10DE, 0x22BA, 0x040300, "snd_hda_intel")


def nvidia(driver: str = "550.163.01", capability: str = "8.9", memory: str = "24564", mig: str = "[N/A]") -> Any:
    """An NVIDIA card whose driver works; no container can use it yet."""
    line = smi_line(BUS, UUID, "NVIDIA GeForce RTX 4090", memory, capability, driver, mig)
    return pci_nvidia().nvidia_module(driver).smi(line, f"GPU 0: NVIDIA (UUID: {UUID})\n")


def nvidia_runtime() -> Any:
    return nvidia().docker(("runc", "nvidia"))


def nvidia_cdi(folder: str = "etc/cdi") -> Any:
    return nvidia().docker().file(f"{folder}/nvidia.yaml", "cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n")


def nvidia_mig(instances: int = 2) -> Any:
    tree = pci_nvidia(0x2335).nvidia_module("570.124.06")
    listing = f"GPU 0: NVIDIA H200 (UUID: {UUID})\n"
    names = ["1g.18gb", "3g.71gb", "1g.18gb"]
    for number in range(instances):
        listing += f"  MIG {names[number]}     Device  {number}: (UUID: MIG-0000000{number}-0000-5000-8000-00000000000{number})\n"
    tree.smi(smi_line(BUS, UUID, "NVIDIA H200", "143771", "9.0", "570.124.06", "Enabled"), listing)
    return tree.docker(("runc", "nvidia"))


def gb10() -> Any:
    tree = pci_nvidia(0x2E12, tree=Tree(memory_kb=125_000_000)).nvidia_module("580.95.05", "open")
    tree.smi(smi_line(BUS, UUID, "NVIDIA GB10", "[N/A]", "12.1", "580.95.05"))
    return tree.file("sys/devices/soc0/soc_id", "jep106:0426:8901\n").docker(("runc", "nvidia"))


def jetson(release: int = 36, runtime: bool = True) -> Any:
    tree = Tree("5.15.148-tegra", 64_000_000).file("etc/nv_tegra_release", f"# R{release} (release), REVISION: 4.0\n")
    tree.file("proc/device-tree/model", b"NVIDIA Jetson AGX Orin Developer Kit\0")
    return tree.docker(("runc", "nvidia") if runtime else ("runc",))


def wsl(docker: tuple[str, ...] = ("runc", "nvidia"), smi: bool = True) -> Any:
    tree = Tree("5.15.167.4-microsoft-standard-WSL2").node("dev/dxg")
    tree.pci("83b2:00:00.0", 0x1414, 0x008E, 0x030200, "dxgkrnl")
    if smi:
        tree.smi(smi_line(BUS, UUID, "NVIDIA GeForce RTX 4090", "24564", "8.9", "560.94"))
    return tree.docker(docker)


def mismatch() -> Any:
    return (
        pci_nvidia()
        .nvidia_module("550.163.01")
        .smi("Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 550.54\n", status=18)
    )


def not_loaded(path: str = "updates/dkms/nvidia.ko.xz", secure_boot: bool = False) -> Any:
    tree = pci_nvidia(driver=None).file(f"lib/modules/{replay.KERNEL}/{path}")
    tree.smi(status=9, errors="NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    return tree.file(SECURE_BOOT, b"\6\0\0\0" + (b"\1" if secure_boot else b"\0"))


def driver_error(status: int = 6, text: str = "No devices were found\n") -> Any:
    return pci_nvidia().nvidia_module("550.163.01").smi(text, status=status)


def rx7900(gfx: int = 110000, kfd: bool = True, driver: str | None = "amdgpu", device: int = 0x744C) -> Any:
    tree = Tree().amd("0000:03:00.0", device, gfx, RX7900, 64 * GIB, driver=driver)
    tree.pci("0000:03:00.1", 0x1002, 0xAB30, 0x040300, "snd_hda_intel").node("dev/dri/renderD128")
    return tree.node("dev/kfd") if kfd else tree


def strix_halo() -> Any:
    tree = Tree(memory_kb=127_000_000)
    tree.amd("0000:c4:00.0", 0x1586, 110501, GIB // 2, 62 * GIB, discrete=False, kind=0x038000)
    # The NPU beside it is no card.
    tree.pci("0000:c5:00.1", 0x1022, 0x17F0, 0x118000, "amdxdna")
    return tree.node("dev/kfd").node("dev/dri/renderD128")


def raphael(tree: Any = None, bus: str = "0000:0f:00.0") -> Any:
    """The small GPU in a processor of AMD."""
    tree = tree or Tree()
    return tree.amd(bus, 0x164E, 100306, GIB // 2, 31 * GIB, discrete=False, render=129).node("dev/kfd")


def mi300x_cpx() -> Any:
    tree = Tree().amd("0000:05:00.0", 0x74A1, 0, MI300X, 512 * GIB, kind=0x120000).node("dev/kfd").kfd_cpu()
    for partition in range(8):
        tree.kfd("0000:05:00.0", 90402, 128 + partition, unique=77, partition=partition)
    return tree


def mi300a() -> Any:
    tree = Tree().pci("0000:01:00.0", 0x1002, 0x74A0, 0x120000, "amdgpu", 128).node("dev/kfd").kfd_cpu()
    return tree.kfd("0000:01:00.0", 90402, 128, banks=(96 * GIB, 32 * GIB, 7 * GIB))


def arc(driver: str | None = "xe", bus: str = "0000:03:00.0") -> Any:
    return Tree().pci(bus, 0x8086, 0xE20B, 0x030000, driver, 128).node("dev/dri/renderD128")


def intel_igpu(tree: Any = None) -> Any:
    return (tree or Tree()).pci("0000:00:02.0", 0x8086, 0xA780, 0x030000, "i915", 129)


def mixed() -> Any:
    tree = nvidia_runtime().amd("0000:0a:00.0", 0x7448, 110000, 48 * GIB - 16 * (1 << 20), 64 * GIB, render=129)
    return tree.node("dev/kfd").node("dev/dri/renderD129")


def bmc() -> Any:
    tree = Tree().pci("0000:03:00.0", 0x1A03, 0x2000, 0x030000, "ast").pci("0000:04:00.0", 0x102B, 0x0538, 0x030000)
    tree.pci("0000:05:00.0", 0x1AF4, 0x1050, 0x030000, "virtio-pci").pci("0000:06:00.0", 0x1234, 0x1111, 0x030000)
    tree.pci("0000:07:00.0", 0x10DE, 0x22A3, 0x068000).pci("0000:08:00.0", 0x1022, 0x1502, 0x118000, "amdxdna")
    return tree.pci("0000:09:00.0", 0x1002, 0x74FF, 0x120100)


def own_group() -> int:
    """The group that files of these trees get."""
    return os.getgid()
