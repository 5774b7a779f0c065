# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images of the lab: the base and the machine on the computer's own engine, the services in the builder."""

from __future__ import annotations

import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import engine, process
from .hashing import context_files, digest, hash_files, write_tar
from .process import LabError
from .settings import LABEL_HASH, LABEL_IMAGE, PREFIX, REGISTRY, REGISTRY_CONTAINER, Paths

Tick = Callable[[str], None]

CERTIFICATES = Path("/usr/local/share/ca-certificates")
_BOOTSTRAP_RECIPE = 1
_EXPORT = "compression=zstd,force-compression=true,oci-mediatypes=true"
_RETRY = "If the network was the reason, run `make lab` again: it continues here."


@dataclass(frozen=True)
class Recipe:
    """One entry of lab/images/images.yml."""

    name: str
    services: tuple[str, ...]
    base: str
    context: Path
    extra: tuple[Path, ...]
    stand_in: bool

    @property
    def needs(self) -> str | None:
        """The entry that this one builds on."""
        return self.base.removeprefix("image:") if self.base.startswith("image:") else None


@dataclass(frozen=True)
class Wanted:
    """An image as it should be: its recipe, its reference with the content hash, and what it is built on."""

    recipe: Recipe
    reference: str
    base: str
    files: dict[str, Path]

    @property
    def tag(self) -> str:
        """The content hash."""
        return self.reference.rpartition(":")[2]


def certificates() -> dict[str, Path]:
    """Return this computer's own certificate authorities as files of a build context."""
    return {f"certs/{path.name}": path for path in sorted(CERTIFICATES.rglob("*.crt"))}


def parse_recipes(document: Mapping[str, Any], root: Path, source: str = "lab/images/images.yml") -> list[Recipe]:
    """Read the list of images; an entry that cannot be built is an error that names it."""
    recipes: list[Recipe] = []
    for entry in document["images"]:
        name, base = entry["name"], entry["base"]
        kind, _, value = base.partition(":")
        known = {recipe.name for recipe in recipes}
        if name in known:
            raise LabError(f"{source}: the image {name} is listed twice", "Remove one of the entries.")
        if not (kind == "debian" and value or kind == "image" and value in known):
            raise LabError(
                f"{source}: the base {base!r} of {name} is neither debian:<suite> nor image:<an entry above it>",
                "Correct the base, or move the entry it names up.",
            )
        paths = [root / entry["context"], *(root / extra for extra in entry.get("extra") or [])]
        for path in paths:
            if not path.exists():
                raise LabError(f"{source}: {path} of {name} does not exist", "Correct the path.")
        recipes.append(Recipe(name, _services(entry), base, paths[0], tuple(paths[1:]), bool(entry.get("stand_in"))))
    return recipes


