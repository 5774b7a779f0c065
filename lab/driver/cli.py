# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of lab/lab: up, down, status, build, context, password, rights."""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from . import appliances, disks, engine, hashing, images, machines, preflight, process
from .console import Progress, clock, shorten
from .process import LabError
from .settings import INOTIFY_INSTANCES, LABEL_IMAGE, PREFIX, Paths

_INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
_INOTIFY_MARK = "inotify.json"
_LOG_LINES = 20
_ERROR_LINES = 12
_VERDICT = "The platform does not do what it should"


@dataclass
class Session:
    """What the steps of one run hand to each other."""

    paths: Paths
    force: bool = False
    node: str = ""
    rights: list[str] = field(default_factory=list)
    inventory: machines.Inventory | None = None

    @property
    def lab(self) -> machines.Inventory:
        """The inventory of the lab, read once."""
        if self.inventory is None:
            self.inventory = machines.read_inventory(self.paths)
        return self.inventory


Step = tuple[str, Callable[[Session, Progress], None]]


# -- the steps ------------------------------------------------------------------------------------------------------


def check_computer(session: Session, progress: Progress) -> None:
    """Look at the computer and refuse with every reason at once."""
    if os.environ.get("DOCKER_HOST", "").startswith(("tcp://", "ssh://")):
        raise LabError(
            "DOCKER_HOST names an engine on another computer.", "Unset it: the lab needs the engine of this one."
        )
    answers = engine.answers()
    docker_root, exists = "/var/lib/docker", False
    if answers:
        info = json.loads(engine.tell("info", "--format", "{{json .}}"))
        docker_root, exists = info["DockerRootDir"], bool(engine.ours("container") or engine.ours("volume"))
        if any("rootless" in option for option in info.get("SecurityOptions") or []):
            raise LabError(
                "The Docker engine runs rootless.", "The lab needs one that runs as root: unset DOCKER_HOST."
            )
    computer = preflight.look(
        root=os.geteuid() == 0, engine_answers=answers, lab_exists=exists, docker_root=docker_root
    )
    problems = preflight.check_computer(computer)
    vault, secrets = session.paths.vault_password, session.paths.secrets
    if secrets.is_file() and not vault.is_file() and not os.environ.get("PANTHEON_VAULT_PASSWORD"):
        problems.append(
            preflight.Problem(
                f"{secrets.relative_to(session.paths.root)} is encrypted and {vault.name} is missing.",
                f"Bring {vault.name} back, or run `make lab-down` to forget the secrets of the lab.",
            )
        )
    if problems and not session.force:
        raise LabError(
            "\n".join(problem.what for problem in problems), "\n".join(problem.remedy for problem in problems)
        )
    for problem in problems:
        progress.note(f"going on in spite of: {problem.what}")
    progress.say(f"{preflight.gigabytes(computer.disk_free)} free, {preflight.gigabytes(computer.memory)} of memory")


def prepare_computer(session: Session, progress: Progress) -> None:
    """Install missing packages, start Docker if it sleeps, raise the limit that ten systemds need."""
    did = []
    computer = preflight.look(root=os.geteuid() == 0, engine_answers=False, lab_exists=True, docker_root="/")
    packages = preflight.missing_packages(computer)
    if packages:
        log = session.paths.logs / "host-packages.log"
        images.install_packages(packages, log, progress.tick)
        if shutil.which("docker") is None:
            # Debian 13 has the command in a package of its own; Debian 12 and Ubuntu have it in docker.io.
            images.install_packages(["docker-cli"], log, progress.tick)
        engine.docker.cache_clear()
        did.append("installed " + " ".join(packages))
    if not engine.answers():
        did.append(engine.start(session.paths))
    limit = int(_INOTIFY.read_text(encoding="ascii"))
    if limit < INOTIFY_INSTANCES and os.access(_INOTIFY, os.W_OK):
        process.write_atomically(session.paths.state / _INOTIFY_MARK, json.dumps({"before": limit}) + "\n")
        _INOTIFY.write_text(f"{INOTIFY_INSTANCES}\n", encoding="ascii")
        did.append(f"raised fs.inotify.max_user_instances to {INOTIFY_INSTANCES}")
    version = engine.tell("version", "--format", "{{.Server.Version}}").strip()
    if int(version.split(".")[0]) < 20:
        raise LabError(f"Docker {version} is too old for the lab.", "Install 20.10 or newer.")
    did.append(f"Docker {version}")
    progress.say(", ".join(did))


