# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the GPU detection decides, on a constructed machine for each row of the truth table."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils import _gpu_facts

_spec = importlib.util.spec_from_file_location("gpu_trees", Path(__file__).resolve().parents[2] / "gpu_trees.py")
assert _spec and _spec.loader
trees: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trees)

PLAIN, ROCM = "ollama/ollama", "ollama/ollama:rocm"
GIB_MIB = 1024


def look(tree: Any, path: Path, timeout: float = 5) -> dict[str, Any]:
    """Write a machine and return its facts."""
    root = tree.write(path / "machine")
    return _gpu_facts.detect(str(root), [str(root / "bin")], timeout)


#: machine, vendor, state, backend, memory, block, image, a part of the fix (None: there is none)
TABLE: list[tuple[str, Any, str, str, str, int | None, str | None, str, str | None]] = [
    ("runtime", trees.nvidia_runtime, "nvidia", "ready", "cuda", 24564, "nvidia", PLAIN, None),
    ("cdi", trees.nvidia_cdi, "nvidia", "ready", "cuda", 24564, "cdi", PLAIN, None),
    ("cdi run", lambda: trees.nvidia_cdi("var/run/cdi"), "nvidia", "ready", "cuda", 24564, "cdi", PLAIN, None),
    ("mig", trees.nvidia_mig, "nvidia", "ready", "cuda", 143771, "nvidia", PLAIN, "Pick one MIG UUID"),
    ("gb10", trees.gb10, "nvidia", "ready", "cuda", 122070, "nvidia", PLAIN, None),
    ("jetson", trees.jetson, "nvidia", "ready", "cuda", 62500, "nvidia", PLAIN, None),
    (
        "jetson without runtime",
        lambda: trees.jetson(runtime=False),
        *("nvidia", "toolkit_missing", "cpu", 62500, None, PLAIN, "nvidia-container-toolkit"),
    ),
    ("wsl", trees.wsl, "nvidia", "ready", "cuda", 24564, "nvidia", PLAIN, "Do not install a driver in the guest"),
    (
        "toolkit",
        lambda: trees.nvidia().docker(),
        *("nvidia", "toolkit_missing", "cpu", 24564, None, PLAIN),
        "`nvidia-ctk runtime configure --runtime=docker` and restart Docker",
    ),
    (
        "too old",
        lambda: trees.nvidia("535.247.01").docker(("runc", "nvidia")),
        *("nvidia", "driver_too_old", "cpu", 24564, None, PLAIN, "550 or newer (570 or newer for compute capability"),
    ),
    ("reboot", trees.mismatch, "nvidia", "reboot_required", "cpu", None, None, PLAIN, "reboot"),
    ("not loaded", trees.not_loaded, "nvidia", "driver_not_loaded", "cpu", None, None, PLAIN, "`modprobe nvidia`"),
    (
        "secure boot",
        lambda: trees.not_loaded(secure_boot=True),
        *("nvidia", "driver_not_loaded", "cpu", None, None, PLAIN, "enroll the MOK key"),
    ),
    (
        "no driver",
        lambda: trees.pci_nvidia(driver=None),
        *("nvidia", "driver_missing", "cpu", None, None, PLAIN, "Install the vendor's driver"),
    ),
    ("error", trees.driver_error, "nvidia", "driver_error", "cpu", None, None, PLAIN, "No devices were found"),
    (
        "nouveau",
        lambda: trees.pci_nvidia(driver="nouveau"),
        *("nvidia", "nouveau", "cpu", None, None, PLAIN, "reboot"),
    ),
    ("nova", lambda: trees.pci_nvidia(driver="nova"), "nvidia", "nouveau", "cpu", None, None, PLAIN, "reboot"),
    (
        "nova_core",
        lambda: trees.pci_nvidia(driver="nova_core"),
        *("nvidia", "nouveau", "cpu", None, None, PLAIN, "replaces nouveau"),
    ),
    (
        "passthrough",
        lambda: trees.pci_nvidia(driver="vfio-pci"),
        *("nvidia", "passthrough", "cpu", None, None, PLAIN, "belongs to a virtual machine"),
    ),
    ("rocm", trees.rx7900, "amd", "ready", "rocm", 24560, None, ROCM, None),
    (
        "override",
        lambda: trees.rx7900(100301),
        *("amd", "ready", "rocm", 24560, None, ROCM, "opt in to `HSA_OVERRIDE_GFX_VERSION=10.3.0`"),
    ),
    ("kfd", lambda: trees.rx7900(kfd=False), "amd", "kfd_missing", "vulkan", 24560, None, PLAIN, "without KFD"),
    ("no target", lambda: trees.rx7900(0), "amd", "kfd_missing", "vulkan", 24560, None, PLAIN, "Vulkan is used"),
    (
        "old gfx",
        lambda: trees.rx7900(80003),
        *("amd", "arch_unsupported", "vulkan", 24560, None, PLAIN, "gfx803 is not supported by ROCm"),
    ),
    (
        "amd unbound",
        lambda: trees.rx7900(0, kfd=False, driver=None),
        *("amd", "driver_missing", "cpu", None, None, PLAIN, "Install the vendor's driver"),
    ),
    (
        "amd passthrough",
        lambda: trees.rx7900(0, driver="vfio-pci"),
        *("amd", "passthrough", "cpu", None, None, PLAIN, "vfio-pci"),
    ),
    ("strix", trees.strix_halo, "amd", "ready", "rocm", 62 * GIB_MIB + 512, None, ROCM, None),
    ("mi300x", trees.mi300x_cpx, "amd", "ready", "rocm", 196592, None, ROCM, None),
    ("mi300a", trees.mi300a, "amd", "ready", "rocm", 128 * GIB_MIB, None, ROCM, None),
    ("amd igpu", trees.raphael, "none", "igpu_only", "cpu", None, None, PLAIN, "`OLLAMA_IGPU_ENABLE=1`"),
    ("intel igpu", trees.intel_igpu, "none", "igpu_only", "cpu", None, None, PLAIN, "opt in"),
    ("arc xe", trees.arc, "intel", "ready", "vulkan", None, None, PLAIN, None),
    ("arc i915", lambda: trees.arc("i915"), "intel", "ready", "vulkan", None, None, PLAIN, None),
    ("arc unbound", lambda: trees.arc(None), "intel", "driver_missing", "cpu", None, None, PLAIN, "xe or i915"),
    ("arc vm", lambda: trees.arc("vfio-pci"), "intel", "passthrough", "cpu", None, None, PLAIN, "virtual machine"),
    ("mixed", trees.mixed, "nvidia", "ready", "cuda", 24564, "nvidia", PLAIN, "Two Ollama services are possible"),
    ("bmc", trees.bmc, "none", "none", "cpu", None, None, PLAIN, None),
    ("no pci", trees.Tree, "none", "none", "cpu", None, None, PLAIN, None),
]