def _services(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the catalog services of an entry: one, several, or none for a layer that others build on."""
    service = entry.get("service") or []
    return (service,) if isinstance(service, str) else tuple(service)


def load_recipes(paths: Paths) -> list[Recipe]:
    """Read lab/images/images.yml; the virtual environment reads the YAML, this program has only the standard library."""
    source = paths.images / "images.yml"
    script = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)"
    document = json.loads(process.output([paths.program("python"), "-c", script, str(source)]))
    anchor = Recipe("anchor", (), "debian:trixie", paths.images / "anchor", (), False)
    return [anchor, *parse_recipes(document, paths.root)]


def base_hash(paths: Paths, suite: str) -> str:
    """Return the content hash of a base image."""
    return digest(
        "base", suite, _BOOTSTRAP_RECIPE, hash_files(context_files(paths.images / "base", ()) | certificates())
    )


def node_hash(paths: Paths) -> str:
    """Return the content hash of the image of the machines."""
    return digest("node", base_hash(paths, "trixie"), hash_files(context_files(paths.images / "node", ())))


def registry_hash(paths: Paths) -> str:
    """Return the content hash of the image of the registry and builder."""
    return digest("registry", node_hash(paths), hash_files(context_files(paths.images / "registry", ())))


def plan(recipes: Sequence[Recipe], bases: Mapping[str, str]) -> list[Wanted]:
    """Return every image with its reference, in the order of the list; bases gives the hash of each debian:<suite>."""
    wanted: dict[str, Wanted] = {}
    for recipe in recipes:
        files = context_files(recipe.context, recipe.extra)
        if recipe.needs:
            base = wanted[recipe.needs].reference
            base_part = base
        else:
            base = f"{PREFIX}/{recipe.base}"
            base_part = bases[recipe.base]
        tag = digest(recipe.name, base_part, recipe.stand_in, hash_files(files))
        wanted[recipe.name] = Wanted(recipe, f"{REGISTRY}/{PREFIX}/{recipe.name}:{tag}", base, files)
    return list(wanted.values())


def variables(wanted: Iterable[Wanted]) -> str:
    """Return the file of variables that tells the inventory of the lab which images it uses."""
    references = {service: item.reference for item in wanted for service in item.recipe.services}
    anchor = next(item.reference for item in wanted if item.recipe.name == "anchor")
    lines = [
        "---",
        "# Written by lab/lab; do not edit. The lab's own builds instead of the images that the catalog names.",
        f"overlay_anchor_image: {anchor}",
        "pantheon_images:",
        *(f"  {service}: {references[service]}" for service in sorted(references)),
    ]
    return "\n".join(lines) + "\n"


# -- on this computer's engine ------------------------------------------------------------------------------------


def has_hash(reference: str, wanted: str) -> bool:
    """Return whether this computer has the image, made from the same content."""
    found = engine.inspect("image", [reference])
    return bool(found) and (found[0]["Config"].get("Labels") or {}).get(LABEL_HASH) == wanted


def build_here(
    paths: Paths, files: dict[str, Path], base: str, kind: str, content: str, tags: Sequence[str], tick: Tick
) -> None:
    """Build an image on this computer's engine, with whichever builder it has."""
    context = paths.state / "tmp" / f"{kind}-context.tar"
    write_tar(files, context, ["certs"])
    try:
        process.run(
            [
                engine.docker(), "build", "--force-rm", "--build-arg", f"BASE={base}", "--label", f"{LABEL_IMAGE}={kind}",
                "--label", f"{LABEL_HASH}={content}", *(part for tag in tags for part in ("--tag", tag)), "-",
            ],
            paths.logs / f"build-{kind}.log",
            tick,
            stdin=context,
            timeout=1800,
            remedy=_RETRY,
        )  # fmt: skip
    finally:
        context.unlink(missing_ok=True)


def ensure_base(paths: Paths, suite: str, tick: Tick) -> str:
    """Make the base image of a Debian suite, from the official image or from Debian's packages; return what was done."""
    reference, content = f"{PREFIX}/debian:{suite}", base_hash(paths, suite)
    if has_hash(reference, content):
        return "kept"
    official = f"debian:{suite}-slim"
    pulled = bool(engine.inspect("image", [official]))
    if not pulled:
        tick(f"pulling {official}")
        pulled = engine.ask("pull", "--quiet", official, timeout=300).returncode == 0
    source = official if pulled else _bootstrap(paths, suite, tick)
    files = context_files(paths.images / "base", ()) | certificates()
    build_here(paths, files, source, "base", content, [reference], tick)
    return f"from {official}" if pulled else "from Debian's packages (no container registry answers)"


def _bootstrap(paths: Paths, suite: str, tick: Tick) -> str:
    """Make a Debian root from packages and import it; return its name."""
    reference, content = f"{PREFIX}/bootstrap:{suite}", digest("bootstrap", suite, _BOOTSTRAP_RECIPE)
    if has_hash(reference, content):
        return reference
    log = paths.logs / f"bootstrap-{suite}.log"
    if shutil.which("mmdebstrap") is None:
        if os.geteuid() != 0:
            raise LabError(
                "No container registry answers, and mmdebstrap, which makes a base image without one, is not installed.",
                "Run `sudo make lab`, or install it: apt-get install mmdebstrap debian-archive-keyring",
            )
        install_packages(["mmdebstrap", "debian-archive-keyring"], log, tick)
    mirror = "http://deb.debian.org/debian"
    root = paths.state / "tmp" / f"{suite}.tar"
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        process.run(
            [
                "mmdebstrap", "--variant=apt",
                '--aptopt=Acquire::Languages "none"', '--aptopt=APT::Install-Recommends "false"',
                *(f"--dpkgopt=path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale")),
                "--include=ca-certificates", suite, str(root),
                f"deb {mirror} {suite} main", f"deb {mirror} {suite}-updates main",
                f"deb {mirror}-security {suite}-security main",
            ],
            log,
            tick,
            timeout=900,
            remedy=f"The lab needs Debian's archive ({mirror}) or a container registry. {_RETRY}",
        )  # fmt: skip
        changes = (f"LABEL {LABEL_IMAGE}=bootstrap", f"LABEL {LABEL_HASH}={content}", 'CMD ["bash"]')
        process.run(
            [engine.docker(), "import", *(p for change in changes for p in ("--change", change)), str(root), reference],
            log,
            tick,
        )
    finally:
        root.unlink(missing_ok=True)
    return reference