def prepare_python(session: Session, progress: Progress) -> None:
    """Make .venv from the locked requirements, the vault password and the ssh key."""
    process.run(
        [str(session.paths.root / "tools" / "setup.sh"), "run"],
        session.paths.logs / "setup.log",
        progress.tick,
        cwd=session.paths.root,
        timeout=1200,
        remedy="It needs PyPI. If the network was the reason, run `make lab` again.",
    )
    machines.ensure_key(session.paths)
    progress.say(f".venv, vault password and ssh key are there; {len(session.lab.addresses)} machines in the inventory")


def build_machine(session: Session, progress: Progress) -> None:
    """Make the base image and the image of the machines."""
    did = images.ensure_base(session.paths, "trixie", progress.tick)
    session.node, node = images.ensure_node(session.paths, progress.tick)
    session.rights = engine.rights(session.node)
    privileged = "" if "--privileged" in session.rights else "; machines run with reduced rights"
    progress.say(f"base {did}, machine {node}{privileged}")


def raise_registry(session: Session, progress: Progress) -> None:
    """Bring up the network and the registry with its builder."""
    reference, did = images.ensure_registry_image(session.paths, session.node, progress.tick)
    network = machines.ensure_network()
    machines.ensure_volumes()
    spec = machines.registry_spec(reference, session.rights, machines.upstream_dns())
    found = engine.inspect("container", [spec.name])
    action = machines.ensure(spec, found[0] if found else None)
    images.wait_for_builder(progress.tick, session.paths.logs / "builder.log")
    progress.say(f"image {did}, network {network}, container {action}")


def raise_appliances(session: Session, progress: Progress) -> None:
    """Bring up the router, which resolves names for all machines, and the NAS."""
    upstream = machines.upstream_dns()
    did = [
        appliances.raise_one(session.paths, kind, *session.lab.appliances[kind.name], upstream, progress.tick)
        for kind in appliances.KINDS
        if kind.name in session.lab.appliances
    ]
    progress.say(", ".join(did) or "the inventory has none")


def build_services(session: Session, progress: Progress) -> None:
    """Build the service images whose content is not in the registry, and tell the inventory about all of them."""
    recipes = images.load_recipes(session.paths)
    suites = {recipe.base for recipe in recipes if recipe.needs is None}
    bases = {base: images.base_hash(session.paths, base.removeprefix("debian:")) for base in suites}
    wanted = images.plan(recipes, bases)
    missing = [item for item in wanted if not images.in_registry(item)]
    for base in sorted({item.recipe.base for item in missing if item.recipe.needs is None}):
        suite = base.removeprefix("debian:")
        images.ensure_base(session.paths, suite, progress.tick)
        images.load_base(session.paths, suite, progress.tick)
    images.build_missing(missing, lambda item, tick: images.build_in_builder(session.paths, item, tick), progress.tick)
    process.write_atomically(session.paths.image_variables, images.variables(wanted))
    names = ", ".join(item.recipe.name for item in missing)
    progress.say(
        f"built {len(missing)} of {len(wanted)}: {names}" if missing else f"all {len(wanted)} are in the registry"
    )


def raise_machines(session: Session, progress: Progress) -> None:
    """Bring up the machines, wait for their systemd, let our key in and learn their host keys."""
    _, resolver = session.lab.appliances.get(appliances.ROUTER.name, ("", None))
    second_disks = disks.attach(session.paths, session.lab.disks)
    specs = machines.machine_specs(session.lab.addresses, session.node, session.rights, resolver, second_disks)
    actions = machines.ensure_all(specs, progress.tick)
    names = [spec.name for spec in specs]
    degraded = machines.wait_for_boot(names, progress.tick)
    # Stacks on a machine that was there before may have failed: to repair that is the deployment's work.
    fresh = {}
    for name, units in degraded.items():
        if actions[name] in ("create", "recreate"):
            progress.note(f"{name}: {', '.join(units)} failed at the first boot; trying again")
            units = machines.try_again(name, units)
            if units:
                fresh[name] = units
        else:
            progress.note(f"{name} is degraded: {', '.join(units)}")
    if fresh:
        told = "; ".join(f"{name}: {', '.join(units)}" for name, units in fresh.items())
        first = next(iter(fresh))
        raise LabError(
            f"Units failed on new machines: {told}",
            f"Look at them with: docker exec {first} journalctl -b -u {fresh[first][0]}",
        )
    machines.replay_gpus(session.paths, session.lab.gpus)
    public_key = machines.ensure_key(session.paths)
    keys = machines.admit(names, public_key)
    process.write_atomically(session.paths.known_hosts, machines.known_hosts(session.lab.addresses, keys))
    made = sum(action in ("create", "recreate") for action in actions.values())
    started = sum(action in ("start", "unpause") for action in actions.values())
    progress.say(f"{len(names)} machines: {made} made, {started} started, {len(names) - made - started} kept")


