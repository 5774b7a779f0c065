# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers of the lab: ten machines, the registry, and the network between them."""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import disks, engine, process
from .hashing import digest
from .preflight import check_networks
from .process import LabError
from .settings import (
    BRIDGE,
    BUILDER_VOLUMES,
    GATEWAY,
    LABEL,
    LABEL_ROLE,
    LABEL_SPEC,
    NETWORK,
    PREFIX,
    REGISTRY_ADDRESS,
    REGISTRY_CONTAINER,
    SUBNET,
    Paths,
)

Tick = Callable[[str], None]

BOOT_SECONDS = 180.0
_MACHINE, _REGISTRY = "machine", "registry"


@dataclass(frozen=True)
class Spec:
    """A container as it should be."""

    name: str
    hostname: str
    address: str
    role: str
    image: str
    options: tuple[str, ...]

    @property
    def arguments(self) -> tuple[str, ...]:
        """The options of `docker run`, without the label that holds their hash."""
        return (
            f"--name={self.name}",
            f"--hostname={self.hostname}",
            f"--network={NETWORK}",
            f"--ip={self.address}",
            f"--label={LABEL}=true",
            f"--label={LABEL_ROLE}={self.role}",
            # A reboot from inside ends the container; this is what brings it back. `docker stop` keeps it off.
            "--restart=unless-stopped",
            "--stop-timeout=30",
            "--cgroupns=private",
            "--tmpfs=/run",
            "--tmpfs=/run/lock",
            "--tmpfs=/tmp:exec",
            *self.options,
        )

    @property
    def fingerprint(self) -> str:
        """A hash over everything that a container cannot change while it lives."""
        return digest(self.arguments, self.image)


def machine_specs(
    addresses: Mapping[str, str],
    image: str,
    rights: Sequence[str],
    resolver: str | None = None,
    second_disks: Mapping[str, str] | None = None,
) -> list[Spec]:
    """Return the machines of the inventory as containers; *resolver* is the router, where there is one.

    *second_disks* are devices of this computer, by machine.
    """
    dns = (f"--dns={resolver}",) if resolver else ()
    return [
        Spec(
            f"{PREFIX}-{name}",
            name,
            address,
            _MACHINE,
            image,
            (*rights, *devices(), *disks.options((second_disks or {}).get(name)), *dns),
        )
        for name, address in addresses.items()
    ]


def registry_spec(image: str, rights: Sequence[str], dns: str | None) -> Spec:
    """Return the registry and builder as a container; its caches are volumes that outlive it."""
    volumes = tuple(f"--volume={name}:{place}" for name, place in BUILDER_VOLUMES.items())
    # Builds inside see the resolver of the machine; Docker's own, 127.0.0.11, answers only in the machine itself.
    resolver = (f"--env=LAB_DNS={dns}",) if dns else ()
    options = (*rights, *devices(), *volumes, *resolver)
    return Spec(REGISTRY_CONTAINER, "registry", REGISTRY_ADDRESS, _REGISTRY, image, options)


def devices() -> tuple[str, ...]:
    """Return the options for the devices that machines use and this computer has."""
    return tuple(
        f"--device={device}" for device in ("/dev/fuse", "/dev/net/tun", "/dev/autofs") if Path(device).exists()
    )


def upstream_dns(
    files: Sequence[Path] = (Path("/run/systemd/resolve/resolv.conf"), Path("/etc/resolv.conf")),
) -> str | None:
    """Return the first name server of this computer that a container can reach."""
    for file in files:
        if not file.is_file():
            continue
        for line in file.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver" and not words[1].startswith("127.") and ":" not in words[1]:
                return words[1]
    return None


def decide(spec: Spec, found: Mapping[str, Any] | None) -> str:
    """Return what a container needs: create, recreate, start, unpause or keep.

    A container that was made but never started is the half-made work of a run that was killed: it is made again.
    """
    if found is None:
        return "create"
    state = found["State"]["Status"]
    labels = found["Config"].get("Labels") or {}
    if labels.get(LABEL_SPEC) != spec.fingerprint or state in ("created", "dead", "removing"):
        return "recreate"
    return {"exited": "start", "paused": "unpause"}.get(state, "keep")


def ensure_network() -> str:
    """Make the network of the lab; return what was done."""
    names = engine.tell("network", "ls", "--quiet", "--no-trunc").split()
    networks = engine.inspect("network", names)
    problems = check_networks(networks)
    if problems:
        raise LabError(" ".join(problem.what for problem in problems), " ".join(problem.remedy for problem in problems))
    if any(network["Name"] == NETWORK for network in networks):
        return "kept"
    engine.tell(
        "network", "create", "--driver", "bridge", "--subnet", str(SUBNET), "--gateway", GATEWAY,
        "--opt", f"com.docker.network.bridge.name={BRIDGE}", "--label", f"{LABEL}=true", NETWORK,
    )  # fmt: skip
    return "made"


