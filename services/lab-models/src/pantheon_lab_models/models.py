# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The two kinds of lab models.

A clockwork chat model has a vocabulary of bytes, single characters and the words of one sentence. Its one block has
only zero weights, so the model sees nothing but the last token, and its output matrix says which word follows which.
Whatever the prompt, it answers its sentence and stops. The answer therefore proves which model has spoken.

The embedding model gives every byte, character and letter pair a fixed random direction. The mean over a text is a bag
of letter pairs: equal texts are equal, texts with common words lie closer together. It knows no meaning.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from . import gguf

SPACE = "\u2581"  # SentencePiece's mark of a word's start
CONTEXT = 32768
HEAD = 32  # size of the one attention head; the smaller it is, the smaller the key-value cache

_UNKNOWN, _BEGIN, _END = 0, 1, 2
_NORMAL, _UNKNOWN_KIND, _CONTROL, _BYTE = 1, 2, 3, 6  # token types of llama.cpp
_MOSTLY_F16, _ALL_F32 = 1, 0

_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant:"


class ModelError(ValueError):
    """A model cannot be made from what was given."""


@dataclass(frozen=True)
class Built:
    """What a written model is: the numbers that its manifest entry states."""

    parameters: int
    quantization: str
    context_length: int
    embedding_length: int


@dataclass
class _Vocabulary:
    """Tokens with their scores and types; the first 259 are the same in every lab model."""

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    types: list[int] = field(default_factory=list)

    def add(self, token: str, score: float, kind: int) -> None:
        self.tokens.append(token)
        self.scores.append(score)
        self.types.append(kind)


def _vocabulary() -> _Vocabulary:
    vocabulary = _Vocabulary()
    vocabulary.add("<unk>", 0.0, _UNKNOWN_KIND)
    vocabulary.add("<s>", 0.0, _CONTROL)
    vocabulary.add("</s>", 0.0, _CONTROL)
    for byte in range(256):
        vocabulary.add(f"<0x{byte:02X}>", 0.0, _BYTE)
    # Very low scores: the tokenizer prefers anything longer to single characters.
    for index, character in enumerate(string.ascii_letters + string.digits + ".,:;!?-_'\"()" + SPACE):
        vocabulary.add(character, -1000.0 - index, _NORMAL)
    return vocabulary


def _metadata(name: str, vocabulary: _Vocabulary, embedding: int, file_type: int) -> dict[str, gguf.Value]:
    return {
        "general.architecture": "llama",
        "general.name": name,
        "general.description": "Made for the Pantheon lab; it knows nothing.",
        "general.license": "GPL-3.0-or-later",
        "general.file_type": file_type,
        "llama.context_length": CONTEXT,
        "llama.embedding_length": embedding,
        "llama.block_count": 1,
        "llama.feed_forward_length": 32,
        "llama.attention.head_count": 1,
        "llama.attention.head_count_kv": 1,
        "llama.attention.key_length": HEAD,
        "llama.attention.value_length": HEAD,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.rope.dimension_count": HEAD,
        "llama.vocab_size": len(vocabulary.tokens),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": vocabulary.tokens,
        "tokenizer.ggml.scores": vocabulary.scores,
        "tokenizer.ggml.token_type": vocabulary.types,
        "tokenizer.ggml.bos_token_id": _BEGIN,
        "tokenizer.ggml.eos_token_id": _END,
        "tokenizer.ggml.unknown_token_id": _UNKNOWN,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
    }


def _idle_block(embedding: int) -> Iterator[gguf.Tensor]:
    """One transformer block that changes nothing: all its matrices are zero."""
    prefix = "blk.0."
    yield gguf.float32(prefix + "attn_norm.weight", (embedding,), [1.0] * embedding)
    for name in ("attn_q", "attn_k", "attn_v"):
        yield gguf.ones16(f"{prefix}{name}.weight", embedding, HEAD, ())
    yield gguf.ones16(prefix + "attn_output.weight", HEAD, embedding, ())
    yield gguf.float32(prefix + "ffn_norm.weight", (embedding,), [1.0] * embedding)
    for name in ("ffn_gate", "ffn_up"):
        yield gguf.ones16(f"{prefix}{name}.weight", embedding, 32, ())
    yield gguf.ones16(prefix + "ffn_down.weight", 32, embedding, ())