def deploy(session: Session, progress: Progress) -> None:
    """Run the ordinary site.yml over ssh."""
    log = session.paths.logs / "site.log"
    log.unlink(missing_ok=True)
    # A verdict from before says nothing about what is deployed now.
    (session.paths.artifacts / "verdict.json").unlink(missing_ok=True)
    process.run(
        [session.paths.program("ansible-playbook"), "-i", str(session.paths.inventory), "site.yml"],
        log,
        _only_headings(progress.tick),
        env={
            "PATH": f"{session.paths.venv / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "ANSIBLE_FORCE_COLOR": "false",
            "ANSIBLE_NOCOLOR": "true",
            "PYTHONUNBUFFERED": "1",
        },
        cwd=session.paths.root,
        timeout=3600,
        remedy="Correct what the messages above name and run `make lab` again: what is done stays done.",
    )
    progress.say(" ".join(recap(process.last_lines(log, 40))))


def _only_headings(tick: Callable[[str], None]) -> Callable[[str], None]:
    """Return a tick that shows which play and task runs, not the results in between."""

    def only(line: str) -> None:
        tick(line if line.startswith(("PLAY [", "TASK [", "RUNNING HANDLER [")) else "")

    return only


def recap(lines: Sequence[str]) -> list[str]:
    """Return the sum of Ansible's recap over all hosts as words like changed=12.

    >>> recap(["erebus : ok=10 changed=2 unreachable=0 failed=0", "zelus : ok=5 changed=1 unreachable=0 failed=0"])
    ['ok=15', 'changed=3', 'unreachable=0', 'failed=0']
    """
    totals: dict[str, int] = {}
    for line in lines:
        name, colon, rest = line.partition(" : ")
        if not colon or "ok=" not in rest or not name.strip():
            continue
        for word in rest.split():
            key, _, value = word.partition("=")
            if key in ("ok", "changed", "unreachable", "failed") and value.isdigit():
                totals[key] = totals.get(key, 0) + int(value)
    return [f"{key}={value}" for key, value in totals.items()]


UP: tuple[Step, ...] = (
    ("Check this computer", check_computer),
    ("Prepare this computer", prepare_computer),
    ("Prepare Python and Ansible", prepare_python),
    ("Build the machine image", build_machine),
    ("Raise the registry and builder", raise_registry),
    ("Raise router and NAS", raise_appliances),
    ("Build the service images", build_services),
    ("Raise the machines", raise_machines),
    ("Deploy the platform (site.yml)", deploy),
)


# -- the commands ---------------------------------------------------------------------------------------------------


def up(paths: Paths, force: bool, machines_only: bool) -> int:
    """Raise the lab; what is there already is kept."""
    steps = UP[:-1] if machines_only else UP
    session = Session(paths, force)
    progress = Progress(len(steps))
    with locked(paths):
        code = run_steps(steps, session, progress)
        record = {
            "ok": code == 0,
            "seconds": round(progress.now() - progress.started, 1),
            "steps": [vars(timing) for timing in progress.timings],
        }
        process.write_atomically(paths.state / "last-up.json", json.dumps(record, indent=2) + "\n")
        if not machines_only:
            code = report(session) or code
        print(f"\nTotal time {clock(progress.now() - progress.started)}. Logs: {paths.logs}")
        return code


def run_steps(steps: Sequence[Step], session: Session, progress: Progress) -> int:
    """Run the steps one after another; on a failure say which, the last lines of its log, and what to do."""
    for title, action in steps:
        try:
            with progress.step(title):
                action(session, progress)
        except LabError as error:
            print_failure(title, error)
            return 1
    return 0