def ensure_volumes() -> None:
    """Make the volumes of the builder, with the lab's label, before a container would make them without one."""
    for name in BUILDER_VOLUMES:
        if not engine.inspect("volume", [name]):
            engine.tell("volume", "create", "--label", f"{LABEL}=true", name)


def ensure(spec: Spec, found: Mapping[str, Any] | None) -> str:
    """Bring one container into its state; return what was done."""
    action = decide(spec, found)
    if action in ("start", "unpause"):
        engine.tell(action, spec.name)
    elif action in ("create", "recreate"):
        if found is not None:
            owner = (found["Config"].get("Labels") or {}).get(LABEL)
            if owner != "true":
                raise LabError(
                    f"The container {spec.name} is not the lab's",
                    f"Remove it if nobody needs it: docker rm {spec.name}",
                )
            remove([spec.name])
        label = f"--label={LABEL_SPEC}={spec.fingerprint}"
        engine.tell("run", "--detach", *spec.arguments, label, spec.image, timeout=180)
    return action


def address_of(container: Mapping[str, Any]) -> str | None:
    """Return the address that a container was given in the lab's network, also while it is off."""
    network = container["NetworkSettings"]["Networks"].get(NETWORK) or {}
    return (network.get("IPAMConfig") or {}).get("IPv4Address") or network.get("IPAddress")


def remove(names: Iterable[str]) -> None:
    """Remove containers with their anonymous volumes."""
    names = list(names)
    if names:
        engine.tell("container", "rm", "--force", "--volumes", *names, timeout=300)


def ensure_all(specs: Sequence[Spec], tick: Tick) -> dict[str, str]:
    """Bring all machines up side by side and take away those that the inventory no longer has."""
    found = {item["Name"].lstrip("/"): item for item in engine.inspect("container", engine.ours("container"))}
    wanted = {spec.name for spec in specs}
    stale = [
        name
        for name, item in found.items()
        if (item["Config"].get("Labels") or {}).get(LABEL_ROLE) == _MACHINE and name not in wanted
    ]
    remove(stale)
    # A container of somebody else with one of our names is found by its name.
    for item in engine.inspect("container", [spec.name for spec in specs if spec.name not in found]):
        found[item["Name"].lstrip("/")] = item
    actions: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        futures = {spec.name: pool.submit(ensure, spec, found.get(spec.name)) for spec in specs}
        for name, future in futures.items():
            actions[name] = future.result()
            tick(f"{len(actions)} of {len(specs)} machines: {name} {actions[name]}")
    return actions


def boot_state(name: str) -> str:
    """Return what systemd in a machine says about itself; `offline` while it is not there yet."""
    result = engine.ask("exec", name, "systemctl", "is-system-running", timeout=20)
    return (result.stdout.strip() or "offline").splitlines()[0]


def wait_for_boot(names: Sequence[str], tick: Tick, timeout: float = BOOT_SECONDS) -> dict[str, list[str]]:
    """Wait until every machine has booted; return the failed units of those that are degraded."""
    deadline = time.monotonic() + timeout
    waiting, degraded = list(names), {}
    with ThreadPoolExecutor(4) as pool:
        while waiting:
            states = dict(zip(waiting, pool.map(boot_state, waiting), strict=True))
            for name, state in states.items():
                if state == "degraded":
                    degraded[name] = failed_units(name)
            waiting = [name for name, state in states.items() if state not in ("running", "degraded")]
            tick(f"{len(names) - len(waiting)} of {len(names)} machines have booted")
            if waiting and time.monotonic() > deadline:
                told = ", ".join(f"{name} ({states[name]})" for name in waiting)
                raise LabError(
                    f"These machines did not boot within {timeout:.0f} seconds: {told}",
                    f"`docker logs {waiting[0]}` and `docker exec {waiting[0]} systemctl list-jobs` say why.",
                )
            if waiting:
                time.sleep(0.4)
    return degraded


