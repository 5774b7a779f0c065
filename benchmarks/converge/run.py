# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a run that changes nothing, three ways side by side, on the deployed lab.

- pantheon: this project, `site.yml` without the verdict.
- ordinary: the same services as most people write them: a task per file, and one `docker_compose_v2` per service.
- pyinfra: the same files, packages, units and containers, checked by pyinfra.

The two others are generated from what lies on the machines (`make lab` has to have run), so that every contestant finds its
wanted state fulfilled; one that changes something makes the measurement void. README.md says what each of them checks.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PREFIX = "pantheon-lab-"
PACKAGES = ("ca-certificates", "curl", "tzdata", "docker.io", "docker-compose")

# Run on a machine: every file that Pantheon manages there, with its owner, mode and content.
# What else Pantheon checks on a machine, as the commands that a person would type; `{{` and `}}` are docker's own.
IN_OLLAMA = "nsenter -n -t $(docker inspect -f '{{.State.Pid}}' pantheon-ollama-ollama-1)"
IN_POSTGRESQL = "docker exec -u postgres pantheon-postgresql-postgresql-1 psql -XAt"
LOOKS: dict[str, tuple[str, ...]] = {
    "machine": (
        "readlink /etc/localtime",
        "docker info --format '{{.Swarm.LocalNodeState}} {{.Swarm.NodeID}} {{.Swarm.ControlAvailable}}'",
    ),
    "manager": (
        "docker network ls --filter driver=overlay --format '{{.Name}}' | sort",
        "docker service inspect pantheon-anchor --format '{{.Spec.TaskTemplate.ContainerSpec.Image}}'",
        "docker node ls --format '{{.Hostname}} {{.Status}}' | sort",
    ),
    "postgresql": (
        f"{IN_POSTGRESQL} -c 'select rolname, rolcanlogin, rolpassword from pg_authid order by 1'",
        f"{IN_POSTGRESQL} -c 'select datname, datdba, datacl from pg_database order by 1'",
        f"{IN_POSTGRESQL} -d open_webui -c 'select extname from pg_extension order by 1'",
    ),
    "ollama": (f"{IN_OLLAMA} curl -sS http://127.0.0.1:11434/api/tags | tr , '\\n' | grep '\"name\"' | sort",),
}

