# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container needs for the GPUs of its machine: image, compose block, environment (private to this collection).

The input is what the module gpu_facts returns, or, where nobody has looked, what the owner declared in the inventory.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence

Facts = Mapping[str, t.Any]
Block = dict[str, t.Any]

#: What an owner may declare. With auto, only what was found counts.
DECLARED = ("none", "auto", "nvidia", "rocm")

_NOTHING: Facts = {
    "vendor": "none",
    "state": "none",
    "backend": "cpu",
    "driver_block": None,
    "env": {},
    "opt_in": [],
    "mig": 0,
    "unified": False,
    "integrated": False,
    "second": None,
    "devices": [],
}
_ASSUMED: dict[str, Facts] = {
    "nvidia": {**_NOTHING, "vendor": "nvidia", "state": "ready", "backend": "cuda", "driver_block": "nvidia"},
    "rocm": {
        **_NOTHING,
        "vendor": "amd",
        "state": "ready",
        "backend": "rocm",
        # Which render nodes there are, and whose they are, is not known.
        "devices": [
            {
                "vendor": "amd",
                "usable": True,
                "rocm": True,
                "nodes": [{"path": "/dev/kfd", "gid": None}, {"path": "/dev/dri", "gid": None}],
            }
        ],
    },
}


class GpuError(ValueError):
    """A choice that the machine does not have; the text says which ones it has."""


def assumed(declared: str) -> Facts:
    """Return facts for a machine at which nobody has looked: those that the owner's word stands for."""
    return _ASSUMED.get(declared, _NOTHING)


def facts_of(declared: t.Any, found: t.Any) -> Facts:
    """Return what counts for a machine.

    *declared* is the owner's pantheon_gpu, *found* the fact of the same name. What was found decides; an owner who
    declares none wants no GPU to be used. Where facts are injected as variables, the fact hides the owner's word.
    """
    if isinstance(declared, Mapping):
        found, declared = found or declared, "auto"
    declared = str(declared or "none")
    if declared == "none":
        return _NOTHING
    return found if isinstance(found, Mapping) else assumed(declared)


def view(facts: Facts, vendor: str | None = None) -> Facts:
    """Return the facts of one vendor.

    Without *vendor*, the first one; where that cannot be used and the second can, the second.
    """
    second = facts.get("second")
    if vendor is not None:
        if facts["vendor"] == vendor:
            return facts
        return {**second, "devices": facts["devices"]} if second and second["vendor"] == vendor else _NOTHING
    if facts["backend"] == "cpu" and second and second["backend"] != "cpu":
        return {**second, "devices": facts["devices"]}
    return facts


def kind(facts: Facts, vendor: str | None = None, igpu: bool = False) -> str:
    """Return none, nvidia, rocm or vulkan: what the platform computes with on this machine."""
    seen = view(facts, vendor)
    if igpu and seen["state"] == "igpu_only":
        return "vulkan"
    return {"cuda": "nvidia", "rocm": "rocm", "vulkan": "vulkan"}.get(seen["backend"], "none")


def image_variant(facts: Facts, vendor: str | None = None) -> str:
    """Return rocm or plain: which of Ollama's images fits."""
    return "rocm" if kind(facts, vendor) == "rocm" else "plain"


def device_block(facts: Facts, devices: Sequence[str] = (), vendor: str | None = None, igpu: bool = False) -> Block:
    """Return what a compose service needs to use the GPUs; empty where the processor computes.

    *devices* picks some of them by UUID or bus address, *vendor* the second service of a machine with two vendors, and
    *igpu* gives a GPU that is part of the processor to the container.
    """
    seen = view(facts, vendor)
    what = kind(facts, vendor, igpu)
    if what == "none":
        if devices:
            raise GpuError(f"{', '.join(devices)}: no GPU of this machine can be used (state {seen['state']})")
        return {}
    if what == "nvidia":
        return _nvidia(seen, devices)
    return _nodes(seen, what, devices, igpu)