@pytest.mark.parametrize(
    ("tree", "vendor", "state", "backend", "memory", "block", "image", "fix"),
    [row[1:] for row in TABLE],
    ids=[row[0] for row in TABLE],
)
def test_truth_table(
    tree: Any,
    vendor: str,
    state: str,
    backend: str,
    memory: int | None,
    block: str | None,
    image: str,
    fix: str | None,
    tmp_path: Path,
) -> None:
    facts = look(tree(), tmp_path)
    found = tuple(facts[name] for name in ("vendor", "state", "backend", "vram_mib", "driver_block", "ollama_image"))
    assert found == (vendor, state, backend, memory, block, image), facts
    if fix is None:
        assert facts["fix"] == ""
    else:
        assert fix in facts["fix"]
        assert facts["fix"].endswith(".")


def test_every_state_is_in_the_table() -> None:
    states = (
        "ready toolkit_missing driver_too_old reboot_required driver_not_loaded driver_missing driver_error nouveau"
    )
    states += " passthrough kfd_missing arch_unsupported igpu_only none"
    assert {row[3] for row in TABLE} == set(states.split())


# -- fields -----------------------------------------------------------------------------------------------------------


def test_fields_are_the_same_for_every_machine(tmp_path: Path) -> None:
    names = "vendor backend state count vram_mib arch driver_version driver_block driver_wanted ollama_image ollama_tag"
    names += " env opt_in devices also second mig unified integrated wsl secure_boot fix container"
    wanted = set(names.split())
    for number, row in enumerate(TABLE):
        facts = look(row[1](), tmp_path / str(number))
        assert set(facts) == wanted, row[0]
        devices = facts["devices"]
        assert all(set(device) == set(_gpu_facts._device("x")) for device in devices), row[0]


def test_card_of_nvidia(tmp_path: Path) -> None:
    facts = look(trees.nvidia_runtime(), tmp_path)
    assert (facts["count"], facts["arch"], facts["driver_version"]) == (1, "sm_89", "550.163.01")
    assert (facts["mig"], facts["unified"], facts["integrated"], facts["wsl"], facts["also"]) == (
        0,
        False,
        False,
        False,
        [],
    )
    (device,) = facts["devices"]
    assert device == {
        "vendor": "nvidia",
        "name": "NVIDIA GeForce RTX 4090",
        "pci_id": "10de:2684",
        "bus_address": "0000:01:00.0",
        "driver": "nvidia",
        "vram_mib": 24564,
        "arch": "sm_89",
        "uuid": trees.UUID,
        "index": 0,
        "mig": False,
        "mig_devices": [],
        "integrated": False,
        "usable": True,
        "rocm": False,
        "nodes": [],
    }


