# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small GGUF version 3 writer.

It needs the standard library only and writes the same bytes for the same input on every machine, so that a model's
checksum can be compared between machines that each built their own image.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ALIGNMENT = 32

# Value types of the GGUF specification.
_UINT32 = 4
_INT32 = 5
_FLOAT32 = 6
_BOOL = 7
_STRING = 8
_ARRAY = 9

Scalar = bool | int | float | str
Value = Scalar | Sequence[int] | Sequence[float] | Sequence[str]


@dataclass(frozen=True)
class Tensor:
    """A matrix, row by row.

    Attributes:
        name: name as llama.cpp expects it, e.g. "token_embd.weight".
        shape: rows last, as GGUF has it: (columns,) or (columns, rows).
        data: the bytes, little-endian.
        kind: 0 for float32, 1 for float16.
    """

    name: str
    shape: tuple[int, ...]
    data: bytes
    kind: int

    def __post_init__(self) -> None:
        expected = (4 if self.kind == 0 else 2) * _product(self.shape)
        if len(self.data) != expected:
            raise ValueError(f"tensor {self.name}: {len(self.data)} bytes given, shape {self.shape} needs {expected}")

    @property
    def parameters(self) -> int:
        """How many numbers the tensor holds."""
        return _product(self.shape)


def float32(name: str, shape: tuple[int, ...], values: Iterable[float]) -> Tensor:
    """A float32 tensor from its values."""
    data = array("f", values)
    if struct.pack("=H", 1) != struct.pack("<H", 1):  # pragma: no cover - big-endian machines only
        data.byteswap()
    return Tensor(name, shape, data.tobytes(), 0)


def ones16(name: str, columns: int, rows: int, cells: Iterable[tuple[int, int]]) -> Tensor:
    """A float16 matrix of zeros with a 1.0 at every (row, column) of cells."""
    data = bytearray(2 * columns * rows)
    for row, column in cells:
        struct.pack_into("<e", data, 2 * (row * columns + column), 1.0)
    return Tensor(name, (columns, rows), bytes(data), 1)


def write(path: Path, metadata: Mapping[str, Value], tensors: Sequence[Tensor]) -> None:
    """Write a GGUF file.

    Args:
        path: the file to write; an existing one is replaced.
        metadata: the key-value section, in the order given.
        tensors: the tensors, in the order given.
    """
    header = bytearray(struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(metadata)))
    for key, value in metadata.items():
        header += _string(key) + _value(key, value)
    offset = 0
    for tensor in tensors:
        header += _string(tensor.name)
        header += struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        header += struct.pack("<IQ", tensor.kind, offset)
        offset += _padded(len(tensor.data))
    with path.open("wb") as file:
        file.write(header.ljust(_padded(len(header)), b"\0"))
        for tensor in tensors:
            file.write(tensor.data.ljust(_padded(len(tensor.data)), b"\0"))


def _product(numbers: Iterable[int]) -> int:
    result = 1
    for number in numbers:
        result *= number
    return result


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _scalar(key: str, value: Scalar) -> tuple[int, bytes]:
    if isinstance(value, bool):  # before int: a bool is an int in Python
        return _BOOL, struct.pack("<?", value)
    if isinstance(value, int):
        return (_UINT32, struct.pack("<I", value)) if value >= 0 else (_INT32, struct.pack("<i", value))
    if isinstance(value, float):
        return _FLOAT32, struct.pack("<f", value)
    if isinstance(value, str):
        return _STRING, _string(value)
    raise TypeError(f"metadata {key}: {type(value).__name__} cannot be written")


def _value(key: str, value: Value) -> bytes:
    if isinstance(value, (bool, int, float, str)):
        kind, data = _scalar(key, value)
        return struct.pack("<I", kind) + data
    if not value:
        raise ValueError(f"metadata {key}: an empty list has no type")
    first = value[0]
    if isinstance(first, int):
        # Lists of numbers are signed in the files that llama.cpp's own converter writes.
        kind, body = _INT32, struct.pack(f"<{len(value)}i", *value)
    elif isinstance(first, float):
        kind, body = _FLOAT32, struct.pack(f"<{len(value)}f", *value)
    else:
        kind, body = _STRING, b"".join(_string(str(item)) for item in value)
    return struct.pack("<IIQ", _ARRAY, kind, len(value)) + body