READ_STATE = r"""
import base64, glob, json, os
found = []
paths = glob.glob("/opt/pantheon/*/compose.yml") + glob.glob("/opt/pantheon/*/compose.override.yml")
paths += glob.glob("/opt/pantheon/*/.env") + glob.glob("/opt/pantheon/*/files/**", recursive=True)
paths += glob.glob("/etc/**/*pantheon*", recursive=True) + ["/etc/docker/daemon.json"]
for path in sorted(set(paths)):
    if os.path.isfile(path) and not os.path.islink(path):
        about = os.stat(path)
        found.append({"path": path, "mode": "%04o" % (about.st_mode & 0o7777), "uid": about.st_uid, "gid": about.st_gid,
                      "content": base64.b64encode(open(path, "rb").read()).decode()})
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Managed:
    """One file on a machine."""

    path: str
    mode: str
    uid: int
    gid: int
    content: bytes

    @property
    def service(self) -> str | None:
        """The service that the file belongs to."""
        return self.path.split("/")[3] if self.path.startswith("/opt/pantheon/") else None


@dataclass(frozen=True)
class Sample:
    """One run of a contestant."""

    wall: float
    cpu: float
    machines_cpu: float


def docker(*arguments: str) -> str:
    """Run docker on the host of the lab."""
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=120)
    if answer.returncode != 0:
        raise SystemExit(f"docker {' '.join(arguments[:4])} failed: {answer.stderr.strip()}. Is the lab up? `make lab`")
    return answer.stdout


def read_state(machines: list[str]) -> dict[str, list[Managed]]:
    """The managed files of each machine."""
    state = {}
    for machine in machines:
        rows = json.loads(docker("exec", PREFIX + machine, "python3", "-c", READ_STATE))
        state[machine] = [
            Managed(row["path"], row["mode"], row["uid"], row["gid"], base64.b64decode(row["content"])) for row in rows
        ]
    return state


@dataclass(frozen=True)
class Look:
    """One more thing that is checked on a machine: a command, and what it says while all is well."""

    command: str
    answer: str


def read_looks(state: dict[str, list[Managed]], managers: list[str]) -> dict[str, list[Look]]:
    """What the looks of each machine say now; one that fails or says nothing would compare nothing."""
    found = {}
    for machine, files in state.items():
        kinds = ["machine", *(["manager"] if machine in managers else [])]
        kinds += [kind for kind in ("postgresql", "ollama") if any(managed.service == kind for managed in files)]
        commands = [command for kind in kinds for command in LOOKS[kind]]
        found[machine] = [
            Look(command, docker("exec", PREFIX + machine, "sh", "-c", command).strip()) for command in commands
        ]
        silent = [look.command for look in found[machine] if not look.answer]
        if silent:
            raise SystemExit(f"{machine} says nothing to: {'; '.join(silent)}")
    return found


def kernel_settings(files: list[Managed]) -> dict[str, str]:
    """The kernel settings that Pantheon keeps on a machine."""
    lines = [
        line.split("=", 1)
        for managed in files
        if managed.path.startswith("/etc/sysctl.d/")
        for line in managed.content.decode().splitlines()
        if "=" in line and not line.lstrip().startswith("#")
    ]
    return {name.strip(): value.strip() for name, value in lines}


def write_ordinary(folder: Path, state: dict[str, list[Managed]], looks: dict[str, list[Look]]) -> Path:
    """Write the ordinary playbook: roles' worth of tasks in plays per service, a template per file."""
    templates = folder / "templates"

    def source(machine: str, managed: Managed) -> str:
        target = templates / machine / managed.path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Jinja drops one newline at the end of a template, and must not read what the file itself says in braces.
        target.write_bytes(
            b"{% raw %}" + managed.content + b"{% endraw %}" + (b"\n" if managed.content.endswith(b"\n") else b"")
        )
        return f"{templates}/{{{{ inventory_hostname }}}}{managed.path}"

    def template(machine: str, managed: Managed) -> dict[str, Any]:
        arguments = {
            "src": source(machine, managed),
            "dest": managed.path,
            "owner": str(managed.uid),
            "group": str(managed.gid),
            "mode": managed.mode,
        }
        return {
            "name": f"Write {managed.path}",
            "ansible.builtin.template": arguments,
            "no_log": managed.path.endswith(".env"),
        }

    def shared(service: str | None, hosts: list[str]) -> list[dict[str, Any]]:
        tasks: dict[str, dict[str, Any]] = {}
        for host in hosts:
            for managed in state[host]:
                if managed.service == service:
                    task = template(host, managed)
                    tasks[managed.path] = task
                    having = [name for name in hosts if any(other.path == managed.path for other in state[name])]
                    if len(having) < len(hosts):
                        task["when"] = f"inventory_hostname in {having}"
        return [tasks[path] for path in sorted(tasks)]

    def asked() -> list[dict[str, Any]]:
        """A task per look, on the machines that have it, with what each of them should say."""
        tasks = []
        for command in dict.fromkeys(look.command for rows in looks.values() for look in rows):
            answers = {name: look.answer for name, rows in looks.items() for look in rows if look.command == command}
            tasks.append(
                {
                    "name": f"Look: {command[:50]}".replace("{", "(").replace("}", ")"),
                    "ansible.builtin.shell": "{% raw %}" + command + "{% endraw %}",
                    "changed_when": False,
                    "register": "look",
                    "vars": {"answers": answers},
                    "when": "inventory_hostname in answers",
                    "failed_when": "look.stdout | trim != answers[inventory_hostname]",
                    "no_log": True,  # verifiers of passwords are among the answers
                }
            )
        return tasks

    machines = list(state)
    settings = kernel_settings(state[machines[0]])
    plays: list[dict[str, Any]] = [
        {
            "name": "Machines",
            "hosts": "machines",
            "gather_facts": True,
            "gather_subset": ["min"],
            "tasks": [
                {
                    "name": "Set the kernel settings",
                    "ansible.posix.sysctl": {
                        "name": "{{ item.key }}",
                        "value": "{{ item.value }}",
                        "sysctl_file": "/etc/sysctl.d/60-pantheon.conf",
                        "reload": False,
                    },
                    "loop": [{"key": name, "value": value} for name, value in settings.items()],
                },
                {"name": "Install the packages", "ansible.builtin.apt": {"name": list(PACKAGES), "state": "present"}},
                *shared(None, machines),
                {
                    "name": "Run the Docker engine",
                    "ansible.builtin.systemd_service": {"name": "docker", "enabled": True, "state": "started"},
                },
                {"name": "Look at the engine", "community.docker.docker_host_info": {}},
                *asked(),
            ],
        }
    ]
    services = sorted({managed.service for files in state.values() for managed in files if managed.service})
    for service in services:
        hosts = [machine for machine, files in state.items() if any(managed.service == service for managed in files)]
        plays.append(
            {
                "name": service,
                "hosts": ":".join(hosts),
                "gather_facts": False,
                "tasks": [
                    {
                        "name": "Make the folder",
                        "ansible.builtin.file": {"path": f"/opt/pantheon/{service}", "state": "directory"},
                    },
                    *shared(service, hosts),
                    {
                        "name": "Enable the unit",
                        "ansible.builtin.systemd_service": {"name": f"pantheon-stack@{service}", "enabled": True},
                    },
                    {
                        "name": "Start the project",
                        "community.docker.docker_compose_v2": {
                            "project_src": f"/opt/pantheon/{service}",
                            "project_name": f"pantheon-{service}",
                            "pull": "never",
                            "build": "never",
                        },
                    },
                ],
            }
        )
    playbook = folder / "ordinary.yml"
    playbook.write_text(yaml.safe_dump(plays, sort_keys=False))
    return playbook


