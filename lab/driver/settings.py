# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names, addresses and paths of the lab, in one place."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

LABEL = "ai.pantheon.lab"
"""Containers, networks and volumes of the lab carry it with the value true; `down` removes by it."""
LABEL_IMAGE = "ai.pantheon.lab.image"
"""Images of the lab carry it. A label of its own, because containers inherit the labels of their image."""
LABEL_ROLE = "ai.pantheon.lab.role"
LABEL_SPEC = "ai.pantheon.lab.spec"
LABEL_HASH = "ai.pantheon.lab.hash"

PREFIX = "pantheon-lab"
NETWORK = "pantheon-lab"
BRIDGE = "plab0"
SUBNET = ipaddress.IPv4Network("10.77.0.0/24")
GATEWAY = "10.77.0.254"
REGISTRY_CONTAINER = "pantheon-lab-registry"
REGISTRY_ADDRESS = "10.77.0.5"
REGISTRY = f"{REGISTRY_ADDRESS}:5000"

BUILDER_VOLUMES = {
    "pantheon-lab-builder-docker": "/var/lib/docker",
    "pantheon-lab-builder-containerd": "/var/lib/containerd",
    "pantheon-lab-registry": "/var/lib/docker-registry",
}

DISK_GB = 20
DISK_AGAIN_GB = 4
MEMORY_GB = 8
INOTIFY_INSTANCES = 1024


@dataclass(frozen=True)
class Paths:
    """The files that the driver reads and writes, from the root of the repository."""

    root: Path

    @property
    def lab(self) -> Path:
        """The lab's own sources."""
        return self.root / "lab"

    @property
    def images(self) -> Path:
        """The build contexts of the lab's own images."""
        return self.lab / "images"

    @property
    def state(self) -> Path:
        """What the driver keeps between runs; `down` removes it."""
        return self.root / ".lab"

    @property
    def logs(self) -> Path:
        """The full output of everything that ran."""
        return self.state / "logs"

    @property
    def disks(self) -> Path:
        """The second disks of machines that ask for one."""
        return self.state / "disks"

    @property
    def key(self) -> Path:
        """The private key for the machines; inventories/lab names it too."""
        return self.state / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The host keys of the machines; inventories/lab names it too."""
        return self.state / "known_hosts"

    @property
    def venv(self) -> Path:
        """The virtual environment of the repository."""
        return self.root / ".venv"

    @property
    def inventory(self) -> Path:
        """The inventory of the lab."""
        return self.root / "inventories" / "lab"

    @property
    def image_variables(self) -> Path:
        """The generated variables that name the lab's images."""
        return self.inventory / "group_vars" / "all" / "lab_images.yml"

    @property
    def secrets(self) -> Path:
        """The generated, encrypted secrets of the lab."""
        return self.inventory / "secrets.yml"

    @property
    def artifacts(self) -> Path:
        """What a run of site.yml leaves on the controller."""
        return self.root / "artifacts" / "lab"

    @property
    def vault_password(self) -> Path:
        """The vault password of all inventories; never removed by the lab."""
        return self.root / ".vault-password"

    def program(self, name: str) -> str:
        """The path of a program of the virtual environment."""
        return str(self.venv / "bin" / name)