def test_card_of_amd_has_its_nodes_with_numbers_of_groups(tmp_path: Path) -> None:
    facts = look(trees.rx7900(), tmp_path)
    assert (facts["count"], facts["arch"], facts["driver_version"], facts["ollama_tag"]) == (1, "gfx1100", None, "rocm")
    (device,) = facts["devices"]
    assert (device["bus_address"], device["arch"], device["vram_mib"]) == ("0000:03:00.0", "gfx1100", 24560)
    gid = (tmp_path / "machine/dev/kfd").stat().st_gid
    assert device["nodes"] == [{"path": "/dev/kfd", "gid": gid}, {"path": "/dev/dri/renderD128", "gid": gid}]


def test_driver_of_amd_has_a_version_only_from_dkms(tmp_path: Path) -> None:
    assert look(trees.rx7900().file("sys/module/amdgpu/version", "6.14.14\n"), tmp_path)["driver_version"] == "6.14.14"


# -- PCI --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (0x030000, 1),
        (0x030200, 1),
        (0x038000, 1),
        (0x120000, 1),
        (0x120100, 0),
        (0x040300, 0),
        (0x068000, 0),
        (0x118000, 0),
    ],
)
def test_which_classes_are_cards(kind: int, count: int, tmp_path: Path) -> None:
    tree = trees.Tree().pci("0000:03:00.0", 0x10DE, 0x2684, kind)
    assert look(tree, tmp_path)["count"] == count


def test_domain_may_be_another_one(tmp_path: Path) -> None:
    tree = trees.Tree().pci("0001:0a:00.0", 0x8086, 0xE20B, 0x030000, "xe", 128)
    assert look(tree, tmp_path)["devices"][0]["bus_address"] == "0001:0a:00.0"


def test_driver_is_known_without_the_link(tmp_path: Path) -> None:
    tree = trees.pci_nvidia(driver=None).file(f"sys/bus/pci/devices/{trees.BUS}/uevent", "DRIVER=vfio-pci\nPCI_ID=1\n")
    assert look(tree, tmp_path)["state"] == "passthrough"


def test_numbers_are_read_with_their_base(tmp_path: Path) -> None:
    tree = trees.pci_nvidia().file(f"sys/bus/pci/devices/{trees.BUS}/vendor", "4318\n")
    assert look(tree, tmp_path)["vendor"] == "nvidia", "decimal as well"


# -- NVIDIA -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "capability", "state"),
    [
        ("550.54", "8.9", "toolkit_missing"),
        ("549.99", "8.9", "driver_too_old"),
        ("550.163.01", "7.0", "toolkit_missing"),
        ("550.163.01", "6.1", "driver_too_old"),
        ("569.99", "5.2", "driver_too_old"),
        ("570.86", "6.1", "toolkit_missing"),
        ("1000.1", "6.1", "toolkit_missing"),
        ("550.163.01", "12.0", "toolkit_missing"),
        ("550.163.01", "10.0", "toolkit_missing"),
        ("550.163.01", "[N/A]", "toolkit_missing"),
        ("[N/A]", "8.9", "toolkit_missing"),
    ],
)
def test_driver_floor_compares_numbers(driver: str, capability: str, state: str, tmp_path: Path) -> None:
    assert look(trees.nvidia(driver, capability), tmp_path)["state"] == state


def two_cards(*capabilities: str, driver: str = "570.124.06") -> Any:
    tree = trees.pci_nvidia(bus=trees.BUS2, tree=trees.pci_nvidia()).nvidia_module(driver).docker(("runc", "nvidia"))
    table = trees.smi_line(trees.BUS, trees.UUID, "NVIDIA A", "24564", capabilities[0], driver)
    return tree.smi(
        table + trees.smi_line(trees.BUS2, trees.UUID2, "NVIDIA B", "8192", capabilities[1], driver, index=1)
    )


def test_several_cards_are_summed_and_the_weakest_decides(tmp_path: Path) -> None:
    facts = look(two_cards("10.0", "9.0"), tmp_path)
    assert (facts["count"], facts["vram_mib"], facts["arch"]) == (2, 32756, "sm_90")
    assert [(device["name"], device["arch"], device["index"]) for device in facts["devices"]] == [
        ("NVIDIA A", "sm_100", 0),
        ("NVIDIA B", "sm_90", 1),
    ]
    assert look(two_cards("8.9", "6.1", driver="550.1"), tmp_path / "old")["state"] == "driver_too_old"