PYINFRA_DEPLOY = '''
import json
from io import BytesIO
from pathlib import Path

from pyinfra import host
from pyinfra.api import FactBase, StringCommand
from pyinfra.operations import apt, files, server, systemd


class Answer(FactBase):
    """What a command says."""

    def command(self, line):
        return StringCommand(line)

    def process(self, output):
        return "\\n".join(output).strip()


HERE = Path(__file__).parent


class Projects(FactBase):
    """The compose projects whose containers all run."""

    def command(self):
        return StringCommand("docker ps -a --format '{{.Label \\"com.docker.compose.project\\"}} {{.State}}'")

    def process(self, output):
        rows = [line.split() for line in output if len(line.split()) == 2]
        return sorted({name for name, state in rows} - {name for name, state in rows if state != "running"})


wanted = json.loads((HERE / "state.json").read_text())[host.name]
apt.packages(name="Install the packages", packages=wanted["packages"])
for entry in wanted["files"]:
    files.put(
        name=entry["path"], src=str(HERE / entry["source"]), dest=entry["path"], mode=entry["mode"],
        user=entry["user"], group=entry["group"],
    )
for name, value in wanted["settings"].items():
    server.sysctl(name=name, key=name, value=value)
systemd.service(name="docker", service="docker", running=True, enabled=True)
for look in wanted["looks"]:
    if host.get_fact(Answer, line=look["command"]) != look["answer"]:
        server.shell(name="differs: " + look["command"][:40], commands=["false"])
for service in wanted["services"]:
    systemd.service(name=service, service=f"pantheon-stack@{service}.service", running=None, enabled=True)
running = host.get_fact(Projects)
for service in wanted["services"]:
    if f"pantheon-{service}" not in running:
        server.shell(name=f"start {service}", commands=[f"cd /opt/pantheon/{service} && docker compose up -d"])
'''


