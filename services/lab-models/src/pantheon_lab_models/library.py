# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's model library: a directory with GGUF files and manifest.json, which the lab's Ollama API pulls from."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from . import models

# The sentences' words are unique within each sentence, and each one names its model.
CHAT = {
    "lab-small": "I am lab-small, the small clockwork model of Pantheon's lab; this sentence is all it knows.",
    "lab-large": "I am lab-large, the large clockwork model of Pantheon's lab; these words are everything it can say.",
}
EMBEDDING = "lab-embed"
DIMENSIONS = 64
SEED = 20260901


def build(directory: Path) -> list[dict[str, object]]:
    """Write the models and their manifest.

    Args:
        directory: where to write; created if it is missing.

    Returns:
        The manifest's entries.
    """
    directory.mkdir(parents=True, exist_ok=True)
    entries = []
    for name, sentence in CHAT.items():
        built = models.clockwork(directory / f"{name}.gguf", name, sentence)
        entries.append(_entry(directory, name, "chat", built) | {"answer": sentence})
    built = models.embedding(directory / f"{EMBEDDING}.gguf", EMBEDDING, DIMENSIONS, SEED)
    entries.append(_entry(directory, EMBEDDING, "embedding", built) | {"dimensions": DIMENSIONS})
    text = json.dumps({"version": 1, "models": entries}, indent=2, ensure_ascii=False) + "\n"
    (directory / "manifest.json").write_text(text, encoding="utf-8")
    return entries


def _entry(directory: Path, name: str, role: str, built: models.Built) -> dict[str, object]:
    file = f"{name}.gguf"
    data = (directory / file).read_bytes()
    return {
        "name": name,
        "file": file,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "role": role,
        "family": "llama",
        "quantization": built.quantization,
        "parameters": built.parameters,
        "context_length": built.context_length,
        "embedding_length": built.embedding_length,
        "license": "GPL-3.0-or-later",
    }


def main(arguments: list[str] | None = None) -> int:
    """Command line: write the library into a directory."""
    parser = argparse.ArgumentParser(prog="pantheon-lab-models", description=(__doc__ or "").strip())
    parser.add_argument("directory", type=Path, help="where to write the GGUF files and manifest.json")
    options = parser.parse_args(arguments)
    for entry in build(options.directory):
        print(f"{entry['name']}: {entry['bytes']} bytes, sha256 {entry['sha256']}", file=sys.stdout)
    return 0
