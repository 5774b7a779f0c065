# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Image, compose block and environment for each kind of machine, from the facts that the detection gives."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.module_utils._gpu_facts import detect
from ansible_collections.pantheon.ai.plugins.plugin_utils import _gpu

_spec = importlib.util.spec_from_file_location("gpu_trees", Path(__file__).resolve().parents[2] / "gpu_trees.py")
assert _spec and _spec.loader
trees: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(trees)


def look(tree: Any, path: Path) -> dict[str, Any]:
    root = tree.write(path / "machine")
    return detect(str(root), [str(root / "bin")], 5)


def reserve(**request: Any) -> dict[str, Any]:
    return {"deploy": {"resources": {"reservations": {"devices": [{**request, "capabilities": ["gpu"]}]}}}}


ALL = reserve(driver="nvidia", count="all")
CDI = reserve(driver="cdi", device_ids=["nvidia.com/gpu=all"])
MIG = reserve(driver="nvidia", device_ids=["MIG-00000001-0000-5000-8000-000000000001"])
KFD = ["/dev/kfd", "/dev/dri/renderD128"]
#: The group of the nodes is that of whoever runs the test.
GROUP = object()

BLOCKS: list[tuple[str, Any, str, str, dict[str, Any]]] = [
    ("A runtime", trees.nvidia_runtime, "nvidia", "plain", ALL),
    ("A wsl", trees.wsl, "nvidia", "plain", ALL),
    ("B cdi", trees.nvidia_cdi, "nvidia", "plain", CDI),
    ("C mig", trees.nvidia_mig, "nvidia", "plain", MIG),
    ("D gb10", trees.gb10, "nvidia", "plain", {"runtime": "nvidia"}),
    (
        "D jetson 6",
        trees.jetson,
        *("nvidia", "plain", {"runtime": "nvidia", "environment": {"JETSON_JETPACK": "6"}}),
    ),
    (
        "D jetson 5",
        lambda: trees.jetson(35),
        *("nvidia", "plain", {"runtime": "nvidia", "environment": {"JETSON_JETPACK": "5"}}),
    ),
    ("E rocm", trees.rx7900, "rocm", "rocm", {"devices": KFD, "group_add": GROUP}),
    ("E override", lambda: trees.rx7900(100301), "rocm", "rocm", {"devices": KFD, "group_add": GROUP}),
    ("E unified", trees.strix_halo, "rocm", "rocm", {"devices": KFD, "group_add": GROUP}),
    ("F kfd", lambda: trees.rx7900(kfd=False), "vulkan", "plain", {"devices": KFD[1:], "group_add": GROUP}),
    ("F old", lambda: trees.rx7900(80003), "vulkan", "plain", {"devices": KFD[1:], "group_add": GROUP}),
    ("F arc", trees.arc, "vulkan", "plain", {"devices": KFD[1:], "group_add": GROUP}),
    ("mixed", trees.mixed, "nvidia", "plain", ALL),
    ("toolkit", lambda: trees.nvidia().docker(), "none", "plain", {}),
    ("too old", lambda: trees.nvidia("535.1").docker(("nvidia",)), "none", "plain", {}),
    ("reboot", trees.mismatch, "none", "plain", {}),
    ("not loaded", trees.not_loaded, "none", "plain", {}),
    ("missing", lambda: trees.pci_nvidia(driver=None), "none", "plain", {}),
    ("error", trees.driver_error, "none", "plain", {}),
    ("nouveau", lambda: trees.pci_nvidia(driver="nouveau"), "none", "plain", {}),
    ("passthrough", lambda: trees.pci_nvidia(driver="vfio-pci"), "none", "plain", {}),
    ("igpu", trees.raphael, "none", "plain", {}),
    ("none", trees.bmc, "none", "plain", {}),
]


@pytest.mark.parametrize(
    ("tree", "kind", "variant", "block"), [row[1:] for row in BLOCKS], ids=[row[0] for row in BLOCKS]
)
def test_what_follows_from_the_facts(tree: Any, kind: str, variant: str, block: dict[str, Any], tmp_path: Path) -> None:
    facts = look(tree(), tmp_path)
    if block.get("group_add") is GROUP:
        block = {**block, "group_add": [(tmp_path / "machine/dev/dri/renderD128").stat().st_gid]}
    assert (_gpu.kind(facts), _gpu.image_variant(facts)) == (kind, variant)
    assert _gpu.device_block(facts) == block


def test_groups_are_numbers_and_named_once(tmp_path: Path) -> None:
    facts = look(trees.rx7900(), tmp_path)
    facts["devices"][0]["nodes"] = [{"path": "/dev/kfd", "gid": 993}, {"path": "/dev/dri/renderD128", "gid": 44}]
    assert _gpu.device_block(facts)["group_add"] == [44, 993]
    facts["devices"][0]["nodes"] = [{"path": path, "gid": 993} for path in KFD]
    assert _gpu.device_block(facts)["group_add"] == [993]
    assert not any(":" in path for path in _gpu.device_block(facts)["devices"]), "no :ro and no other suffix"


def test_partitions_need_all_their_render_nodes(tmp_path: Path) -> None:
    block = _gpu.device_block(look(trees.mi300x_cpx(), tmp_path))
    assert block["devices"] == ["/dev/kfd"] + [f"/dev/dri/renderD{number}" for number in range(128, 136)]


def test_integrated_gpu_beside_a_card_is_not_given_to_the_container(tmp_path: Path) -> None:
    facts = look(trees.raphael(trees.rx7900()), tmp_path)
    assert _gpu.device_block(facts)["devices"] == KFD


