# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads what a GGUF file says about itself; the weights are left alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

Value = bool | int | float | str | list["Value"]

# Ollama's API leaves out long lists, such as the vocabulary, unless asked for.
_LONGEST_LIST = 5
_LONGEST_TEXT = 64 << 20

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 32: "BF16", 38: "MXFP4",
}  # fmt: skip
_TENSOR_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", 8: "Q8_0", 10: "Q2_K", 11: "Q3_K", 12: "Q4_K",
    13: "Q5_K", 14: "Q6_K", 30: "BF16", 39: "MXFP4",
}  # fmt: skip


class GgufError(ValueError):
    """The file is not a GGUF file that can be read."""


@dataclass(frozen=True)
class Gguf:
    """A GGUF file's own description.

    Attributes:
        metadata: the key-value section; long lists are empty.
        tensors: name, type and shape of every tensor.
        parameters: how many numbers the tensors hold together.
    """

    metadata: dict[str, Value]
    tensors: list[dict[str, object]]
    parameters: int

    @property
    def architecture(self) -> str:
        """The model family, e.g. llama."""
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def quantization(self) -> str:
        """The file type, e.g. Q4_K_M."""
        kind = self.metadata.get("general.file_type")
        return _FILE_TYPES.get(kind, "unknown") if isinstance(kind, int) else "unknown"

    @property
    def context(self) -> int:
        """The longest context the model was made for, 0 if it does not say."""
        return self._number("context_length")

    @property
    def pooling(self) -> int:
        """How an embedding model pools (1 mean, 2 cls, 3 last, 4 rank); 0 for other models."""
        return self._number("pooling_type")

    @property
    def capabilities(self) -> list[str]:
        """What the model can do, in Ollama's words; read from its metadata and its chat template."""
        if self.pooling:
            return ["embedding"]
        template = str(self.metadata.get("tokenizer.chat_template", ""))
        found = ["completion"]
        if "tools" in template:
            found.append("tools")
        if "enable_thinking" in template or "<think>" in template:
            found.append("thinking")
        return found

    def _number(self, key: str) -> int:
        value = self.metadata.get(f"{self.architecture}.{key}", 0)
        return value if isinstance(value, int) else 0


def read(path: Path) -> Gguf:
    """Read a GGUF file's description.

    Args:
        path: the file.

    Returns:
        The description.

    Raises:
        GgufError: The file is not a GGUF file of version 2 or 3, or it is cut off.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        try:
            return _read(file)
        except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
            raise GgufError(f"{path}: not a GGUF file that can be read: {error!r}") from error


def _read(file: BinaryIO) -> Gguf:
    magic, version, tensor_count, value_count = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF" or version not in (2, 3):
        raise GgufError(f"not a GGUF file of version 2 or 3 (it starts with {magic!r}, version {version})")
    metadata: dict[str, Value] = {}
    for _unused in range(value_count):
        key = _text(file)
        metadata[key] = _value(file, *struct.unpack("<I", file.read(4)))
    tensors: list[dict[str, object]] = []
    total = 0
    for _unused in range(tensor_count):
        name = _text(file)
        (dimensions,) = struct.unpack("<I", file.read(4))
        shape = list(struct.unpack(f"<{dimensions}Q", file.read(8 * dimensions)))
        kind, _offset = struct.unpack("<IQ", file.read(12))
        parameters = 1
        for size in shape:
            parameters *= size
        total += parameters
        tensors.append({"name": name, "type": _TENSOR_TYPES.get(kind, f"type {kind}"), "shape": shape})
    return Gguf(metadata, tensors, total)


def _text(file: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", file.read(8))
    if size > _LONGEST_TEXT:
        raise GgufError(f"not a GGUF file: a text of {size} bytes")
    return file.read(size).decode("utf-8", "replace")


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _STRING:
        return _text(file)
    if kind != _ARRAY:
        code = _SCALARS[kind]
        scalar: bool | int | float = struct.unpack("<" + code, file.read(struct.calcsize(code)))[0]
        return scalar
    item, count = struct.unpack("<IQ", file.read(12))
    if item in _SCALARS and count > _LONGEST_LIST:
        file.seek(count * struct.calcsize(_SCALARS[item]), 1)
        return []
    items: list[Value] = []
    for _unused in range(count):
        value = _value(file, item)
        if count <= _LONGEST_LIST:
            items.append(value)
    return items