def install_packages(packages: Sequence[str], log: Path, tick: Tick) -> None:
    """Install packages of the distribution on this computer."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    process.run(["apt-get", "update", "-q"], log, tick, env=env, timeout=600, remedy="Check the sources of apt.")
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends", *packages]
    process.run(command, log, tick, env=env, timeout=1200, remedy="`apt-get -f install` repairs a half-done install.")


def ensure_node(paths: Paths, tick: Tick) -> tuple[str, str]:
    """Make the image of the machines; return its reference and what was done."""
    content = node_hash(paths)
    reference = f"{PREFIX}/node:{content}"
    current = f"{PREFIX}/node:current"
    if has_hash(reference, content):
        engine.tell("tag", reference, current)
        return reference, "kept"
    files = context_files(paths.images / "node", ())
    build_here(paths, files, f"{PREFIX}/debian:trixie", "node", content, [reference, current], tick)
    return reference, f"built {content}"


def ensure_registry_image(paths: Paths, node: str, tick: Tick) -> tuple[str, str]:
    """Make the image of the registry and builder; return its reference and what was done."""
    content = registry_hash(paths)
    reference = f"{PREFIX}/registry:{content}"
    if has_hash(reference, content):
        return reference, "kept"
    build_here(paths, context_files(paths.images / "registry", ()), node, "registry", content, [reference], tick)
    return reference, f"built {content}"


# -- in the builder -----------------------------------------------------------------------------------------------


def registry_request(path: str, method: str = "GET", timeout: float = 5.0) -> int:
    """Return the status of a request to the lab's registry; 0 where it does not answer. Never through a proxy."""
    request = urllib.request.Request(
        f"http://{REGISTRY}{path}",
        method=method,
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def in_registry(item: Wanted) -> bool:
    """Return whether the registry has exactly this image."""
    return registry_request(f"/v2/{PREFIX}/{item.recipe.name}/manifests/{item.tag}", "HEAD") == 200


def wait_for_builder(tick: Tick, log: Path, timeout: float = 120.0) -> None:
    """Wait until the registry and the engine beside it answer."""
    deadline = time.monotonic() + timeout
    while True:
        tick("waiting for the registry")
        if registry_request("/v2/", timeout=1) == 200 and _inside("version").returncode == 0:
            return
        if time.monotonic() > deadline:
            raise LabError(
                f"The registry and builder ({REGISTRY_CONTAINER}) does not answer after {timeout:.0f} seconds",
                f"`docker exec {REGISTRY_CONTAINER} systemctl --failed` names the unit.",
                log,
            )
        time.sleep(0.3)


def _inside(*arguments: str) -> Any:
    return engine.ask("exec", REGISTRY_CONTAINER, "docker", *arguments)


def load_base(paths: Paths, suite: str, tick: Tick) -> None:
    """Bring a base image into the builder."""
    reference, content = f"{PREFIX}/debian:{suite}", base_hash(paths, suite)
    label = _inside("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL_HASH}"}}}}', reference)
    if label.returncode == 0 and label.stdout.strip() == content:
        return
    archive, log = paths.state / "tmp" / f"debian-{suite}.tar", paths.logs / "builder.log"
    archive.parent.mkdir(parents=True, exist_ok=True)
    try:
        process.run([engine.docker(), "save", "--output", str(archive), reference], log, tick)
        command = [engine.docker(), "exec", "--interactive", REGISTRY_CONTAINER, "docker", "load"]
        process.run(command, log, tick, stdin=archive, timeout=600)
    finally:
        archive.unlink(missing_ok=True)