def print_failure(title: str, error: LabError) -> None:
    """Say what failed, the end of its log, and the remedy."""
    print(f"\nFailed: {title}")
    if error.log is not None:
        for line in telling_lines(process.last_lines(error.log, 5000)):
            print(f"  | {line}")
    for line in str(error).splitlines():
        print(f"  {line}")
    if error.log is not None:
        print(f"  Full log: {error.log}")
    if error.remedy:
        print("What to do:")
        for line in error.remedy.splitlines():
            print(f"  {line}")


def telling_lines(lines: Sequence[str]) -> list[str]:
    """Return the lines of a log that say what went wrong: Ansible's errors, each once, or the last lines."""
    errors: dict[tuple[str, ...], None] = {}
    block: list[str] = []
    for line in (*lines, "PLAY"):
        if line.startswith(("[ERROR]: ", "Origin: ", "fatal: ", "TASK [", "PLAY")):
            if block:
                # The verdict itself is printed after this, with its remedies.
                errors[tuple(block[: 1 if _VERDICT in block[0] else _ERROR_LINES])] = None
            block = [line] if line.startswith("[ERROR]: ") else []
        elif block:
            block.append(line)
    told = [line for error in errors for line in error]
    return told[: 3 * _LOG_LINES] or list(lines)[-_LOG_LINES:]