def environment(
    facts: Facts,
    hsa_override: bool = False,
    igpu: bool = False,
    vulkan: bool = True,
    vendor: str | None = None,
) -> dict[str, str]:
    """Return the settings of Ollama that follow from the GPUs. Each option is the owner's choice.

    *hsa_override* lets cards run as a relative that ROCm was made for, *igpu* admits a GPU that is part of the processor,
    *vulkan* false keeps Ollama from Vulkan.
    """
    seen = view(facts, vendor)
    values = {name: value for name, value in seen["env"].items() if hsa_override or name not in seen["opt_in"]}
    if igpu and seen["state"] == "igpu_only":
        values["OLLAMA_IGPU_ENABLE"] = "1"
    if not vulkan:
        values["OLLAMA_VULKAN"] = "0"
    return values


def _nvidia(facts: Facts, devices: Sequence[str]) -> Block:
    cards = [card for card in facts["devices"] if card["vendor"] == "nvidia" and card["usable"]]
    if facts["unified"] and facts["driver_block"] == "nvidia":
        block: Block = {"runtime": "nvidia"}
        environment_of_jetson = {name: text for name, text in facts["env"].items() if name == "JETSON_JETPACK"}
        return {**block, "environment": environment_of_jetson} if environment_of_jetson else block
    whole = [card for card in cards if not card["mig"]]
    parts = [part for card in cards for part in card["mig_devices"]]
    if devices:
        chosen = [_nvidia_id(name, whole, parts) for name in devices]
    elif whole and len(whole) < len(cards):
        # Beside instances a program would see only one of them: the undivided cards serve more.
        chosen = [card["uuid"] for card in whole]
    elif parts:
        # A program uses one instance only: the largest.
        chosen = [max(parts, key=lambda part: _gigabytes(part["name"]))["uuid"]]
    else:
        chosen = []
    if facts["driver_block"] == "cdi":
        request: Block = {"driver": "cdi", "device_ids": [f"nvidia.com/gpu={name}" for name in chosen or ["all"]]}
    else:
        request = {"driver": "nvidia", **({"device_ids": chosen} if chosen else {"count": "all"})}
    request["capabilities"] = ["gpu"]
    return {"deploy": {"resources": {"reservations": {"devices": [request]}}}}


def _nvidia_id(name: str, cards: Iterable[Facts], parts: Iterable[Facts]) -> str:
    known = {part["uuid"]: part["uuid"] for part in parts}
    for card in cards:
        known |= {name: card["uuid"] for name in (card["uuid"], card["bus_address"]) if name and card["uuid"]}
    if name not in known:
        raise GpuError(f"{name}: no such GPU here; there are {', '.join(sorted(set(known.values()))) or 'none'}")
    return t.cast(str, known[name])


def _gigabytes(name: str) -> int:
    match = re.search(r"\.(\d+)gb", name)
    return int(match.group(1)) if match else 0


def _nodes(facts: Facts, what: str, devices: Sequence[str], igpu: bool) -> Block:
    if facts["state"] == "igpu_only":
        cards = [card for card in facts["devices"] if card["integrated"]]
    else:
        cards = [card for card in facts["devices"] if card["vendor"] == facts["vendor"] and card["usable"]]
    if what == "rocm":
        cards = [card for card in cards if card["rocm"]]
    if devices:
        known = {name: card for card in cards for name in (card.get("uuid"), card.get("bus_address")) if name}
        unknown = [name for name in devices if name not in known]
        if unknown:
            raise GpuError(f"{', '.join(unknown)}: no such GPU here; there are {', '.join(sorted(known)) or 'none'}")
        cards = [card for card in cards if any(known[name] is card for name in devices)]
    found: dict[str, int | None] = {}
    for card in cards:
        for node in card["nodes"]:
            # Vulkan needs no KFD.
            if what == "rocm" or node["path"] != "/dev/kfd":
                found[node["path"]] = node["gid"]
    block: Block = {}
    if found:
        block["devices"] = list(found)
        # By number: the image may lack the group, or give its name another one.
        groups = sorted({gid for gid in found.values() if gid is not None})
        if groups:
            block["group_add"] = groups
    return block
