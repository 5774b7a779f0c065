# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Models on disk, laid out as Ollama does it: blobs by digest, and one manifest per name that lists its blobs.

All of this blocks; the server calls it in threads. A blob becomes visible under its name only when its digest has been
checked, and a manifest only when its blobs are there, so that an interrupted pull leaves nothing half-made behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO

from . import gguf
from .names import ModelName

MODEL_LAYER = "application/vnd.ollama.image.model"
SYSTEM_LAYER = "application/vnd.ollama.image.system"
PARAMETERS_LAYER = "application/vnd.ollama.image.params"
MESSAGES_LAYER = "application/vnd.ollama.image.messages"
LICENSE_LAYER = "application/vnd.ollama.image.license"
_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"

_DIGEST = re.compile(r"sha256[:-]([0-9a-f]{64})")
_CHUNK = 1 << 20
_PARTIAL = ".partial-"

Progress = dict[str, Any]


class StoreError(Exception):
    """Something is wrong with a model or with the library; the message is Ollama's where Ollama has one."""


class NotFoundError(StoreError):
    """There is no such model."""


@dataclass(frozen=True)
class Layer:
    """One blob of a model."""

    media_type: str
    digest: str
    size: int

    def as_json(self) -> dict[str, object]:
        """The layer as the manifest has it."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Model:
    """A model that is ready to be served.

    Attributes:
        name: its name.
        digest: sha256 of its manifest, without a prefix.
        modified: when the manifest was written.
        size: bytes of all its blobs.
        path: the GGUF file.
        gguf: what the GGUF file says about itself.
        layers: its blobs.
        system: system prompt, used when a request has none.
        parameters: options, used when a request does not set them.
        messages: messages that go before a request's own.
        license: licence text.
    """

    name: ModelName
    digest: str
    modified: datetime
    size: int
    path: Path
    gguf: gguf.Gguf
    layers: tuple[Layer, ...]
    system: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()
    license: str = ""

    @property
    def details(self) -> dict[str, object]:
        """The `details` object of Ollama's answers."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.gguf.architecture,
            "families": [self.gguf.architecture],
            "parameter_size": human_number(self.gguf.parameters),
            "quantization_level": self.gguf.quantization,
        }


def human_number(number: int) -> str:
    """A count of parameters as Ollama shows it: 7B, 1.5B, 330.45M, 662K."""
    for size, unit, digits in ((10**9, "B", 1), (10**6, "M", 2), (10**3, "K", 0)):
        if number >= size:
            return f"{number / size:.{0 if number % size == 0 else digits}f}{unit}"
    return str(number)