def test_below_the_lowest_capability_it_is_said(tmp_path: Path) -> None:
    facts = look(trees.nvidia("470.256.02", "3.5"), tmp_path)
    assert facts["state"] == "driver_too_old"
    assert "below 5.0; the weakest card has 3.5." in facts["fix"]


def test_old_nvidia_smi_that_knows_fewer_columns(tmp_path: Path) -> None:
    line = f"0, {trees.UUID}, 00000000:01:00.0, Quadro K620, 470.256.02, 2000"
    script = f"""\
case "$1" in
  *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2 ;;
  *) echo "{line}, [N/A]" ;;
esac
"""
    facts = look(trees.pci_nvidia().nvidia_module("470.256.02").program("nvidia-smi", script), tmp_path)
    assert (facts["state"], facts["driver_version"], facts["arch"]) == ("driver_too_old", "470.256.02", None)


@pytest.mark.parametrize(
    "where", ["updates/dkms/nvidia.ko", "kernel/drivers/video/nvidia.ko.zst", "extra/nvidia.ko.gz"]
)
def test_module_on_disk_is_found_anywhere(where: str, tmp_path: Path) -> None:
    assert look(trees.not_loaded(where), tmp_path)["state"] == "driver_not_loaded"


def test_module_of_debian_has_another_name_on_disk(tmp_path: Path) -> None:
    assert look(trees.not_loaded("updates/dkms/nvidia-current.ko.xz"), tmp_path)["state"] == "driver_not_loaded"


@pytest.mark.parametrize("where", ["kernel/nvidia-uvm.ko", "kernel/nvidiafb.ko", "updates/dkms/nvidia-current-drm.ko"])
def test_other_modules_are_no_driver(where: str, tmp_path: Path) -> None:
    assert look(trees.not_loaded(where), tmp_path)["state"] == "driver_missing"


def test_module_of_another_kernel_does_not_count(tmp_path: Path) -> None:
    tree = trees.pci_nvidia(driver=None).file("lib/modules/6.1.0-1-amd64/updates/dkms/nvidia.ko")
    assert look(tree, tmp_path)["state"] == "driver_missing"


def test_status_nine_with_a_loaded_module_is_an_error_that_shows_what_was_said(tmp_path: Path) -> None:
    tree = trees.driver_error(9, "").smi(errors="couldn't communicate with the NVIDIA driver.", status=9)
    facts = look(tree, tmp_path)
    assert facts["state"] == "driver_error"
    assert facts["fix"] == "nvidia-smi failed with status 9 and said: couldn't communicate with the NVIDIA driver."
    assert facts["driver_version"] == "550.163.01"


def test_mismatch_is_found_by_its_text_whatever_the_status(tmp_path: Path) -> None:
    tree = trees.mismatch().smi(errors="Failed to initialize NVML: Driver/library version mismatch", status=255)
    assert look(tree, tmp_path)["state"] == "reboot_required"
    tree = trees.mismatch().smi("something else", status=18)
    assert look(tree, tmp_path / "other")["state"] == "driver_error"


def test_loaded_module_without_nvidia_smi(tmp_path: Path) -> None:
    facts = look(trees.pci_nvidia().nvidia_module("550.163.01"), tmp_path)
    assert facts["state"] == "driver_error"
    assert "there is no nvidia-smi" in facts["fix"]


def test_rows_of_a_failed_command_are_not_believed(tmp_path: Path) -> None:
    tree = trees.nvidia_runtime()
    tree.smi(trees.smi_line(trees.BUS, trees.UUID, "X", "24564", "8.9"), status=15, errors="GPU is lost")
    facts = look(tree, tmp_path)
    assert (facts["state"], facts["vram_mib"]) == ("driver_error", None)
    assert "GPU is lost" in facts["fix"]


def test_noise_in_the_table_is_left_out(tmp_path: Path) -> None:
    tree = trees.nvidia_runtime()
    line = trees.smi_line(trees.BUS, trees.UUID, "NVIDIA GeForce RTX 4090", "24564", "8.9")
    assert look(tree.smi("Warning: something\n\n" + line), tmp_path)["count"] == 1


def test_memory_that_is_not_known_is_no_error(tmp_path: Path) -> None:
    facts = look(trees.nvidia(memory="[Unknown Error]").docker(("nvidia",)), tmp_path)
    assert (facts["state"], facts["vram_mib"], facts["unified"]) == ("ready", None, False)


