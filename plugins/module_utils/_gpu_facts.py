# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which graphics cards a machine has, in which state they are, and what a container needs to use them.

Private to the collection. The evidence comes from ``_gpu_evidence``; here it is decided what it means.
"""

from __future__ import annotations

import re
import typing as t

from ansible_collections.pantheon.ai.plugins.module_utils._gpu_evidence import (
    AMD,
    INTEL,
    MICROSOFT,
    NVIDIA,
    Card,
    Commands,
    Container,
    Files,
    KfdNode,
    Platform,
    Smi,
    SmiRow,
    ask_smi,
    cards,
    container,
    gfx_name,
    kfd_nodes,
    module_on_disk,
    platform,
    proc_gpu,
    to_version,
)

MIB = 1 << 20
GIB = 1 << 30

IMAGE = "ollama/ollama"
ROCM_TAG = "rocm"

#: What the ROCm build of Ollama was made for.
ROCM_TARGETS = frozenset(
    ["gfx908", "gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1101", "gfx1102"]
    + ["gfx1150", "gfx1151", "gfx1200", "gfx1201"]
)
#: The one integrated GPU that Ollama uses unasked; it has the memory of the machine.
STRIX_HALO = "gfx1151"
#: The family of gfx1030: its others run as gfx1030.
OVERRIDABLE = re.compile(r"gfx103[0-9a-f]$")
OVERRIDE, OVERRIDE_VALUE = "HSA_OVERRIDE_GFX_VERSION", "10.3.0"

NOUVEAU = ("nouveau", "nova", "nova_core", "novacore")
PASSTHROUGH = "vfio-pci"

#: The oldest driver that Ollama works with: in general, and for cards below compute capability 7.0.
FLOOR, FLOOR_OLD_CARDS, OLD_CARDS, LOWEST = 550, 570, (7, 0), (5, 0)

#: Names of a few cards, for display only: nothing is decided by them.
NAMES = {
    (NVIDIA, 0x2204): "NVIDIA GeForce RTX 3090",
    (NVIDIA, 0x2684): "NVIDIA GeForce RTX 4090",
    (NVIDIA, 0x2B85): "NVIDIA GeForce RTX 5090",
    (NVIDIA, 0x2230): "NVIDIA RTX A6000",
    (NVIDIA, 0x2335): "NVIDIA H200",
    (NVIDIA, 0x233B): "NVIDIA H200 NVL",
    (NVIDIA, 0x2E12): "NVIDIA GB10",
    (AMD, 0x744C): "AMD Radeon RX 7900 XT/XTX/GRE",
    (AMD, 0x7448): "AMD Radeon PRO W7900",
    (AMD, 0x74A1): "AMD Instinct MI300X",
    (AMD, 0x740F): "AMD Instinct MI210",
    (AMD, 0x1586): "AMD Radeon 8060S (Strix Halo)",
    (AMD, 0x7550): "AMD Radeon RX 9070",
    (INTEL, 0x56A0): "Intel Arc A770",
    (INTEL, 0xE20B): "Intel Arc B580",
}
VENDORS = {NVIDIA: "nvidia", AMD: "amd", INTEL: "intel"}
LABELS = {NVIDIA: "NVIDIA", AMD: "AMD", INTEL: "Intel"}

Facts = t.Dict[str, t.Any]


def detect(root: str = "/", command_path: t.Optional[t.Sequence[str]] = None, timeout: float = 15) -> Facts:
    """Return the facts of the machine whose files lie below *root*."""
    files = Files(root)
    commands = Commands(files, command_path, timeout)
    return Detection(files, commands).facts()


class Detection:
    """Looks at a machine once, and says what it found."""

    def __init__(self, files: Files, commands: Commands) -> None:
        self.files, self.commands = files, commands
        self.platform: Platform = platform(files)
        self.cards: t.List[Card] = [card for card in cards(files) if card.vendor in VENDORS]
        self.devices: t.List[Facts] = []
        self._container: t.Optional[Container] = None

    @property
    def container(self) -> Container:
        """What containers can use; Docker is asked on first use only, as the answer takes a while."""
        if self._container is None:
            self._container = container(self.files, self.commands)
        return self._container

    def facts(self) -> Facts:
        """Return everything under its final name."""
        nvidia = self._nvidia()
        radeons = self._radeons()
        arcs = [card for card in self.cards if card.vendor == INTEL]
        discrete = [radeon for radeon in radeons if not radeon.integrated]
        second: t.Optional[Facts] = None
        if nvidia is not None:
            result = nvidia
            if discrete:
                second = self._amd(discrete)
                result["count"] += second["count"]
                result["fix"] = _sentences(
                    result["fix"], "Two Ollama services are possible here: one for the NVIDIA, one for the AMD cards."
                )
            self._list_amd(radeons, discrete if second else [])
            self._list_intel(arcs, False)
        else:
            usable = [radeon for radeon in radeons if not radeon.integrated or radeon.arch == STRIX_HALO]
            separate = [card for card in arcs if not _on_root_bus(card)]
            if usable:
                result = self._amd(usable)
                self._list_amd(radeons, usable)
                self._list_intel(arcs, False)
            elif separate:
                result = self._intel(separate)
                self._list_amd(radeons, [])
                self._list_intel(arcs, result["state"] == "ready")
            else:
                result = _result("none", "igpu_only" if radeons or arcs else "none", integrated=bool(radeons or arcs))
                if result["integrated"]:
                    result["fix"] = (
                        "Only a GPU that shares the memory of the processor: "
                        "opt in with `OLLAMA_IGPU_ENABLE=1` to let Ollama use it."
                    )
                self._list_amd(radeons, [])
                self._list_intel(arcs, False)
        result["also"] = [second["vendor"]] if second else []
        result["second"] = second
        result["devices"] = self.devices
        result["wsl"] = self.platform.wsl
        result["secure_boot"] = self.platform.secure_boot
        result["container"] = self.container._asdict() if nvidia is not None or radeons else None
        return result

    # -- NVIDIA

    def _nvidia(self) -> t.Optional[Facts]:
        found = [card for card in self.cards if card.vendor == NVIDIA]
        if not found and not self.platform.wsl:
            return self._jetson() if self.platform.jetson else None
        smi = ask_smi(self.commands)
        result = self._nvidia_rows(smi) if smi.rows else self._nvidia_failure(found, smi)
        result["driver_wanted"] = None if self.platform.wsl else _driver_wanted(found, smi.rows)
        self._list_nvidia(found, smi, result["state"] == "ready")
        return result

    def _nvidia_rows(self, smi: Smi) -> Facts:
        rows = smi.rows
        version = rows[0].driver or self.files.read("/sys/module/nvidia/version")
        major = to_version(version)[:1]
        capabilities = sorted(row.capability for row in rows if row.capability)
        weakest = capabilities[0] if capabilities else ()
        floor = FLOOR_OLD_CARDS if weakest and weakest < OLD_CARDS else FLOOR
        result = _result(
            "nvidia",
            "ready",
            count=len(rows),
            vram_mib=self._nvidia_memory(rows),
            arch="sm_%s" % "".join(str(part) for part in weakest[:2]) if weakest else None,
            driver_version=version,
            mig=len(smi.mig),
            unified=self.platform.gb10 or any(row.shared for row in rows),
        )
        block = "nvidia" if self.container.nvidia_runtime else "cdi" if self.container.nvidia_cdi else None
        if major and major < (floor,):
            result["state"] = "driver_too_old"
            result["fix"] = (
                "Upgrade the NVIDIA driver to 550 or newer (570 or newer for compute capability below 7.0); "
                "it is %s." % version
            )
        elif block is None:
            result.update(state="toolkit_missing", fix=TOOLKIT_MISSING)
        elif all(row.mig for row in rows) and not smi.mig:
            # None of the states stands for this; the container would start and find nothing.
            result.update(
                state="driver_error",
                vram_mib=None,
                fix="MIG is on and no card is divided: make instances with `nvidia-smi mig -cgi <profile> -C`, "
                "or switch it off with `nvidia-smi -mig 0`.",
            )
        else:
            result.update(backend="cuda", driver_block=block)
            if smi.mig:
                result["fix"] = "Pick one MIG UUID: a program uses one instance only (`nvidia-smi -L` lists them)."
        if weakest and weakest < LOWEST:
            result["fix"] = _sentences(
                result["fix"],
                "Ollama does not support compute capability below 5.0; the weakest card has %d.%d."
                % (weakest + (0,))[:2],
            )
        if self.platform.wsl:
            result["fix"] = _sentences(result["fix"], WSL)
        return result

    def _nvidia_memory(self, rows: t.Sequence[SmiRow]) -> t.Optional[int]:
        known = [row.memory for row in rows if row.memory is not None]
        # Cards without memory of their own share that of the machine, which counts once.
        if any(row.shared for row in rows) and self.platform.memory_mib is not None:
            known.append(self.platform.memory_mib)
        return sum(known) if known else None

    def _nvidia_failure(self, found: t.Sequence[Card], smi: Smi) -> Facts:
        said = smi.answer.text if smi.answer else ""
        drivers = [(card.driver or "").lower().replace("-", "_") for card in found]
        loaded = self.files.exists("/sys/module/nvidia")
        count = len(found) or self._wsl_adapters()
        result = _result("nvidia", "driver_missing", count=count)
        if loaded:
            result["driver_version"] = self.files.read("/sys/module/nvidia/version") or None
        if "driver/library version mismatch" in said.lower():
            result.update(
                state="reboot_required",
                fix="Kernel module and user-space library of the NVIDIA driver differ: reboot.",
            )
        elif found and all(card.driver == PASSTHROUGH for card in found):
            result.update(state="passthrough", fix=PASSED_THROUGH)
        elif any(driver in NOUVEAU for driver in drivers):
            result.update(state="nouveau", fix="Install the NVIDIA driver (it replaces nouveau) and reboot.")
        elif loaded:
            result.update(state="driver_error", fix=_smi_failure(smi))
        elif module_on_disk(self.files, self.platform.release):
            result.update(
                state="driver_not_loaded",
                fix="Secure Boot is on and refuses a module that is not signed with a known key: enroll the MOK key "
                "(`mokutil --import`, then confirm it at the next boot)."
                if self.platform.secure_boot
                else "The NVIDIA module is installed and not loaded: load the module (`modprobe nvidia`).",
            )
        elif self.platform.wsl:
            result["fix"] = _sentences(
                "Install the vendor's driver in Windows, if that has an NVIDIA card, then run `wsl --shutdown`.",
                _smi_failure(smi) if smi.answer else "",
            )
        else:
            result["fix"] = "Install the vendor's driver: no NVIDIA driver is on this machine."
        if self.platform.wsl:
            result["fix"] = _sentences(result["fix"], WSL)
        return result

    def _wsl_adapters(self) -> int:
        base = "/sys/bus/pci/devices"
        names = self.files.names(base)
        return sum(self.files.number("%s/%s/vendor" % (base, name)) == MICROSOFT for name in names) or 1

    def _jetson(self) -> Facts:
        ready = self.container.nvidia_runtime
        memory = self.platform.memory_mib
        result = _result("nvidia", "ready" if ready else "toolkit_missing", count=1, vram_mib=memory, unified=True)
        if ready:
            result.update(backend="cuda", driver_block="nvidia")
        else:
            result["fix"] = TOOLKIT_MISSING
        if self.platform.jetpack:
            result["env"] = {"JETSON_JETPACK": self.platform.jetpack}
        name = self.platform.model or "NVIDIA Jetson"
        self.devices.append(_device("nvidia", name=name, vram_mib=memory, driver="nvgpu", usable=ready))
        return result

    def _list_nvidia(self, found: t.Sequence[Card], smi: Smi, ready: bool) -> None:
        rows = {row.bus: row for row in smi.rows}
        by_bus = {card.bus: card for card in found}
        for bus in sorted(set(rows) | set(by_bus)):
            row, card, said = rows.get(bus), by_bus.get(bus), proc_gpu(self.files, bus)
            parts = [part for part in smi.mig if row and part.card == row.uuid]
            shared = bool(row and row.shared)
            self.devices.append(
                _device(
                    "nvidia",
                    name=(row.name if row else "") or said.get("Model") or (_name(card) if card else "NVIDIA"),
                    pci_id=_pci_id(card) if card else None,
                    bus_address=bus,
                    driver=card.driver if card else None,
                    vram_mib=self.platform.memory_mib if shared else row.memory if row else None,
                    arch="sm_%s" % "".join(map(str, row.capability[:2])) if row and row.capability else None,
                    uuid=(row.uuid if row else "") or said.get("GPU UUID"),
                    index=row.number if row else None,
                    mig=bool(row and row.mig),
                    mig_devices=[{"name": part.name, "uuid": part.uuid} for part in parts],
                    usable=ready and row is not None,
                )
            )

    # -- AMD

    def _radeons(self) -> t.List[Radeon]:
        found: t.Dict[str, Radeon] = {}
        nodes = kfd_nodes(self.files) if any(card.vendor == AMD for card in self.cards) else []
        for card in self.cards:
            if card.vendor == AMD and card.slot not in found:
                found[card.slot] = Radeon(self.files, card, [node for node in nodes if node.slot == card.slot])
        return list(found.values())

    def _amd(self, radeons: t.Sequence[Radeon]) -> Facts:
        result = _result("amd", "driver_missing", count=len(radeons))
        result["driver_version"] = self.files.read("/sys/module/amdgpu/version") or None
        active = [radeon for radeon in radeons if radeon.card.driver not in (None, PASSTHROUGH)]
        targets = [radeon for radeon in active if radeon.arch]
        if all(radeon.card.driver == PASSTHROUGH for radeon in radeons):
            result.update(state="passthrough", fix=PASSED_THROUGH)
            return result
        if not active:
            result["fix"] = "Install the vendor's driver: no driver (amdgpu) holds the AMD card."
            return result
        if not targets or not self.files.exists("/dev/kfd"):
            result.update(
                state="kfd_missing",
                backend="vulkan",
                fix="The kernel or ROCm driver is without KFD, or a container mask hides it; Vulkan is used meanwhile.",
            )
            chosen: t.Sequence[Radeon] = active
        else:
            supported = [radeon for radeon in targets if radeon.arch in ROCM_TARGETS]
            similar = [radeon for radeon in targets if radeon not in supported and radeon.overridable]
            # A card whose node is masked belongs to somebody else.
            chosen = [radeon for radeon in targets if radeon in supported or radeon in similar] or targets
            if supported or similar:
                result.update(state="ready", backend="rocm", ollama_image="%s:%s" % (IMAGE, ROCM_TAG))
                result["ollama_tag"] = ROCM_TAG
                if similar:
                    result["env"] = _override(similar, alone=not supported)
                    result["opt_in"] = sorted(result["env"])
                    result["fix"] = "ROCm was not made for %s: opt in to %s." % (
                        ", ".join(sorted({str(radeon.arch) for radeon in similar})),
                        " and ".join("`%s=%s`" % pair for pair in sorted(result["env"].items())),
                    )
            else:
                result.update(
                    state="arch_unsupported",
                    backend="vulkan",
                    fix="%s is not supported by ROCm: Vulkan or CPU is used."
                    % ", ".join(sorted({str(radeon.arch) for radeon in targets})),
                )
        memory = [radeon.memory_mib for radeon in chosen if radeon.memory_mib is not None]
        result.update(
            count=len(chosen),
            vram_mib=sum(memory) if memory else None,
            arch=next((radeon.arch for radeon in chosen if radeon.arch), None),
            unified=all(radeon.arch == STRIX_HALO for radeon in chosen),
            integrated=all(radeon.arch == STRIX_HALO for radeon in chosen),
        )
        return result

    def _list_amd(self, radeons: t.Sequence[Radeon], usable: t.Sequence[Radeon]) -> None:
        kfd = self.files.exists("/dev/kfd")
        for radeon in radeons:
            nodes = [self._node("/dev/kfd")] if kfd and radeon.arch else []
            self.devices.append(
                _device(
                    "amd",
                    name=_name(radeon.card),
                    pci_id=_pci_id(radeon.card),
                    bus_address=radeon.card.bus,
                    driver=radeon.card.driver,
                    vram_mib=radeon.memory_mib,
                    arch=radeon.arch,
                    uuid="GPU-%016x" % radeon.unique if radeon.unique else None,
                    integrated=radeon.integrated or radeon.arch == STRIX_HALO,
                    usable=radeon in usable and radeon.card.driver not in (None, PASSTHROUGH),
                    rocm=kfd and (radeon.arch in ROCM_TARGETS or radeon.overridable),
                    nodes=nodes + [self._node("/dev/dri/" + name) for name in radeon.render],
                )
            )

    # -- Intel

    def _intel(self, found: t.Sequence[Card]) -> Facts:
        ready = [card for card in found if card.driver in ("i915", "xe")]
        if ready:
            return _result("intel", "ready", count=len(ready), backend="vulkan")
        result = _result("intel", "driver_missing", count=len(found))
        result["fix"] = "Install the vendor's driver: a kernel with xe or i915 that knows this card."
        if all(card.driver == PASSTHROUGH for card in found):
            result.update(state="passthrough", fix=PASSED_THROUGH)
        return result

    def _list_intel(self, found: t.Sequence[Card], ready: bool) -> None:
        for card in found:
            integrated = _on_root_bus(card)
            self.devices.append(
                _device(
                    "intel",
                    name=_name(card),
                    pci_id=_pci_id(card),
                    bus_address=card.bus,
                    driver=card.driver,
                    integrated=integrated,
                    usable=ready and not integrated and card.driver in ("i915", "xe"),
                    nodes=[self._node("/dev/dri/" + name) for name in card.render],
                )
            )

    def _node(self, path: str) -> Facts:
        """Describe a device node. The image may lack the group, so only its number works in a container."""
        return {"path": path, "gid": self.files.gid(path)}


class Radeon:
    """A card of AMD with what KFD says about it."""

    def __init__(self, files: Files, card: Card, nodes: t.Sequence[KfdNode]) -> None:
        self.card, self.nodes = card, nodes
        self.arch: t.Optional[str] = gfx_name(nodes[0].target) if nodes else None
        self.unique = next((node.unique for node in nodes if node.unique), 0)
        folder = "/sys/bus/pci/devices/" + card.bus
        own = files.number(folder + "/mem_info_vram_total")
        if own is None:
            own = sum(node.memory for node in nodes) or None
        shared = files.number(folder + "/mem_info_gtt_total") or 0
        separate = any(files.exists("%s/%s" % (folder, name)) for name in ("mem_info_vram_vendor", "board_info"))
        #: Ollama's rule.
        self.integrated = (
            not separate and own is not None and 0 < own <= 4 * GIB and shared >= 8 * GIB and shared >= 4 * own
        )
        total = own
        if self.arch == STRIX_HALO:
            pages = files.number("/sys/module/ttm/parameters/pages_limit")
            if pages and pages > 0:
                shared = min(shared, pages * 4096)
            total = (own or 0) + shared or None
        self.memory_mib = None if total is None else total // MIB
        minors = ["renderD%d" % node.render for node in nodes if node.render]
        self.render: t.List[str] = sorted(set(minors) | set(card.render), key=lambda name: (len(name), name))

    @property
    def overridable(self) -> bool:
        """Whether it runs as another card of its family."""
        return (
            bool(self.arch and OVERRIDABLE.match(self.arch)) and self.arch not in ROCM_TARGETS and not self.integrated
        )


TOOLKIT_MISSING = (
    "Install nvidia-container-toolkit, then run `nvidia-ctk runtime configure --runtime=docker` and restart Docker."
)
PASSED_THROUGH = "The card is bound to vfio-pci: it belongs to a virtual machine."
WSL = "Do not install a driver in the guest: WSL2 uses the driver of Windows."


def _result(
    vendor: str,
    state: str,
    count: int = 0,
    backend: str = "cpu",
    vram_mib: t.Optional[int] = None,
    arch: t.Optional[str] = None,
    driver_version: t.Optional[str] = None,
    mig: int = 0,
    unified: bool = False,
    integrated: bool = False,
) -> Facts:
    return {
        "vendor": vendor,
        "state": state,
        "backend": backend,
        "count": count,
        "vram_mib": vram_mib,
        "arch": arch,
        "driver_version": driver_version,
        "driver_block": None,
        "driver_wanted": None,
        "ollama_image": IMAGE,
        "ollama_tag": "",
        "env": {},
        "opt_in": [],
        "mig": mig,
        "unified": unified,
        "integrated": integrated,
        "fix": "",
    }


def _device(vendor: str, **values: t.Any) -> Facts:
    device: Facts = {
        "vendor": vendor,
        "name": "",
        "pci_id": None,
        "bus_address": None,
        "driver": None,
        "vram_mib": None,
        "arch": None,
        "uuid": None,
        "index": None,
        "mig": False,
        "mig_devices": [],
        "integrated": False,
        "usable": False,
        "rocm": False,
        "nodes": [],
    }
    device.update(values)
    return device


def _sentences(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _pci_id(card: Card) -> str:
    return "%04x:%04x" % (card.vendor, card.device)


def _name(card: Card) -> str:
    return NAMES.get((card.vendor, card.device)) or "%s %s" % (LABELS[card.vendor], _pci_id(card))


def _on_root_bus(card: Card) -> bool:
    return card.bus.startswith("0000:00:")


def _smi_failure(smi: Smi) -> str:
    if smi.answer is None:
        return (
            "The NVIDIA module is loaded, and there is no nvidia-smi: install the driver's nvidia-utils or nvidia-smi."
        )
    said = " ".join(smi.answer.text.split())[:1000].rstrip(".")
    if smi.answer.timed_out:
        return "nvidia-smi gave no answer in time: look at `dmesg` for the card, and reboot if it hangs.%s" % (
            " It had said: %s." % said if said else ""
        )
    return "nvidia-smi failed with status %s and said: %s." % (smi.answer.status, said or "nothing")


def _override(similar: t.Sequence[Radeon], alone: bool) -> t.Dict[str, str]:
    """Return the variable for cards that run as another one; with a number where others must not get it."""
    if alone:
        return {OVERRIDE: OVERRIDE_VALUE}
    return {"%s_%d" % (OVERRIDE, node.order): OVERRIDE_VALUE for radeon in similar for node in radeon.nodes}


def _driver_wanted(found: t.Sequence[Card], rows: t.Sequence[SmiRow]) -> t.Optional[Facts]:
    """Return which NVIDIA driver suits the cards, from their ids, which also tell it when no driver is there.

    Ids grow with the generations: Volta from 1d80, Turing from 1e00, Blackwell from 2900.
    """
    if not found:
        return None
    ids = [card.device for card in found]
    capabilities = [row.capability for row in rows if row.capability]
    old = any(capability < OLD_CARDS for capability in capabilities) if capabilities else min(ids) < 0x1D80
    modules = "proprietary" if min(ids) < 0x1E00 else "open" if max(ids) >= 0x2900 else "any"
    return {"minimum": FLOOR_OLD_CARDS if old or max(ids) >= 0x2900 else FLOOR, "modules": modules}