def test_integrated_gpu_on_request(tmp_path: Path) -> None:
    facts = look(trees.intel_igpu().node("dev/dri/renderD129"), tmp_path)
    assert _gpu.kind(facts, igpu=True) == "vulkan"
    assert _gpu.device_block(facts, igpu=True)["devices"] == ["/dev/dri/renderD129"]
    assert _gpu.environment(facts, igpu=True) == {"OLLAMA_IGPU_ENABLE": "1"}
    assert _gpu.environment(facts) == {}
    card = look(trees.nvidia_runtime(), tmp_path / "card")
    assert _gpu.environment(card, igpu=True) == {}, "no use on a machine with a card"


def test_override_is_the_owners_choice(tmp_path: Path) -> None:
    facts = look(trees.rx7900(100301), tmp_path)
    assert _gpu.environment(facts) == {}
    assert _gpu.environment(facts, hsa_override=True) == {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}


def test_jetson_gets_its_variable_unasked(tmp_path: Path) -> None:
    assert _gpu.environment(look(trees.jetson(), tmp_path)) == {"JETSON_JETPACK": "6"}


def test_vulkan_can_be_switched_off(tmp_path: Path) -> None:
    assert _gpu.environment(look(trees.arc(), tmp_path), vulkan=False) == {"OLLAMA_VULKAN": "0"}


def test_second_service_of_a_machine_with_two_vendors(tmp_path: Path) -> None:
    facts = look(trees.mixed(), tmp_path)
    assert _gpu.image_variant(facts, "amd") == "rocm"
    assert _gpu.device_block(facts, vendor="amd")["devices"] == ["/dev/kfd", "/dev/dri/renderD129"]
    assert _gpu.device_block(facts, vendor="nvidia") == ALL
    assert _gpu.device_block(facts, vendor="intel") == {}


def test_second_vendor_serves_where_the_first_cannot(tmp_path: Path) -> None:
    facts = look(trees.pci_nvidia(driver="vfio-pci", tree=trees.rx7900()), tmp_path)
    assert facts["vendor"] == "nvidia"
    assert _gpu.kind(facts) == "rocm"
    assert _gpu.device_block(facts)["devices"] == KFD


# -- picking cards ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [trees.UUID, trees.BUS])
def test_one_card_of_nvidia(name: str, tmp_path: Path) -> None:
    facts = look(trees.nvidia_runtime(), tmp_path)
    assert _gpu.device_block(facts, [name]) == reserve(driver="nvidia", device_ids=[trees.UUID])
    cdi = look(trees.nvidia_cdi(), tmp_path / "cdi")
    assert _gpu.device_block(cdi, [name]) == reserve(driver="cdi", device_ids=[f"nvidia.com/gpu={trees.UUID}"])


def test_one_instance_of_mig(tmp_path: Path) -> None:
    name = "MIG-00000000-0000-5000-8000-000000000000"
    facts = look(trees.nvidia_mig(), tmp_path)
    assert _gpu.device_block(facts, [name]) == reserve(driver="nvidia", device_ids=[name])


def test_whole_cards_are_used_beside_one_with_mig(tmp_path: Path) -> None:
    facts = look(trees.nvidia_mig(), tmp_path)
    facts["devices"].append(
        {**facts["devices"][0], "uuid": "GPU-whole", "bus_address": "x", "mig": False, "mig_devices": []}
    )
    assert _gpu.device_block(facts) == reserve(driver="nvidia", device_ids=["GPU-whole"])


def test_one_card_of_amd(tmp_path: Path) -> None:
    tree = trees.rx7900().amd("0000:0a:00.0", 0x744C, 110000, trees.RX7900, 64 * trees.GIB, render=129)
    facts = look(tree, tmp_path)
    assert _gpu.device_block(facts)["devices"] == [*KFD, "/dev/dri/renderD129"]
    assert _gpu.device_block(facts, ["0000:0a:00.0"])["devices"] == ["/dev/kfd", "/dev/dri/renderD129"]


@pytest.mark.parametrize("tree", [trees.nvidia_runtime, trees.rx7900, trees.bmc])
def test_card_that_is_not_there(tree: Any, tmp_path: Path) -> None:
    with pytest.raises(_gpu.GpuError, match="GPU-none: no"):
        _gpu.device_block(look(tree(), tmp_path), ["GPU-none"])


# -- what the owner declares ------------------------------------------------------------------------------------------


def test_declared_kind_stands_in_for_facts() -> None:
    nvidia, rocm = _gpu.facts_of("nvidia", None), _gpu.facts_of("rocm", None)
    assert (_gpu.kind(nvidia), _gpu.device_block(nvidia)) == ("nvidia", ALL)
    assert (_gpu.kind(rocm), _gpu.image_variant(rocm)) == ("rocm", "rocm")
    assert _gpu.device_block(rocm) == {"devices": ["/dev/kfd", "/dev/dri"]}
    for declared in ("none", "auto", None, ""):
        assert _gpu.device_block(_gpu.facts_of(declared, None)) == {}


@pytest.mark.parametrize("declared", ["auto", "nvidia", "rocm"])
def test_what_was_found_decides(declared: str, tmp_path: Path) -> None:
    facts = look(trees.rx7900(), tmp_path)
    assert _gpu.kind(_gpu.facts_of(declared, facts)) == "rocm"
    assert _gpu.kind(_gpu.facts_of(declared, look(trees.bmc(), tmp_path / "none"))) == "none"


def test_owner_who_wants_no_gpu_gets_none(tmp_path: Path) -> None:
    assert _gpu.kind(_gpu.facts_of("none", look(trees.rx7900(), tmp_path))) == "none"


def test_fact_that_hides_the_variable_of_the_same_name(tmp_path: Path) -> None:
    facts = look(trees.rx7900(), tmp_path)
    assert _gpu.kind(_gpu.facts_of(facts, None)) == "rocm"