def names_of(machine: str) -> tuple[dict[int, str], dict[int, str]]:
    """User and group names of a machine by number: pyinfra compares names."""

    def table(database: str) -> dict[int, str]:
        rows = [line.split(":") for line in docker("exec", PREFIX + machine, "getent", database).splitlines()]
        return {int(row[2]): row[0] for row in rows}

    return table("passwd"), table("group")


def write_pyinfra(
    folder: Path, state: dict[str, list[Managed]], looks: dict[str, list[Look]], hosts: dict[str, dict[str, Any]]
) -> list[str]:
    """Write the pyinfra deploy with the same files, packages, units and projects; the command that runs it."""
    wanted: dict[str, Any] = {}
    for machine, files in state.items():
        users, groups = names_of(machine)
        rows = []
        for number, managed in enumerate(files):
            source = f"files/{machine}/{number}"
            (folder / source).parent.mkdir(parents=True, exist_ok=True)
            (folder / source).write_bytes(managed.content)
            rows.append(
                {
                    "path": managed.path,
                    "source": source,
                    "mode": managed.mode.lstrip("0"),
                    # pyinfra reads the names from stat, which says UNKNOWN where the machine has no name for a number.
                    "user": users.get(managed.uid, "UNKNOWN"),
                    "group": groups.get(managed.gid, "UNKNOWN"),
                }
            )
        services = sorted({managed.service for managed in files if managed.service})
        wanted[machine] = {
            "packages": list(PACKAGES),
            "files": rows,
            "services": services,
            "settings": kernel_settings(files),
            "looks": [{"command": look.command, "answer": look.answer} for look in looks[machine]],
        }
    (folder / "state.json").write_text(json.dumps(wanted))
    (folder / "deploy.py").write_text(PYINFRA_DEPLOY)
    entries = [
        (
            name,
            {
                "ssh_hostname": about["ansible_host"],
                "ssh_user": "root",
                "ssh_key": str(ROOT / ".lab/id_ed25519"),
                "ssh_known_hosts_file": str(ROOT / ".lab/known_hosts"),
            },
        )
        for name, about in hosts.items()
    ]
    (folder / "inventory.py").write_text(f"machines = {entries!r}\n")
    return [program("pyinfra"), "-y", str(folder / "inventory.py"), str(folder / "deploy.py")]


def program(name: str) -> str:
    """A program of the same environment."""
    return str(Path(sys.executable).with_name(name))


def machines_cpu(identifiers: dict[str, str]) -> float:
    """Processor seconds that all machines have used so far, from their control groups."""
    total = 0.0
    for identifier in identifiers.values():
        old = Path(f"/sys/fs/cgroup/cpuacct/docker/{identifier}/cpuacct.usage")
        candidates = (
            Path(f"/sys/fs/cgroup/system.slice/docker-{identifier}.scope/cpu.stat"),
            Path(f"/sys/fs/cgroup/docker/{identifier}/cpu.stat"),
        )
        if old.is_file():
            total += int(old.read_text()) / 1e9
            continue
        for path in candidates:
            if path.is_file():
                total += int(path.read_text().split("usage_usec ")[1].split()[0]) / 1e6
                break
        else:
            return float("nan")
    return total


def sample(command: list[str], environment: dict[str, str], log: Path, identifiers: dict[str, str]) -> Sample:
    """Run a contestant once."""
    before = machines_cpu(identifiers)
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.monotonic() - began
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} ended with status {process.returncode}:\n{log.read_text()[-4000:]}")
    return Sample(wall, used.ru_utime + used.ru_stime, machines_cpu(identifiers) - before)


def ansible_unchanged(text: str) -> bool:
    """Whether the recap of a run says that nothing changed and nothing failed."""
    rows = [line for line in text.splitlines() if " ok=" in line and "changed=" in line]
    good = ("changed=0 ", "unreachable=0 ", "failed=0 ")
    return bool(rows) and all(word in row for row in rows for word in good)