def read_verdict(paths: Paths) -> dict[str, Any] | None:
    """Return what verify found, or None where it has not run."""
    try:
        verdict: dict[str, Any] = json.loads((paths.artifacts / "verdict.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return verdict


def report(session: Session) -> int:
    """Print verdict, addresses, where the password is and the first answer; return 0 where all is well."""
    verdict = read_verdict(session.paths)
    if verdict is None:
        print("\nNo verdict: the deployment did not come as far as its checks.")
        return 1
    print("\n" + "\n".join(verdict_lines(verdict)))
    if verdict.get("ok") is not True:
        return 1
    print("\n".join(welcome_lines(verdict, session.lab, session.paths)))
    return 0


def verdict_lines(verdict: dict[str, Any]) -> list[str]:
    """Return the verdict for a person: the count, and every check that failed with its remedy."""
    checks = verdict.get("checks") or []
    count = {state: sum(check["state"] == state for check in checks) for state in ("ok", "failed", "skipped")}
    told = ", ".join(f"{number} {state}" for state, number in count.items())
    lines = [f"Verdict: {'the platform works' if verdict.get('ok') is True else 'NOT OK'} ({told})."]
    for check in checks:
        if check["state"] == "failed":
            lines.append(f"  FAILED {check['name']}: {check.get('detail', '')}")
            if check.get("fix"):
                lines.append(f"         {check['fix']}")
    return lines


def welcome_lines(verdict: dict[str, Any], inventory: machines.Inventory, paths: Paths) -> list[str]:
    """Return what a person needs next: an answer that proves it works, addresses, account, password."""
    lines = []
    for model, answer in list((verdict.get("answers") or {}).items())[:1]:
        lines.append(f"  First answer, from {model}: {shorten(' '.join(answer.split()), 90)}")
    urls = verdict.get("urls") or {}
    lines += [f"  {name}: {url}" for name, url in sorted(urls.items())]
    lines.append(f"  Account {inventory.admin_email}; `make password` prints its password.")
    names = sorted({host for host in (urlsplit(url).hostname for url in urls.values()) if host})
    if inventory.edge and names:
        lines.append(f"  For a browser on this computer add to /etc/hosts: {inventory.edge} {' '.join(names)}")
    certificate = paths.artifacts / "ca.crt"
    if certificate.is_file():
        lines.append(f"  and let it trust {certificate.relative_to(paths.root)}.")
    return lines


def down(paths: Paths, keep_images: bool) -> int:
    """Remove everything the lab made, and nothing else."""
    progress = Progress(3 if keep_images else 4)
    with locked(paths):
        if not engine.answers():
            if engine.started_here(paths) is None and not shutil.which("docker"):
                disks.remove(paths)
                shutil.rmtree(paths.state, ignore_errors=True)
                print("There is no Docker, so there is no lab.")
                return 0
            raise LabError("Docker does not answer, so the lab cannot be removed.", "Start Docker and run this again.")
        with progress.step("Remove the machines"):
            containers = engine.ours("container")
            machines.remove(containers)
            disks.remove(paths)
            progress.say(f"{len(containers)} containers")
        with progress.step("Remove the network"):
            networks = engine.ours("network")
            if networks:
                engine.tell("network", "rm", *networks)
            progress.say(f"{len(networks)} networks")
        # Like the machines, router and NAS begin anew.
        kept = [volume for kind in appliances.KINDS for volume in kind.volumes if engine.inspect("volume", [volume])]
        if kept:
            engine.tell("volume", "rm", *kept, timeout=300)
        if not keep_images:
            with progress.step("Remove volumes and images"):
                volumes = engine.ours("volume")
                if volumes:
                    engine.tell("volume", "rm", *volumes, timeout=300)
                progress.say(f"{len(volumes)} volumes, {remove_images(progress)} images")
        with progress.step("Remove keys and state"):
            forget(paths, keep_images)
        if not keep_images:
            print(engine.stop_started_here(paths))
        if not keep_images:
            shutil.rmtree(paths.state, ignore_errors=True)
    return 0


def remove_images(progress: Progress) -> int:
    """Remove the images of the lab; one that somebody else's container or name holds stays, and the person is told."""
    removed, before, left = 0, -1, []
    while removed > before:  # an image goes only after those that are built on it
        before = removed
        listing = engine.tell("image", "ls", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL_IMAGE}")
        left = sorted(set(listing.split()))
        for image in engine.inspect("image", left):
            names = removable_names(image)
            removed += bool(names) and engine.ask("image", "rm", *names, timeout=120).returncode == 0
    if left:
        progress.note(f"{len(left)} images stay, because a container or a name that is not the lab's holds them")
    return removed


def removable_names(image: Mapping[str, Any]) -> list[str]:
    """Return the names of an image that are the lab's; its id where it has no name at all."""
    names = image.get("RepoTags") or []
    return [name for name in names if name.startswith(f"{PREFIX}/")] if names else [image["Id"]]


def forget(paths: Paths, keep_images: bool) -> None:
    """Remove what the lab wrote; the vault password stays, because other inventories use it."""
    mark = paths.state / _INOTIFY_MARK
    if mark.is_file() and os.access(_INOTIFY, os.W_OK):
        if int(_INOTIFY.read_text(encoding="ascii")) == INOTIFY_INSTANCES:
            _INOTIFY.write_text(f"{json.loads(mark.read_text(encoding='utf-8'))['before']}\n", encoding="ascii")
        mark.unlink()
    paths.known_hosts.unlink(missing_ok=True)
    shutil.rmtree(paths.state / "tmp", ignore_errors=True)
    if not keep_images:
        paths.image_variables.unlink(missing_ok=True)
        paths.secrets.unlink(missing_ok=True)
        shutil.rmtree(paths.artifacts, ignore_errors=True)


def status(paths: Paths) -> int:
    """Show what is there; exit code 0 where the lab is up and the last verdict was good."""
    if not engine.answers():
        print("Docker does not answer; the lab is down.")
        return 1
    found = engine.inspect("container", engine.ours("container"))
    if not found:
        print("The lab is down. `make lab` raises it.")
        return 1
    names = [item["Name"].lstrip("/") for item in found]
    usage = {}
    running = [name for name, item in zip(names, found, strict=True) if item["State"]["Running"]]
    if running:
        listing = engine.ask("stats", "--no-stream", "--format", "{{.Name}}\t{{.MemUsage}}", *running).stdout
        usage = dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    for item in sorted(found, key=lambda item: machines.address_of(item) or ""):
        name, address = item["Name"].lstrip("/"), machines.address_of(item)
        state = machines.boot_state(name) if item["State"]["Running"] else "off"
        memory = usage.get(name, "").split(" / ")[0]
        print(f"{name.removeprefix(PREFIX + '-'):<12} {address or '':<12} {state:<10} {memory}")
    verdict = read_verdict(paths)
    if verdict is None:
        print("\nNo verdict yet: `make lab` deploys the platform and checks it.")
        return 1
    print("\n" + "\n".join(verdict_lines(verdict)))
    return 0 if verdict.get("ok") is True and len(running) == len(found) else 1


def build(paths: Paths, what: str) -> int:
    """Build images without raising the machines: all of them, or only base and machine."""
    steps = (UP[0], UP[1], UP[3]) if what == "node" else UP[:7]
    with locked(paths):
        return run_steps(steps, Session(paths), Progress(len(steps)))


def rights(paths: Paths) -> int:
    """Print, as JSON, the image of the machines and the options they need on this engine (for other test beds)."""
    node = f"{PREFIX}/node:{images.node_hash(paths)}"
    if not engine.inspect("image", [node]):
        raise LabError(f"The image {node} is not there.", "Make it first: lab/lab build node")
    options = engine.rights(node)
    print(json.dumps({"image": node, "privileged": "--privileged" in options, "options": options}))
    return 0


def password(paths: Paths) -> int:
    """Print the password of the first account."""
    viewed = process.output(
        [paths.program("ansible-vault"), "view", str(paths.secrets)], remedy="The lab has no secrets before `make lab`."
    )
    for line in viewed.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "open_webui_admin_password":
            print(value.strip().strip("'\""))
            return 0
    raise LabError("The secrets of the lab have no open_webui_admin_password.", "Run `make lab` again.")


def context(paths: Paths, name: str) -> int:
    """Write the build context of an image to standard output: what an owner builds for real machines."""
    recipes = {recipe.name: recipe for recipe in images.load_recipes(paths)}
    if name not in recipes:
        raise LabError(f"There is no image {name}.", f"Use one of: {', '.join(sorted(recipes))}.")
    recipe = recipes[name]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "context.tar"
        hashing.write_tar(hashing.context_files(recipe.context, recipe.extra), target, ["certs"])
        sys.stdout.buffer.write(target.read_bytes())
    return 0


@contextlib.contextmanager
def locked(paths: Paths) -> Iterator[None]:
    """Keep two runs from working on the same lab; the lock goes away with the process, however it ends."""
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (paths.state / "lock").open("a+", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise LabError(
                f"Another run works on this lab (process {lock.read().strip() or 'unknown'}).", "Wait for its end."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(prog="lab", description="Ten simulated machines on this computer.")
    commands = top.add_subparsers(dest="command", required=True)
    command = commands.add_parser("up", help="raise the lab and deploy the platform; run again to converge")
    command.add_argument("--force", action="store_true", help="go on in spite of what the first check finds")
    command.add_argument("--machines-only", action="store_true", help="stop before the platform is deployed")
    command = commands.add_parser("down", help="remove everything the lab made, and nothing else")
    command.add_argument("--keep-images", action="store_true", help="keep images and build caches for a quick start")
    commands.add_parser("status", help="show machines, memory and the last verdict")
    command = commands.add_parser("build", help="build the images without raising the machines")
    command.add_argument("what", nargs="?", choices=("all", "node"), default="all", help="node: only base and machine")
    command = commands.add_parser("context", help="write the build context of an image as a tar, for docker build -")
    command.add_argument("name", help="name of the image in lab/images/images.yml")
    commands.add_parser("password", help="print the password of the first account")
    commands.add_parser("rights", help="print which options a machine needs on this Docker engine")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command."""
    options = parser().parse_args(arguments)
    paths = Paths(Path(__file__).resolve().parents[2])
    if platform.system() != "Linux":
        print(f"The lab needs Linux, and this is {platform.system()}. Run it in a Debian or Ubuntu virtual machine.")
        return 1
    commands: dict[str, Callable[[], int]] = {
        "up": lambda: up(paths, options.force, options.machines_only),
        "down": lambda: down(paths, options.keep_images),
        "status": lambda: status(paths),
        "build": lambda: build(paths, options.what),
        "context": lambda: context(paths, options.name),
        "password": lambda: password(paths),
        "rights": lambda: rights(paths),
    }
    # `kill` ends a run as Ctrl-C does: with its children.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return commands[options.command]()
    except LabError as error:
        print_failure(options.command, error)
        return 1
    except BrokenPipeError:  # the reader (`| head`) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except PermissionError as error:
        print(f"\n{error.filename} may not be written by this user: it belongs to whoever ran the lab before.")
        print("What to do:\n  Run it as that user (`sudo make lab`), or give the files to yourself with chown.")
        return 1
    except KeyboardInterrupt:
        process.stop_all()
        print("\nInterrupted. `make lab` continues where it stopped, `make lab-down` removes everything.")
        return 130