class Store:
    """The models of one OLLAMA_MODELS directory, and the library they are pulled from."""

    def __init__(self, root: Path, library: Path) -> None:
        """Use the directories; nothing is read or written yet.

        Args:
            root: OLLAMA_MODELS.
            library: directory with manifest.json and GGUF files.
        """
        self._blobs = root / "blobs"
        self._manifests = root / "manifests"
        self._library = library
        self._lock = threading.RLock()
        self._described: dict[Path, gguf.Gguf] = {}

    def prepare(self) -> None:
        """Make the directories and remove what interrupted pulls left behind.

        Raises:
            OSError: The directories cannot be written.
        """
        for directory in (self._blobs, self._manifests):
            directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._blobs.glob(f"{_PARTIAL}*"):
            leftover.unlink(missing_ok=True)

    # -- reading ------------------------------------------------------------------------------------------------

    def models(self) -> tuple[list[Model], list[str]]:
        """All models, the last modified one first, and what is wrong with those that cannot be read."""
        found, broken = [], []
        with self._lock:
            for path in sorted(self._manifests.glob("*/*/*/*")):
                name = ModelName.parse("{}/{}/{}:{}".format(*path.relative_to(self._manifests).parts))
                if name is None or path.name.startswith("."):
                    continue
                try:
                    found.append(self._load(name, path))
                except (OSError, StoreError, gguf.GgufError) as error:
                    broken.append(f"model {name.short}: {error}; pull or create it again")
        return sorted(found, key=lambda model: model.modified, reverse=True), broken

    def find(self, name: ModelName) -> Model:
        """One model.

        Raises:
            NotFoundError: There is no model of that name.
            StoreError: The model's files are damaged.
        """
        with self._lock:
            path = self._manifest_path(name)
            try:
                return self._load(self._named(path), path)
            except FileNotFoundError as error:
                raise NotFoundError(f"model '{name.short}' not found") from error
            except (OSError, gguf.GgufError) as error:
                raise StoreError(f"model {name.short}: {error}") from error

    def blob(self, digest: str) -> Path | None:
        """Where the blob of a digest is or would be; None if the digest is not one."""
        match = _DIGEST.fullmatch(digest)
        return self._blobs / f"sha256-{match[1]}" if match else None

    # -- changing -----------------------------------------------------------------------------------------------

    def pull(self, name: ModelName) -> Generator[Progress, None, None]:
        """Copy a model from the library.

        Args:
            name: the model to pull.

        Yields:
            Progress as Ollama reports it.

        Raises:
            StoreError: The library has no such model, or its file does not match its checksum.
            OSError: A file cannot be read or written.
        """
        yield {"status": "pulling manifest"}
        entry = self._library_entry(name)
        digest = f"sha256:{entry['sha256']}"
        source = self._library / str(entry["file"])
        total = int(entry["bytes"])
        status = f"pulling {entry['sha256'][:12]}"
        target = self._blob_path(digest)
        if target.exists():
            yield {"status": status, "digest": digest, "total": total, "completed": total}
        else:
            with source.open("rb") as file:
                for completed in self._receive(file, digest):
                    yield {"status": status, "digest": digest, "total": total, "completed": completed}
        yield {"status": "verifying sha256 digest"}
        layers = [Layer(MODEL_LAYER, digest, target.stat().st_size)]
        if entry.get("license"):
            layers.append(self._text_layer(LICENSE_LAYER, str(entry["license"])))
        yield {"status": "writing manifest"}
        self._write_manifest(name, layers)
        yield {"status": "success"}

    def create(
        self, name: ModelName, base: ModelName | None, file_digest: str | None, changes: Progress
    ) -> Generator[Progress, None, None]:
        """Make a model from another one or from an uploaded blob.

        Args:
            name: the new model.
            base: the model it is made from; pulled from the library if it is not there.
            file_digest: the blob it is made from, instead of a model.
            changes: any of system (str), parameters (dict), messages (list) and license (str).

        Yields:
            Progress as Ollama reports it.

        Raises:
            StoreError: The base or the blob does not exist or is not a GGUF file.
            OSError: A file cannot be read or written.
        """
        layers: dict[str, Layer] = {}
        if base is not None:
            try:
                model = self.find(base)
            except NotFoundError:
                yield from (progress for progress in self.pull(base) if progress["status"] != "success")
                model = self.find(base)
            layers = {layer.media_type: layer for layer in model.layers}
        elif file_digest is not None:
            path = self.blob(file_digest)
            if path is None or not path.exists():
                raise StoreError(f"blob {file_digest!r} does not exist; upload it first")
            try:
                gguf.read(path)
            except gguf.GgufError as error:
                raise StoreError(f"blob {file_digest!r}: {error}") from error
            digest = f"sha256:{path.name.removeprefix('sha256-')}"
            layers = {MODEL_LAYER: Layer(MODEL_LAYER, digest, path.stat().st_size)}
        for layer in layers.values():
            yield {"status": f"using existing layer {layer.digest}"}
        texts = {SYSTEM_LAYER: changes.get("system"), LICENSE_LAYER: changes.get("license")}
        if changes.get("parameters"):
            merged = {**self._json_of(layers.get(PARAMETERS_LAYER), {}), **changes["parameters"]}
            texts[PARAMETERS_LAYER] = json.dumps(merged)
        if changes.get("messages"):
            texts[MESSAGES_LAYER] = json.dumps(changes["messages"], ensure_ascii=False)
        for media_type, text in texts.items():
            if text:
                layers[media_type] = self._text_layer(media_type, text)
                yield {"status": f"creating new layer {layers[media_type].digest}"}
        yield {"status": "writing manifest"}
        self._write_manifest(name, list(layers.values()))
        yield {"status": "success"}

    def copy(self, source: ModelName, destination: ModelName) -> None:
        """Give a model a second name.

        Raises:
            NotFoundError: There is no model of the source's name.
            OSError: The manifest cannot be written.
        """
        with self._lock:
            path = self._manifest_path(source)
            if not path.is_file():
                raise NotFoundError(f'model "{source.short}" not found')
            self._replace(self._manifest_path(destination), path.read_bytes())

    def delete(self, name: ModelName) -> None:
        """Remove a model, and the blobs that no other model needs.

        Raises:
            NotFoundError: There is no model of that name.
            OSError: A file cannot be removed.
        """
        with self._lock:
            path = self._manifest_path(name)
            if not path.is_file():
                raise NotFoundError(f"model '{name.short}' not found")
            digests = self._digests(path)
            path.unlink()
            for parent in list(path.parents)[:3]:
                with contextlib.suppress(OSError):  # not empty: another model is in it
                    parent.rmdir()
            self._manifests.mkdir(exist_ok=True)
            used: set[str] = set()
            for other in self._manifests.glob("*/*/*/*"):
                used |= self._digests(other)
            for digest in digests - used:
                self._blob_path(digest).unlink(missing_ok=True)

    def add_blob(self, digest: str, chunks: Iterator[bytes]) -> None:
        """Store an uploaded blob.

        Raises:
            StoreError: The content does not have that digest.
            OSError: The file cannot be written.
        """
        for _progress in self._receive_chunks(chunks, digest, "digest mismatch, expected {want!r}, got {got!r}"):
            pass

    # -- inside -------------------------------------------------------------------------------------------------

    def _load(self, name: ModelName, path: Path) -> Model:
        raw = path.read_bytes()
        try:
            manifest = json.loads(raw)
            entries = [manifest["config"], *manifest["layers"]]
            layers = [Layer(str(item["mediaType"]), str(item["digest"]), int(item["size"])) for item in entries]
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: not a model manifest ({error!r})") from error
        by_type = {layer.media_type: layer for layer in layers}
        if MODEL_LAYER not in by_type:
            raise StoreError(f"{path}: the manifest names no model file")
        file = self._blob_path(by_type[MODEL_LAYER].digest)
        try:
            if file not in self._described:
                self._described[file] = gguf.read(file)
            modified = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc)
            return Model(
                name=name,
                digest=hashlib.sha256(raw).hexdigest(),
                modified=modified,
                size=sum(layer.size for layer in layers),
                path=file,
                gguf=self._described[file],
                layers=tuple(layers[1:]),
                system=self._text_of(by_type.get(SYSTEM_LAYER)),
                parameters=self._json_of(by_type.get(PARAMETERS_LAYER), {}),
                messages=self._json_of(by_type.get(MESSAGES_LAYER), []),
                license=self._text_of(by_type.get(LICENSE_LAYER)),
            )
        except FileNotFoundError as error:
            # The manifest is there, a blob is not: damage, which is something else than an unknown model.
            raise StoreError(f"blob {error.filename} is missing") from error

    def _text_of(self, layer: Layer | None) -> str:
        return self._blob_path(layer.digest).read_text(encoding="utf-8") if layer else ""

    def _json_of(self, layer: Layer | None, default: Any) -> Any:
        return json.loads(self._text_of(layer)) if layer else default

    def _blob_path(self, digest: str) -> Path:
        path = self.blob(digest)
        if path is None:
            raise StoreError(f"invalid digest {digest!r}")
        return path

    def _manifest_path(self, name: ModelName) -> Path:
        """Where a name's manifest is: an existing one in other letter case wins."""
        for path in self._manifests.glob("*/*/*/*"):
            if self._named(path).folded() == name.folded():
                return path
        return self._manifests / name.host / name.namespace / name.model / name.tag

    def _named(self, path: Path) -> ModelName:
        return ModelName(*path.relative_to(self._manifests).parts)

    def _digests(self, path: Path) -> set[str]:
        """The digests that a manifest mentions; a damaged one holds nothing back."""
        with contextlib.suppress(ValueError, KeyError, TypeError):
            manifest = json.loads(path.read_bytes())
            return {str(item["digest"]) for item in [manifest["config"], *manifest["layers"]]}
        return set()

    def _library_entry(self, name: ModelName) -> dict[str, Any]:
        path = self._library / "manifest.json"
        try:
            entries = json.loads(path.read_bytes())["models"]
            for entry in entries:
                known = ModelName.parse(str(entry["name"]))
                if known is not None and known.folded() == name.folded():
                    if not re.fullmatch(r"[0-9a-f]{64}", entry["sha256"]) or Path(entry["file"]).name != entry["file"]:
                        raise StoreError(f"{path}: model {entry['name']}: sha256 or file is not valid")
                    return dict(entry) | {"bytes": int(entry["bytes"])}
        except FileNotFoundError:
            pass  # no library: no model is known
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: not a model library: {error!r}") from error
        # Ollama's words for a name that its registry does not know.
        raise NotFoundError("pull model manifest: file does not exist")

    def _receive(self, file: BinaryIO, digest: str) -> Iterator[int]:
        yield 0
        yield from self._receive_chunks(
            iter(lambda: file.read(_CHUNK), b""),
            digest,
            "digest mismatch, file must be downloaded again: want {want}, got {got}",
        )

    def _receive_chunks(self, chunks: Iterator[bytes], digest: str, mismatch: str) -> Iterator[int]:
        """Write chunks under a temporary name, check them, rename them; yields how much is written."""
        target = self._blob_path(digest)
        descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=self._blobs)
        partial = Path(name)
        try:
            hasher, size = hashlib.sha256(), 0
            with os.fdopen(descriptor, "wb") as out:
                for chunk in chunks:
                    hasher.update(chunk)
                    out.write(chunk)
                    size += len(chunk)
                    yield size
                out.flush()
                os.fsync(out.fileno())
            got = f"sha256:{hasher.hexdigest()}"
            want = f"sha256:{target.name.removeprefix('sha256-')}"
            if got != want:
                raise StoreError(mismatch.format(want=want, got=got))
            partial.chmod(0o644)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _text_layer(self, media_type: str, text: str) -> Layer:
        data = text.encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._replace(self._blob_path(digest), data)
        return Layer(media_type, digest, len(data))

    def _write_manifest(self, name: ModelName, layers: list[Layer]) -> None:
        described = gguf.read(
            self._blob_path(next(layer.digest for layer in layers if layer.media_type == MODEL_LAYER))
        )
        config = {
            "model_format": "gguf",
            "model_family": described.architecture,
            "model_families": [described.architecture],
            "model_type": human_number(described.parameters),
            "file_type": described.quantization,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
        }
        with self._lock:
            manifest = {
                "schemaVersion": 2,
                "mediaType": _MANIFEST_TYPE,
                "config": self._text_layer(_CONFIG_TYPE, json.dumps(config)).as_json(),
                "layers": [layer.as_json() for layer in layers if layer.media_type != _CONFIG_TYPE],
            }
            path = self._manifest_path(name)
            data = json.dumps(manifest).encode()
            # The same model pulled again keeps its date.
            if not path.is_file() or path.read_bytes() != data:
                self._replace(path, data)

    @staticmethod
    def _replace(path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=_PARTIAL, dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