def clockwork(path: Path, name: str, sentence: str) -> Built:
    """Write a chat model that always answers with the same sentence.

    Args:
        path: the GGUF file to write.
        name: the model's name in its metadata.
        sentence: the answer, two words or more. A word may occur once only, because it decides the next one.

    Returns:
        The model's figures.

    Raises:
        ModelError: The sentence is too short or repeats a word.
    """
    words = sentence.split()
    repeated = sorted({word for word in words if words.count(word) > 1})
    if len(words) < 2 or repeated:
        problem = f"the words {', '.join(repeated)} occur more than once" if repeated else "it has fewer than two words"
        raise ModelError(f"model {name}: sentence {sentence!r}: {problem}; use two or more words, each exactly once")
    # The answer must not start with a space. The first two words share a token, so that a first word of one letter is
    # not the same token as that letter in a prompt.
    parts = [words[0] + SPACE + words[1], *(SPACE + word for word in words[2:])]

    vocabulary = _vocabulary()
    plain = len(vocabulary.tokens)
    for index, part in enumerate(parts):
        vocabulary.add(part, -1.0 - index, _NORMAL)
    first, last, size = plain, plain + len(parts) - 1, len(vocabulary.tokens)
    embedding = -(-size // 32) * 32

    # Row: the token that follows; column: the token before it.
    follows = [(first, token) for token in range(first)]
    follows += [(token + 1, token) for token in range(first, last)]
    follows += [(_END, last)]

    metadata = _metadata(name, vocabulary, embedding, _MOSTLY_F16)
    metadata["tokenizer.chat_template"] = _TEMPLATE
    metadata["pantheon.answer"] = sentence
    tensors = [
        gguf.ones16("token_embd.weight", embedding, size, ((token, token) for token in range(size))),
        gguf.float32("output_norm.weight", (embedding,), [1.0] * embedding),
        gguf.ones16("output.weight", embedding, size, follows),
        *_idle_block(embedding),
    ]
    gguf.write(path, metadata, tensors)
    return Built(sum(tensor.parameters for tensor in tensors), "F16", CONTEXT, embedding)


def embedding(path: Path, name: str, dimensions: int, seed: int) -> Built:
    """Write an embedding model with fixed random token directions.

    Args:
        path: the GGUF file to write.
        name: the model's name in its metadata.
        dimensions: length of the vectors, a multiple of 32.
        seed: the same seed gives the same vectors everywhere.

    Returns:
        The model's figures.

    Raises:
        ModelError: The number of dimensions is not a positive multiple of 32.
    """
    if dimensions <= 0 or dimensions % 32:
        raise ModelError(f"model {name}: dimensions {dimensions}: must be a positive multiple of 32")
    vocabulary = _vocabulary()
    letters = string.ascii_lowercase
    pairs = [SPACE + letter for letter in letters] + [one + two for one in letters for two in letters]
    for index, pair in enumerate(pairs):
        vocabulary.add(pair, -1.0 - index, _NORMAL)
    generator = random.Random(seed)

    def direction() -> float:
        # The sum of twelve uniform numbers is near enough to a normal one, and it needs no function of the C library,
        # whose last bit differs between machines.
        return sum(generator.random() for _unused in range(12)) - 6.0

    count = len(vocabulary.tokens) * dimensions
    metadata = _metadata(name, vocabulary, dimensions, _ALL_F32)
    metadata["llama.pooling_type"] = 1  # mean
    tensors = [
        gguf.float32(
            "token_embd.weight", (dimensions, len(vocabulary.tokens)), [direction() for _unused in range(count)]
        ),
        gguf.float32("output_norm.weight", (dimensions,), [1.0] * dimensions),
        *_idle_block(dimensions),
    ]
    gguf.write(path, metadata, tensors)
    return Built(sum(tensor.parameters for tensor in tensors), "F32", CONTEXT, dimensions)