def test_unified_memory_counts_once(tmp_path: Path) -> None:
    facts = look(trees.gb10(), tmp_path)
    assert (facts["unified"], facts["arch"], facts["vram_mib"]) == (True, "sm_121", 125_000_000 // 1024)


def test_gb10_is_known_by_its_chip(tmp_path: Path) -> None:
    tree = trees.gb10().smi(trees.smi_line(trees.BUS, trees.UUID, "NVIDIA GB10", "119000", "12.1", "580.95"))
    facts = look(tree, tmp_path)
    assert (facts["unified"], facts["vram_mib"]) == (True, 119000)


@pytest.mark.parametrize(("release", "env"), [(35, {"JETSON_JETPACK": "5"}), (36, {"JETSON_JETPACK": "6"}), (32, {})])
def test_jetson(release: int, env: dict[str, str], tmp_path: Path) -> None:
    facts = look(trees.jetson(release), tmp_path)
    assert (facts["env"], facts["opt_in"], facts["arch"], facts["count"]) == (env, [], None, 1)
    assert facts["devices"][0]["name"] == "NVIDIA Jetson AGX Orin Developer Kit", "without the NUL at its end"
    assert facts["unified"] is True


def test_jetson_by_the_family_of_its_chip(tmp_path: Path) -> None:
    tree = trees.Tree().file("sys/devices/soc0/family", "Tegra\n").docker(("runc", "nvidia"))
    assert look(tree, tmp_path)["state"] == "ready"


def test_wsl(tmp_path: Path) -> None:
    facts = look(trees.wsl(), tmp_path)
    assert (facts["wsl"], facts["count"], facts["driver_version"]) == (True, 1, "560.94")
    missing = look(trees.wsl(("runc",)), tmp_path / "toolkit")
    assert missing["state"] == "toolkit_missing"
    assert "Do not install a driver in the guest" in missing["fix"]
    bare = look(trees.wsl(smi=False), tmp_path / "bare")
    assert (bare["vendor"], bare["state"]) == ("nvidia", "driver_missing")
    assert "in Windows" in bare["fix"]
    assert "Do not install a driver in the guest" in bare["fix"]


def test_microsoft_kernel_without_a_gpu_device_is_not_wsl(tmp_path: Path) -> None:
    assert look(trees.Tree("5.15.167.4-microsoft-standard-WSL2"), tmp_path)["state"] == "none"


def test_nvidia_smi_of_wsl_is_found_in_its_folder(tmp_path: Path) -> None:
    root = trees.wsl().write(tmp_path / "machine")
    folder = root / "usr/lib/wsl/lib"
    folder.mkdir(parents=True)
    (root / "bin/nvidia-smi").rename(folder / "nvidia-smi")
    assert _gpu_facts.detect(str(root))["count"] == 1


def test_mig(tmp_path: Path) -> None:
    facts = look(trees.nvidia_mig(), tmp_path)
    assert (facts["mig"], facts["count"], facts["vram_mib"]) == (2, 1, 143771)
    (device,) = facts["devices"]
    assert device["mig"] is True
    assert [part["name"] for part in device["mig_devices"]] == ["1g.18gb", "3g.71gb"]
    assert device["mig_devices"][0]["uuid"].startswith("MIG-00000000-")


def test_mig_without_an_instance_is_of_no_use(tmp_path: Path) -> None:
    facts = look(trees.nvidia_mig(0), tmp_path)
    assert (facts["state"], facts["backend"], facts["mig"]) == ("driver_error", "cpu", 0)
    assert "nvidia-smi mig -cgi" in facts["fix"]


def test_one_card_of_two_in_a_virtual_machine(tmp_path: Path) -> None:
    tree = trees.pci_nvidia(driver="vfio-pci", bus=trees.BUS2, tree=trees.nvidia_runtime())
    facts = look(tree, tmp_path)
    assert (facts["state"], facts["count"]) == ("ready", 1)
    assert [device["usable"] for device in facts["devices"]] == [True, False]


def test_name_and_uuid_come_from_the_driver_when_nvidia_smi_fails(tmp_path: Path) -> None:
    tree = trees.driver_error().nvidia_proc(trees.BUS, "NVIDIA RTX A6000", trees.UUID2)
    (device,) = look(tree, tmp_path)["devices"]
    assert (device["name"], device["uuid"], device["usable"]) == ("NVIDIA RTX A6000", trees.UUID2, False)


@pytest.mark.parametrize(
    ("device", "wanted"),
    [
        (0x1B06, {"minimum": 570, "modules": "proprietary"}),
        (0x1DB6, {"minimum": 550, "modules": "proprietary"}),
        (0x2684, {"minimum": 550, "modules": "any"}),
        (0x2B85, {"minimum": 570, "modules": "open"}),
    ],
)
def test_ids_say_which_driver_is_wanted_before_there_is_one(
    device: int, wanted: dict[str, Any], tmp_path: Path
) -> None:
    assert look(trees.pci_nvidia(device, None), tmp_path)["driver_wanted"] == wanted


def test_secure_boot(tmp_path: Path) -> None:
    assert look(trees.not_loaded(secure_boot=True), tmp_path)["secure_boot"] is True
    assert look(trees.not_loaded(), tmp_path / "off")["secure_boot"] is False
    assert look(trees.Tree().file(trees.SECURE_BOOT, b""), tmp_path / "empty")["secure_boot"] is False


# -- AMD --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gfx", [90008, 90010, 90402, 90500, 100300, 110000, 110001, 110002, 110500, 120000, 120001])
def test_targets_that_rocm_was_made_for(gfx: int, tmp_path: Path) -> None:
    facts = look(trees.rx7900(gfx), tmp_path)
    assert (facts["state"], facts["env"]) == ("ready", {})


@pytest.mark.parametrize("gfx", [100301, 100302, 100304, 100305, 100306])
def test_cards_that_run_as_another_one(gfx: int, tmp_path: Path) -> None:
    facts = look(trees.rx7900(gfx), tmp_path)
    assert (facts["state"], facts["env"]) == ("ready", {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"})
    assert facts["opt_in"] == ["HSA_OVERRIDE_GFX_VERSION"]


@pytest.mark.parametrize("gfx", [80003, 90000, 90006, 101000, 101002])
def test_targets_without_a_way(gfx: int, tmp_path: Path) -> None:
    assert look(trees.rx7900(gfx), tmp_path)["state"] == "arch_unsupported"


def test_override_names_the_card_when_another_must_not_get_it(tmp_path: Path) -> None:
    tree = trees.rx7900().amd("0000:0a:00.0", 0x73DF, 100301, 12 * trees.GIB, 32 * trees.GIB, render=129)
    facts = look(tree, tmp_path)
    assert (facts["count"], facts["arch"], facts["vram_mib"]) == (2, "gfx1100", 24560 + 12288)
    assert facts["env"] == {"HSA_OVERRIDE_GFX_VERSION_1": "10.3.0"}


def test_partitions_of_a_card_are_one_card(tmp_path: Path) -> None:
    facts = look(trees.mi300x_cpx(), tmp_path)
    assert (facts["count"], facts["arch"]) == (1, "gfx942")
    nodes = [node["path"] for node in facts["devices"][0]["nodes"]]
    assert nodes == ["/dev/kfd"] + [f"/dev/dri/renderD{number}" for number in range(128, 136)]


def test_memory_of_a_card_that_only_kfd_knows(tmp_path: Path) -> None:
    assert look(trees.mi300a(), tmp_path)["vram_mib"] == 128 * 1024, "heap 3 is not memory for models"


def test_strix_halo_has_the_memory_of_the_machine(tmp_path: Path) -> None:
    facts = look(trees.strix_halo(), tmp_path)
    assert (facts["arch"], facts["unified"], facts["integrated"], facts["count"]) == ("gfx1151", True, True, 1)
    limited = trees.strix_halo().file("sys/module/ttm/parameters/pages_limit", "2097152\n")
    assert look(limited, tmp_path / "limited")["vram_mib"] == 8 * 1024 + 512


def test_integrated_gpu_beside_a_card_changes_nothing(tmp_path: Path) -> None:
    alone, beside = look(trees.rx7900(), tmp_path), look(trees.raphael(trees.rx7900()), tmp_path / "beside")
    for name in set(alone) - {"devices"}:
        assert alone[name] == beside[name], name
    assert [device["integrated"] for device in beside["devices"]] == [False, True]


def test_integrated_gpu_beside_nvidia_changes_nothing(tmp_path: Path) -> None:
    alone = look(trees.nvidia_runtime(), tmp_path)
    for number, tree in enumerate((trees.raphael(trees.nvidia_runtime()), trees.intel_igpu(trees.nvidia_runtime()))):
        beside = look(tree, tmp_path / str(number))
        for name in set(alone) - {"devices"}:
            assert alone[name] == beside[name], name


@pytest.mark.parametrize(
    ("vram", "gtt", "integrated"),
    [
        (trees.GIB, 16 * trees.GIB, True),
        (4 * trees.GIB, 16 * trees.GIB, True),
        (4 * trees.GIB + 1, 32 * trees.GIB, False),
        (4 * trees.GIB, 15 * trees.GIB, False),
        (trees.GIB, 7 * trees.GIB, False),
        (0, 32 * trees.GIB, False),
    ],
)
def test_rule_for_integrated_gpus(vram: int, gtt: int, integrated: bool, tmp_path: Path) -> None:
    tree = trees.Tree().amd("0000:03:00.0", 0x744C, 110000, vram, gtt, discrete=False).node("dev/kfd")
    facts = look(tree, tmp_path)
    assert facts["devices"][0]["integrated"] is integrated
    assert facts["state"] == ("igpu_only" if integrated else "ready")


def test_a_small_card_with_its_own_memory_is_no_integrated_gpu(tmp_path: Path) -> None:
    tree = trees.Tree().amd("0000:03:00.0", 0x743F, 100304, 4 * trees.GIB, 31 * trees.GIB).node("dev/kfd")
    assert look(tree, tmp_path)["state"] == "ready"


def test_node_that_is_masked_belongs_to_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = trees.rx7900().amd("0000:0a:00.0", 0x744C, 110000, trees.RX7900, 64 * trees.GIB, render=129)
    read = _gpu_facts.Files.read_bytes

    def masked(self: Any, path: str) -> bytes | None:
        # As root, a test cannot make a file unreadable: this is what EPERM looks like to the rest.
        return None if path.endswith("nodes/2/properties") else read(self, path)

    monkeypatch.setattr(_gpu_facts.Files, "read_bytes", masked)
    facts = look(tree, tmp_path)
    assert (facts["state"], facts["count"], facts["vram_mib"]) == ("ready", 1, 24560)
    monkeypatch.setattr(
        _gpu_facts.Files, "read_bytes", lambda self, path: None if "/kfd/" in path else read(self, path)
    )
    assert look(tree, tmp_path / "all")["state"] == "kfd_missing"


def test_kfd_of_an_old_kernel_knows_no_target(tmp_path: Path) -> None:
    tree = trees.rx7900()
    path = f"{trees.replay.NODES}/1/properties"
    tree.file(path, "simd_count 192\nvendor_id 4098\nlocation_id 768\n")
    assert look(tree, tmp_path)["state"] == "kfd_missing"


def test_card_that_fell_off_the_bus_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = _gpu_facts.Files.read_bytes.__globals__["os"].read

    def broken(handle: int, size: int) -> bytes:
        raise OSError(5, "Input/output error")

    root = trees.rx7900().write(tmp_path / "machine")
    monkeypatch.setattr(_gpu_facts.Files.read_bytes.__globals__["os"], "read", broken)
    assert _gpu_facts.detect(str(root), [str(root / "none")])["state"] == "none"
    monkeypatch.setattr(_gpu_facts.Files.read_bytes.__globals__["os"], "read", real)
    assert _gpu_facts.detect(str(root), [str(root / "none")])["state"] == "ready"


JUNK = [
    b"",
    b"\0",
    b"\xff" * 9,
    b"0x",
    b"-1",
    b"9" * 5000,
    b"0x" + b"f" * 5000,
    b"[" * 100_000,
    b"{}",
    b"a b c\n" * 50,
    b"null",
]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_nonsense_in_any_file_is_no_crash(row: Any, tmp_path: Path) -> None:
    chance = random.Random(row[0])
    root = row[1]().write(tmp_path / "machine")
    for path in sorted(path for path in root.rglob("*") if path.is_file() and path.parent.name != "bin"):
        kept = path.read_bytes()
        path.write_bytes(chance.choice(JUNK))
        assert _gpu_facts.detect(str(root), [str(root / "none")])["backend"]
        path.write_bytes(kept)


@pytest.mark.parametrize("junk", JUNK)
def test_nonsense_from_any_program_is_no_crash(junk: bytes, tmp_path: Path) -> None:
    root = trees.nvidia_mig().write(tmp_path / "machine")
    (root / "junk").write_bytes(junk * 3)
    for name in ("docker", "nvidia-smi"):
        program = root / "bin" / name
        kept = program.read_text()
        program.write_text(f"#!/bin/sh\ncat {root}/junk\n")
        facts = _gpu_facts.detect(str(root), [str(root / "bin")])
        assert facts["vendor"] == "nvidia"
        assert facts["state"] == ("toolkit_missing" if name == "docker" else "driver_error")
        program.write_text(kept)


# -- several vendors --------------------------------------------------------------------------------------------------


def test_nvidia_and_amd(tmp_path: Path) -> None:
    facts = look(trees.mixed(), tmp_path)
    assert (facts["vendor"], facts["also"], facts["count"], facts["vram_mib"]) == ("nvidia", ["amd"], 2, 24564)
    second = facts["second"]
    assert (second["vendor"], second["state"], second["backend"], second["arch"]) == ("amd", "ready", "rocm", "gfx1100")
    assert (second["ollama_image"], second["count"], second["vram_mib"]) == (ROCM, 1, 48 * 1024 - 16)
    assert [device["vendor"] for device in facts["devices"]] == ["nvidia", "amd"]


def test_nvidia_keeps_its_state_beside_amd(tmp_path: Path) -> None:
    tree = trees.pci_nvidia(driver="vfio-pci", tree=trees.rx7900())
    facts = look(tree, tmp_path)
    assert (facts["vendor"], facts["state"], facts["also"], facts["count"]) == ("nvidia", "passthrough", ["amd"], 2)
    assert facts["second"]["state"] == "ready"


def test_amd_wins_over_intel(tmp_path: Path) -> None:
    tree = trees.rx7900().pci("0000:0c:00.0", 0x8086, 0x56A0, 0x030000, "xe", 130)
    facts = look(tree, tmp_path)
    assert (facts["vendor"], facts["count"], facts["also"]) == ("amd", 1, [])


def test_intel_card_beside_an_integrated_one(tmp_path: Path) -> None:
    facts = look(trees.intel_igpu(trees.arc()), tmp_path)
    assert (facts["vendor"], facts["count"], facts["integrated"]) == ("intel", 1, False)
    assert [device["usable"] for device in facts["devices"]] == [False, True]


# -- containers -------------------------------------------------------------------------------------------------------


def test_runtime_in_the_settings_counts_when_docker_does_not_answer(tmp_path: Path) -> None:
    tree = trees.nvidia().file(
        "etc/docker/daemon.json", '{"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}}'
    )
    facts = look(tree, tmp_path)
    assert (facts["state"], facts["driver_block"], facts["container"]["source"]) == ("ready", "nvidia", "files")


def test_runtime_in_the_settings_is_not_enough_when_docker_does_not_know_it(tmp_path: Path) -> None:
    tree = trees.nvidia().docker().file("etc/docker/daemon.json", '{"runtimes": {"nvidia": {}}}')
    facts = look(tree, tmp_path)
    assert (facts["state"], facts["container"]["source"]) == ("toolkit_missing", "command")


def test_runtime_is_preferred_to_cdi(tmp_path: Path) -> None:
    assert look(trees.nvidia_cdi().docker(("runc", "nvidia")), tmp_path)["driver_block"] == "nvidia"


@pytest.mark.parametrize(
    ("docker", "state"),
    [
        ({"version": "20.10.24", "cdi": None}, "toolkit_missing"),
        ({"version": "27.5.1", "cdi": ()}, "toolkit_missing"),
        ({"version": "27.5.1", "cdi": None}, "ready"),
        ({"version": "29.0.0"}, "ready"),
    ],
)
def test_cdi_needs_a_docker_that_reads_it(docker: dict[str, Any], state: str, tmp_path: Path) -> None:
    assert look(trees.nvidia_cdi().docker(**docker), tmp_path)["state"] == state


def test_cdi_devices_that_docker_found(tmp_path: Path) -> None:
    facts = look(trees.nvidia().docker(devices=("nvidia.com/gpu=all",)), tmp_path)
    assert facts["driver_block"] == "cdi"


def test_cdi_of_amd_is_none_of_nvidia(tmp_path: Path) -> None:
    facts = look(trees.nvidia().docker().file("etc/cdi/amd.json", "{}"), tmp_path)
    assert (facts["state"], facts["container"]["amd_cdi"]) == ("toolkit_missing", True)


def test_docker_info_for_people_is_understood(tmp_path: Path) -> None:
    text = " Server Version: 20.10.24\n Cgroup Driver: systemd\n Runtimes: io.containerd.runc.v2 nvidia runc\n"
    facts = look(trees.nvidia().program("docker", f"cat <<'END'\n{text}END\n"), tmp_path)
    assert facts["driver_block"] == "nvidia"
    assert (facts["container"]["docker_version"], facts["container"]["cgroup_driver"]) == ("20.10.24", "systemd")


@pytest.mark.parametrize(
    "script", ["exit 1", "echo nonsense", 'echo \'{"ServerErrors": ["denied"], "Runtimes": null}\'; exit 1']
)
def test_docker_that_does_not_answer_is_no_error(script: str, tmp_path: Path) -> None:
    facts = look(trees.nvidia().program("docker", script + "\n"), tmp_path)
    assert (facts["state"], facts["container"]["source"]) == ("toolkit_missing", "files")


def test_docker_is_not_asked_without_a_card(tmp_path: Path) -> None:
    tree = trees.bmc().program("docker", f"touch {tmp_path}/asked\n")
    assert look(tree, tmp_path)["container"] is None
    assert not (tmp_path / "asked").exists()