def failed_units(name: str) -> list[str]:
    """Return the failed units of a machine."""
    listing = engine.ask("exec", name, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
    return [line.split()[0] for line in listing.stdout.splitlines() if line.strip()]


def try_again(name: str, units: Sequence[str]) -> list[str]:
    """Start the failed units of a machine once more; return those that fail again.

    On a busy computer a unit may run into its time limit at the first boot. Twice is a fault.
    """
    engine.ask("exec", name, "systemctl", "reset-failed", *units)
    engine.ask("exec", name, "systemctl", "start", *units, timeout=120)
    return failed_units(name)


_ADMIT = """
set -eu
install -d -m 0700 /root/.ssh
cat > /root/.ssh/.authorized_keys.new
if ! cmp -s /root/.ssh/.authorized_keys.new /root/.ssh/authorized_keys; then
  chmod 0600 /root/.ssh/.authorized_keys.new
  mv /root/.ssh/.authorized_keys.new /root/.ssh/authorized_keys
fi
rm -f /root/.ssh/.authorized_keys.new
cat /etc/ssh/ssh_host_ed25519_key.pub
"""


def admit(names: Sequence[str], public_key: str) -> dict[str, str]:
    """Copy the lab's key into the machines and return their host keys.

    Copied, not mounted: sshd refuses a file whose owner is the person's own account. The host keys come through Docker,
    not over the network, so the first connection already knows whom it talks to.
    """
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(
            lambda name: engine.tell("exec", "--interactive", name, "sh", "-c", _ADMIT, stdin=public_key), names
        )
        return {name: " ".join(answer.split()[:2]) for name, answer in zip(names, answers, strict=True)}


def replay_gpus(paths: Paths, names: Sequence[str]) -> None:
    """Write what the graphics cards of these machines would show into them (lab/gpu/README.md)."""
    script = (paths.lab / "gpu" / "replay.py").read_text(encoding="utf-8")

    def write(name: str) -> None:
        container = f"{PREFIX}-{name}"
        engine.tell("exec", "--interactive", container, "python3", "-", name, "/opt/gpu-replay", stdin=script)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, names))


def known_hosts(addresses: Mapping[str, str], keys: Mapping[str, str]) -> str:
    """Return a known_hosts file for the machines, by address."""
    return "".join(f"{address} {keys[f'{PREFIX}-{name}']}\n" for name, address in addresses.items())


def ensure_key(paths: Paths) -> str:
    """Make the lab's ssh key once; return its public half."""
    public = paths.key.with_name(paths.key.name + ".pub")
    if not (paths.key.is_file() and public.is_file()):
        paths.key.parent.mkdir(parents=True, exist_ok=True)
        draft = paths.key.with_name(".key-draft")
        for leftover in (draft, draft.with_name(draft.name + ".pub")):
            leftover.unlink(missing_ok=True)
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "pantheon-lab", "-f", str(draft)]
        process.output(command)
        # The public half first: a private key without it would be taken for a half-made pair.
        draft.with_name(draft.name + ".pub").replace(public)
        draft.replace(paths.key)
    return public.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Inventory:
    """What the driver needs to know of the inventory of the lab."""

    addresses: dict[str, str]
    """Address of each machine by name."""
    admin_email: str
    edge: str | None
    """Address of the machine that browsers talk to."""
    appliances: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name and address of the router and the NAS, by their group; those that the inventory has."""
    gpus: list[str] = field(default_factory=list)
    """Machines whose graphics cards are played back."""
    disks: dict[str, int] = field(default_factory=dict)
    """Megabytes of a second disk, of the machines that have one."""


def read_inventory(paths: Paths) -> Inventory:
    """Read the machines of the lab and their addresses."""
    listing = process.output(
        [paths.program("ansible-inventory"), "-i", str(paths.inventory), "--list"],
        timeout=120,
        remedy=f"Correct the inventory in {paths.inventory.relative_to(paths.root)}.",
    )
    document = json.loads(listing)
    variables = document["_meta"]["hostvars"]
    addresses = {name: variables[name].get("ansible_host", "") for name in document["machines"]["hosts"]}
    appliances = {}
    for group in ("opnsense", "truenas"):
        for name in document.get(group, {}).get("hosts", [])[:1]:
            appliances[group] = (name, str(variables[name].get("ansible_host", "")))
    every = addresses | dict(appliances.values())
    outside = [name for name, address in every.items() if not is_lab_address(address)]
    if outside:
        raise LabError(
            f"inventories/lab: ansible_host of {', '.join(outside)} is no address in {SUBNET}",
            "Give each machine of the lab an address of its own there.",
        )
    edges = document.get("edge_proxy", {}).get("hosts", [])
    first = next(iter(addresses))
    return Inventory(
        addresses,
        str(variables[first].get("pantheon_admin_email", "")),
        addresses.get(edges[0]) if edges else None,
        appliances,
        [name for name in addresses if variables[name].get("pantheon_gpu") not in (None, "none")],
        {name: int(size) for name in addresses if (size := variables[name].get("pantheon_lab_disk_mb"))},
    )


def is_lab_address(text: str) -> bool:
    """Return whether the text is an address in the lab's network."""
    try:
        return ipaddress.IPv4Address(text) in SUBNET
    except ipaddress.AddressValueError:
        return False