def build_in_builder(paths: Paths, item: Wanted, tick: Tick) -> None:
    """Build one service image in the builder and push it to the registry."""
    name = item.recipe.name
    context = paths.state / "tmp" / f"{name}-context.tar"
    write_tar(item.files | certificates(), context, ["certs"])
    labels = {LABEL_IMAGE: name, LABEL_HASH: item.tag}
    if item.recipe.stand_in:
        labels["ai.pantheon.stand-in"] = "true"
    try:
        process.run(
            [
                engine.docker(), "exec", "--interactive", REGISTRY_CONTAINER,
                "docker", "buildx", "build", "--progress", "plain", "--provenance=false", "--sbom=false",
                "--build-arg", f"BASE={item.base}",
                *(part for key, value in labels.items() for part in ("--label", f"{key}={value}")),
                "--output",
                f"type=image,name={item.reference},push=true,{_EXPORT}",
                "-",
            ],
            paths.logs / f"build-{name}.log",
            tick,
            stdin=context,
            timeout=1800,
            remedy=_RETRY,
        )  # fmt: skip
    finally:
        context.unlink(missing_ok=True)
    _forget_older(item)


def _forget_older(item: Wanted) -> None:
    """Remove earlier builds of the same image from the builder's own store; its cache keeps what is still of use."""
    repository = item.reference.rpartition(":")[0]
    found = _inside("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", repository).stdout.split()
    older = [reference for reference in found if reference != item.reference]
    if older:
        _inside("image", "rm", *older)


def build_missing(
    missing: Sequence[Wanted],
    build: Callable[[Wanted, Tick], None],
    tick: Tick,
    workers: int | None = None,
) -> None:
    """Build images side by side, each after the one it builds on; the first failure ends it."""
    waiting = {item.recipe.name: item for item in missing}
    running: dict[Future[None], str] = {}
    newest: dict[str, str] = {}
    finished = 0
    with ThreadPoolExecutor(workers or min(4, max(2, (os.cpu_count() or 2) // 2))) as pool:

        def start(item: Wanted) -> None:
            name = item.recipe.name

            def note(line: str) -> None:
                newest[name] = line or newest.get(name, "")

            running[pool.submit(build, item, note)] = name

        try:
            while waiting or running:
                busy = set(running.values())
                for item in list(waiting.values()):
                    need = item.recipe.needs
                    if need not in waiting and need not in busy:
                        start(waiting.pop(item.recipe.name))
                        busy.add(item.recipe.name)
                done, _ = wait(running, timeout=0.3, return_when=FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    newest.pop(name, None)
                    future.result()
                    finished += 1
                latest = "; ".join(f"{name}: {line[:60]}" for name, line in newest.items())
                tick(f"{finished} of {len(missing)} built  {latest}".strip())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            process.stop_all()
            raise