def pyinfra_unchanged(text: str) -> bool:
    """Whether pyinfra found nothing to do: its table of operations ends with the totals of changes."""
    rows = [line for line in text.splitlines() if "Grand total" in line]
    # Its columns: hosts, success (changed), error, no change.
    return bool(rows) and rows[-1].split()[-3:-1] == ["-", "-"]


def main() -> int:
    """Measure in turns, check that nothing changed, print a table and publish the figures."""
    parser = argparse.ArgumentParser(description="Measure a run that changes nothing, three ways, on the deployed lab.")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is measured (default: 3)")
    parser.add_argument("--keep", type=Path, help="keep the generated contestants and their output in this folder")
    arguments = parser.parse_args()

    groups = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]
    hosts = groups["machines"]["hosts"]
    state = read_state(list(hosts))
    looks = read_looks(state, list(groups["overlay_manager"]["hosts"]))
    count = sum(len(files) for files in state.values())
    instances = len(
        {(machine, managed.service) for machine, files in state.items() for managed in files if managed.service}
    )
    if not instances:
        raise SystemExit("no service is deployed on the lab; run `make lab` first")
    identifiers = {name: docker("inspect", "--format", "{{.Id}}", PREFIX + name).strip() for name in hosts}

    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="pantheon-converge-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # it holds the .env files of the lab
    try:
        playbook = ["-i", "inventories/lab"]
        contestants: dict[str, tuple[list[str], dict[str, str], Callable[[str], bool]]] = {
            "pantheon": (
                [program("ansible-playbook"), *playbook, "site.yml", "--skip-tags", "verify,appliances"],
                {},
                ansible_unchanged,
            ),
            "ordinary": (
                [program("ansible-playbook"), *playbook, str(write_ordinary(folder, state, looks))],
                {},
                ansible_unchanged,
            ),
            "pyinfra": (write_pyinfra(folder, state, looks, hosts), {"PYINFRA_PROGRESS": "off"}, pyinfra_unchanged),
        }
        samples: dict[str, list[Sample]] = {name: [] for name in contestants}
        # Round 0 makes connections and caches, and is not counted.
        for number in range(arguments.rounds + 1):
            for name, (command, environment, unchanged) in contestants.items():
                log = folder / f"{name}-{number}.log"
                taken = sample(command, environment, log, identifiers)
                if not unchanged(log.read_text()):
                    raise SystemExit(f"{name} changed something, so its time says nothing:\n{log.read_text()[-6000:]}")
                print(f"round {number}: {name:9} {taken.wall:6.1f} s", flush=True)
                if number:
                    samples[name].append(taken)
    finally:
        if not arguments.keep:
            shutil.rmtree(folder, ignore_errors=True)

    def middle(name: str, what: str) -> float:
        return round(float(statistics.median(getattr(one, what) for one in samples[name])), 2)

    rows = {name: {what: middle(name, what) for what in ("wall", "cpu", "machines_cpu")} for name in samples}
    ratio = {name: round(row["wall"] / rows["pantheon"]["wall"], 1) for name, row in rows.items()}
    print(
        f"\n{len(hosts)} machines, {instances} instances of services, {count} files, nothing to change; medians of {arguments.rounds}"
    )
    print("| way | wall | CPU of the controller | CPU of the machines | wall, relative |\n|---|---:|---:|---:|---:|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['wall']:.1f} s | {row['cpu']:.1f} s | {row['machines_cpu']:.1f} s | {ratio[name]:.1f} |"
        )
    result = {
        "what": "a run that changes nothing, on the deployed lab; medians",
        "machines": len(hosts),
        "instances": instances,
        "files": count,
        "rounds": arguments.rounds,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "rows": rows,
        "wall_relative_to_pantheon": ratio,
        "samples": {name: [round(one.wall, 2) for one in taken] for name, taken in samples.items()},
    }
    (HERE / "results.json").write_text(json.dumps(result, indent=2) + "\n")
    return 0 if ratio["ordinary"] >= 10 and ratio["pyinfra"] > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
