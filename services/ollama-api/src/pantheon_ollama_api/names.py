# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Model names, as Ollama writes them: [[host/]namespace/]model[:tag]."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

HOST = "registry.ollama.ai"
NAMESPACE = "library"
TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,349}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_MODEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, order=True)
class ModelName:
    """A model's full name."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> ModelName | None:
        """Read a name; None if it is not one."""
        rest = text.strip().rpartition("://")[2]
        tag = TAG
        if ":" in rest.rpartition("/")[2]:
            rest, _colon, tag = rest.rpartition(":")
        parts = rest.split("/")
        if len(parts) > 3:
            return None
        host, namespace, model = [*(HOST, NAMESPACE)[: 3 - len(parts)], *parts]
        if not (_HOST.fullmatch(host) and _PART.fullmatch(namespace) and _MODEL.fullmatch(model)):
            return None
        if not _MODEL.fullmatch(tag):
            return None
        return cls(host, namespace, model, tag)

    @property
    def short(self) -> str:
        """The name without the parts that are the default, but always with the tag."""
        name = f"{self.model}:{self.tag}"
        if self.host != HOST:
            return f"{self.host}/{self.namespace}/{name}"
        return name if self.namespace == NAMESPACE else f"{self.namespace}/{name}"

    @property
    def full(self) -> str:
        """The name with every part."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    @property
    def router_id(self) -> str:
        """The name of the model's section in the router's presets.

        The router gives a meaning of its own to colons and slashes, so they cannot be part of it.
        """
        plain = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{self.model}-{self.tag}")
        return f"{plain}-{hashlib.sha256(self.full.lower().encode()).hexdigest()[:8]}"

    def folded(self) -> str:
        """The full name for comparisons: Ollama's names are not case-sensitive."""
        return self.full.lower()
