# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A failover drill: the real etcd, Patroni, PostgreSQL and witness, real faults, and every acknowledged write counted.

Three machines (containers that hold a network) run what the platform runs on its three: etcd and a witness on each, and
PostgreSQL under Patroni on two. A fourth writes to both databases all the time. README.md explains the cases.

    python benchmarks/failover/run.py                 all cases, results.json
    python benchmarks/failover/run.py kill cut        some of them; nothing is written
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import platform
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SCOPE = "drill"
DATABASES = ("m1", "m2")
MACHINES = ("m1", "m2", "m3")
TTL = 20
LOOP_WAIT = 5
DATA = "/var/lib/postgresql/drill"
DISK_MEGABYTES = 700  # of the databases in the cases that fill them; PostgreSQL alone takes about 60
WITNESS_USER = 65534  # a user of its own, so that one case can cut the witnesses alone off


class DrillError(Exception):
    """The drill itself does not work."""


def docker(*arguments: str, check: bool = True, text: str | None = None, seconds: float = 120) -> str:
    """Run docker; its output."""
    command = ["docker", *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, input=text, check=False, timeout=seconds)
    if check and answer.returncode != 0:
        raise DrillError(f"docker {' '.join(arguments[:6])} failed: {answer.stderr.strip()}")
    return answer.stdout


def together(*calls: Callable[[], object]) -> None:
    """Do things at the same time."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@dataclass
class Ack:
    """A write that a database has acknowledged."""

    when: float
    host: str
    number: int


@dataclass
class Run:
    """What one run of a case gave."""

    gap: float
    acknowledged: int
    lost: int
    takeovers: int
    both: bool  # both databases acknowledged something in the same moment
    leader: str  # what became of the leader
    notes: dict[str, Any] = field(default_factory=dict)


class Cluster:
    """The machines of the drill."""

    def __init__(self, prefix: str, image: str, subnet: str, small: bool = False) -> None:
        self.prefix, self.image, self.subnet, self.small = prefix, image, subnet, small
        base = subnet.rsplit(".", 1)[0]
        self.ip = {name: f"{base}.{10 + number}" for number, name in enumerate(("client", *MACHINES))}
        self.folder = Path(tempfile.mkdtemp(prefix="failover-drill-"))
        self.witnesses: tuple[str, ...] = MACHINES
        self.acks: list[Ack] = []
        self.loops: list[tuple[str, Path]] = []
        self.writer: subprocess.Popen[str] | None = None
        self.context = ssl.create_default_context()

    def name(self, part: str) -> str:
        """The name of a container."""
        return self.prefix + part

    # ---- building

    def certificates(self) -> None:
        """One authority, and one certificate for everything: the drill is about databases."""
        folder = self.folder
        names = ",".join(f"IP:{ip}" for ip in (*self.ip.values(), "127.0.0.1"))

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-days", "2", "-subj", "/CN=drill",
                "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        openssl("req", *curve, "-keyout", "tls.key", "-out", "tls.csr", "-subj", "/CN=member")
        (folder / "tls.ext").write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"
                                        "authorityKeyIdentifier=keyid\n")  # fmt: skip
        openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2", "-extfile", "tls.ext",
                "-out", "tls.crt")  # fmt: skip
        (folder / "tls.key").chmod(0o644)  # read by three users in the containers; gone with the drill
        self.context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self.context.load_cert_chain(folder / "tls.crt", folder / "tls.key")

    def patroni(self, machine: str) -> dict[str, Any]:
        """Patroni's configuration."""
        tls = {"cacert": "/drill/ca.crt", "cert": "/drill/tls.crt", "key": "/drill/tls.key"}
        return {
            "scope": SCOPE,
            "name": machine,
            "restapi": {
                "listen": "0.0.0.0:8008",
                "connect_address": f"{self.ip[machine]}:8008",
                "certfile": tls["cert"],
                "keyfile": tls["key"],
                "cafile": tls["cacert"],
                "verify_client": "optional",
            },
            "ctl": {"certfile": tls["cert"], "keyfile": tls["key"], "cacert": tls["cacert"]},
            "etcd3": {
                # Patroni would ask etcd for its members and take one by chance. When that one vanishes together with the
                # leader, the standby waits for it first. So: this list only, and the member of this machine first.
                "hosts": [f"{self.ip[name]}:2379" for name in (machine, *(m for m in MACHINES if m != machine))],
                "use_proxies": True,
                "protocol": "https",
                **tls,
            },
            "bootstrap": {
                "dcs": {
                    "ttl": TTL,
                    "loop_wait": LOOP_WAIT,
                    "retry_timeout": 5,
                    "primary_start_timeout": 15,
                    "maximum_lag_on_failover": 1048576,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": False,  # the cases switch it
                    "postgresql": {
                        "use_pg_rewind": True,
                        "use_slots": True,
                        "remove_data_directory_on_rewind_failure": True,
                        "parameters": {"max_connections": 300, "shared_buffers": "32MB", "wal_keep_size": "64MB"},
                    },
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": "0.0.0.0:5432",
                "connect_address": f"{self.ip[machine]}:5432",
                "data_dir": f"{DATA}/data",
                "bin_dir": "/usr/lib/postgresql/17/bin",
                "pgpass": f"{DATA}/pgpass",
                "authentication": {
                    "superuser": {"username": "postgres", "password": "drill"},
                    "replication": {"username": "replicator", "password": "drill"},
                    "rewind": {"username": "rewind", "password": "drill"},
                },
                "parameters": {
                    "unix_socket_directories": DATA,
                    "log_min_messages": "log",
                    "log_min_error_statement": "panic",
                },
                "pg_hba": ["local all all trust", "host all all all trust", "host replication all all trust"],
            },
        }

    def witness(self, machine: str) -> dict[str, Any]:
        """The configuration of a witness."""
        return {
            "name": machine,
            "scope": SCOPE,
            "namespace": "/service/",
            "etcd": {
                "endpoints": [
                    f"https://{self.ip[name]}:2379" for name in (machine, *(m for m in MACHINES if m != machine))
                ]
            },
            "members": {name: f"https://{self.ip[name]}:8008" for name in DATABASES},
            "tls": {"ca": "/drill/ca.crt", "cert": "/drill/tls.crt", "key": "/drill/tls.key"},
            "witnesses": len(MACHINES),
            "interval": 0.5,
            "timeout": 0.5,
            "misses": 3,
            "status": "127.0.0.1:8009",
        }

    def create(self, part: str, machine: str, user: str, *command: str) -> None:
        """A container in the network of a machine, with the drill's files."""
        docker("create", "--name", self.name(part), "--network", f"container:{self.name(machine)}", "--user", user,
               "--restart", "unless-stopped",  # Patroni with a fixed list ends, with 0, if etcd has no majority yet
               *(["--volume", f"{self.name(f'disk-{machine}')}:{DATA}"] if self.small and part.startswith("patroni") else []),
               self.image, *command)  # fmt: skip
        docker("cp", f"{self.folder}/.", f"{self.name(part)}:/drill/")

    def disks(self) -> None:
        """A small disk for each database: a file with a file system, which can be full without harm to this computer."""
        for machine in DATABASES:
            image = self.folder.with_suffix(f".{machine}.img")
            with image.open("wb") as stream:
                stream.truncate(DISK_MEGABYTES * 1024 * 1024)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True, capture_output=True)
            device = subprocess.run(
                ["losetup", "--find", "--show", str(image)], check=True, capture_output=True, text=True
            ).stdout.strip()
            self.loops.append((device, image))
            docker("volume", "create", "--opt", "type=ext4", "--opt", f"device={device}", self.name(f"disk-{machine}"))

    def fill(self, machine: str) -> None:
        """Write to the disk of a database until nothing more fits."""
        script = f"dd if=/dev/zero of={DATA}/ballast bs=1M; dd if=/dev/zero of={DATA}/ballast2 bs=1k; true"
        docker("exec", self.name(f"patroni-{machine}"), "sh", "-c", script)

    def empty(self, machine: str) -> None:
        """Take what filled the disk away."""
        docker("exec", self.name(f"patroni-{machine}"), "sh", "-c", f"rm -f {DATA}/ballast {DATA}/ballast2")

    def free(self, machine: str) -> str:
        """What is free on the disk of a database."""
        script = f"df --output=avail -k {DATA} | tail -1"
        return docker("exec", self.name(f"patroni-{machine}"), "sh", "-c", script, check=False).strip()

    def up(self) -> None:
        """Build the image, start everything."""
        docker("build", "-q", "-t", self.image, str(HERE / "image"), seconds=900)
        docker("network", "create", "--subnet", self.subnet, self.name("net"))
        if self.small:
            self.disks()
        self.certificates()
        self.folder.chmod(0o755)
        (self.folder / "writer.py").write_text((HERE / "writer.py").read_text())
        for machine in MACHINES:
            (self.folder / f"patroni-{machine}.yml").write_text(json.dumps(self.patroni(machine)))
            (self.folder / f"witness-{machine}.json").write_text(json.dumps(self.witness(machine)))
        for machine in ("client", *MACHINES):
            docker("run", "-d", "--init", "--name", self.name(machine), "--network", self.name("net"), "--ip",
                   self.ip[machine], "--cap-add", "NET_ADMIN", self.image, "sleep", "infinity")  # fmt: skip
        docker("cp", f"{self.folder}/.", f"{self.name('client')}:/drill/")
        members = ",".join(f"{name}=https://{self.ip[name]}:2380" for name in MACHINES)
        for machine in MACHINES:
            tls = [
                f"--{kind}{part}"
                for kind in ("", "peer-")
                for part in (
                    "trusted-ca-file=/drill/ca.crt",
                    "cert-file=/drill/tls.crt",
                    "key-file=/drill/tls.key",
                    "client-cert-auth",
                )
            ]
            ip = self.ip[machine]
            self.create(f"etcd-{machine}", machine, "root", "etcd", f"--name={machine}", "--data-dir=/var/lib/drill",
                        f"--listen-client-urls=https://{ip}:2379", f"--advertise-client-urls=https://{ip}:2379",
                        f"--listen-peer-urls=https://{ip}:2380", f"--initial-advertise-peer-urls=https://{ip}:2380",
                        f"--initial-cluster={members}", "--log-level=warn", *tls)  # fmt: skip
            self.create(f"witness-{machine}", machine, str(WITNESS_USER), "env", "PYTHONPATH=/drill/src", "python3", "-m",
                        "pg_witness", f"/drill/witness-{machine}.json")  # fmt: skip
            docker("cp", str(ROOT / "services/pg-witness/src"), f"{self.name(f'witness-{machine}')}:/drill/src")
        for machine in DATABASES:
            start = f"mkdir -p {DATA} && chown postgres {DATA} && exec setpriv --reuid=postgres --regid=postgres --init-groups"
            self.create(f"patroni-{machine}", machine, "root", "sh", "-c",
                        f"{start} env HOME={DATA} patroni /drill/patroni-{machine}.yml")  # fmt: skip
        for part in ("etcd", "patroni"):
            for machine in MACHINES if part == "etcd" else DATABASES:
                docker("start", self.name(f"{part}-{machine}"))
        self.wait_ready(120)
        self.start_witnesses(self.witnesses)
        self.sql("CREATE TABLE IF NOT EXISTS drill (number bigint PRIMARY KEY)")

    def down(self) -> None:
        """Remove everything that is ours."""
        self.stop_writer()
        parts = [f"{part}-{machine}" for part in ("witness", "patroni", "etcd") for machine in MACHINES]
        names = [self.name(part) for part in (*parts, "client", *MACHINES)]
        docker("rm", "-f", "-v", *names, check=False)
        docker("network", "rm", self.name("net"), check=False)
        docker("volume", "rm", "-f", *[self.name(f"disk-{machine}") for machine in DATABASES], check=False)
        for device, image in self.loops:
            subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)
            image.unlink(missing_ok=True)
        for path in sorted(self.folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        self.folder.rmdir()

    # ---- looking

    def cluster(self, machine: str) -> dict[str, str]:
        """Role or state of each member, as a member sees it."""
        url = f"https://{self.ip[machine]}:8008/cluster"
        with urllib.request.urlopen(url, timeout=2, context=self.context) as answer:
            members = json.load(answer)["members"]
        return {
            row["name"]: row["role"]
            if row["role"] == "leader" and row["state"] == "running"
            else f"{row['role']} {row['state']}"
            for row in members
        }

    def views(self) -> list[dict[str, str]]:
        """The same, from each database that answers. One that was cut off may still hold itself for the leader."""
        found = []
        for machine in DATABASES:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found.append(self.cluster(machine))
        return found

    def leader(self) -> str:
        """The leader of now, as etcd has it; empty without one."""
        return self.etcdctl("get", "--print-value-only", f"/service/{SCOPE}/leader").strip()

    def wait_ready(self, seconds: float = 90) -> str:
        """Wait until both agree on a leader with a synchronous standby that streams; the leader."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            views = self.views()
            if (
                len(views) == 2
                and views[0] == views[1]
                and sorted(views[0].values()) == ["leader", "sync_standby streaming"]
            ):
                leader = self.leader()
                if views[0].get(leader) == "leader":
                    return leader
            time.sleep(0.3)
        raise DrillError(f"the cluster did not become ready: {self.views()}")

    def sql(self, statement: str) -> str:
        """Ask the leader."""
        machine = self.leader()
        return docker("exec", self.name(f"patroni-{machine}"), "psql", "-h", DATA, "-U", "postgres", "-XAtc", statement)

    def etcdctl(self, *arguments: str) -> str:
        """Ask etcd, on a machine that always has it."""
        return docker("exec", "-e", "ETCDCTL_API=3", self.name("etcd-m3"), "etcdctl", f"--endpoints=https://{self.ip['m3']}:2379",
                      "--cacert=/drill/ca.crt", "--cert=/drill/tls.crt", "--key=/drill/tls.key", *arguments)  # fmt: skip

    def set_strict(self, strict: bool) -> None:
        """Change Patroni's dynamic configuration."""
        body = json.dumps({"synchronous_mode_strict": strict}).encode()
        url = f"https://{self.ip[self.leader()]}:8008/config"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method="PATCH")
        with urllib.request.urlopen(request, timeout=5, context=self.context) as answer:
            answer.read()

    def takeovers(self) -> int:
        """How many leader keys the witnesses have given free so far, from their logs."""
        return sum(self.witness_log(machine).count('"action": "delete", "done": true') for machine in MACHINES)

    def witness_log(self, machine: str) -> str:
        """What a witness has said."""
        name = self.name(f"witness-{machine}")
        return subprocess.run(
            ["docker", "logs", name], stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, check=False
        ).stdout

    # ---- doing

    def start_witnesses(self, machines: tuple[str, ...]) -> None:
        """Let these run, and no others."""
        for machine in MACHINES:
            docker(
                "start" if machine in machines else "kill", self.name(f"witness-{machine}"), check=machine in machines
            )

    def start_writer(self) -> None:
        """Begin to write and to count."""
        self.acks = []
        process = subprocess.Popen(
            ["docker", "exec", "-i", self.name("client"), "python3", "/drill/writer.py", *(self.ip[name] for name in DATABASES)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.writer = process
        machines = {ip: name for name, ip in self.ip.items()}

        def read() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                when, host, number = line.split()
                self.acks.append(Ack(float(when), machines[host], int(number)))

        threading.Thread(target=read, daemon=True).start()

    def stop_writer(self) -> None:
        """End the writing."""
        if self.writer is not None:
            assert self.writer.stdin is not None
            self.writer.stdin.close()
            self.writer.wait(10)
            self.writer = None
            time.sleep(0.2)

    def rules(self, machine: str, *rules: str) -> None:
        """Cut something off, in the network of a machine; all rules at once."""
        script = " && ".join(f"iptables -w {rule}" for rule in rules)
        docker("exec", self.name(machine), "sh", "-c", script)

    def heal(self) -> None:
        """Take every cut back."""
        for machine in MACHINES:
            self.rules(machine, "-F")

    def repair(self) -> None:
        """After a run that went wrong: everything as it was."""
        self.stop_writer()
        self.heal()
        for part in [f"{part}-{machine}" for part in ("etcd", "patroni", "witness") for machine in MACHINES]:
            docker("unpause", self.name(part), check=False)
            docker("start", self.name(part), check=False)
        with contextlib.suppress(DrillError, OSError):
            self.set_strict(False)


# ---- the cases: each breaks something and puts it back; what they return is noted


def kill(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Kill the container of the leader; its machine lives, so its ports refuse at once."""
    docker("kill", cluster.name(f"patroni-{leader}"))
    time.sleep(6)
    docker("start", cluster.name(f"patroni-{leader}"))
    return {}


def kill_alone(cluster: Cluster, leader: str) -> dict[str, Any]:
    """The same without witnesses: the way it is with Patroni alone."""
    docker("kill", cluster.name(f"patroni-{leader}"))
    time.sleep(24)
    docker("start", cluster.name(f"patroni-{leader}"))
    return {}


def patroni_only(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Kill Patroni but not PostgreSQL, which nobody keeps in order then."""
    script = "kill -9 $(cat /proc/[0-9]*/stat | awk '$2 == \"(patroni)\" {print $1}')"
    docker("exec", cluster.name(f"patroni-{leader}"), "sh", "-c", script)
    time.sleep(8)
    docker("kill", cluster.name(f"patroni-{leader}"), check=False)
    docker("start", cluster.name(f"patroni-{leader}"))
    return {}


def machine(cluster: Cluster, leader: str) -> dict[str, Any]:
    """The machine of the leader is gone, with its member of etcd and its witness; nothing answers, nothing refuses."""
    parts = [cluster.name(f"{part}-{leader}") for part in ("patroni", "etcd", "witness")]
    cluster.rules(leader, "-I INPUT -j DROP", "-I OUTPUT -j DROP")
    together(*[lambda name=name: docker("kill", name) for name in parts])
    time.sleep(12)
    cluster.heal()
    for name in reversed(parts):
        docker("start", name)
    return {}


def pause(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Freeze the leader for 30 s; then it goes on as if nothing had been."""
    name = cluster.name(f"patroni-{leader}")
    docker("pause", name)
    time.sleep(30)
    woken = time.monotonic()
    docker("unpause", name)
    while time.monotonic() < woken + 60:
        with contextlib.suppress(OSError, ValueError, KeyError):
            if cluster.cluster(leader).get(leader, "").startswith(("replica", "sync_standby")):
                break
        time.sleep(0.1)
    return {"demoted after": round(time.monotonic() - woken, 1)}


def cut(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Cut the leader's machine off from the other two, but not from the clients, for 40 s."""
    others = [cluster.ip[name] for name in MACHINES if name != leader]
    began = time.monotonic()
    cluster.rules(
        leader,
        *(f"-I {chain} {way} {ip} -j DROP" for ip in others for chain, way in (("INPUT", "-s"), ("OUTPUT", "-d"))),
    )
    time.sleep(40)
    cluster.heal()
    last = max((ack.when - began for ack in cluster.acks if ack.host == leader and ack.when < began + 40), default=0.0)
    return {"last acknowledgement of the old leader": round(last, 2)}


def cut_witness(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Cut one witness off from a healthy leader, for 20 s."""
    cluster.rules(leader, f"-I INPUT -s {cluster.ip['m3']} -p tcp --dport 8008 -j DROP")
    time.sleep(20)
    cluster.heal()
    return {}


def cut_witnesses(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Cut all witnesses off from a healthy leader, for 75 s; Patroni's members and etcd see each other."""
    for name in MACHINES:
        cluster.rules(
            name, f"-I OUTPUT -m owner --uid-owner {WITNESS_USER} -d {cluster.ip[leader]} -p tcp --dport 8008 -j DROP"
        )
    time.sleep(75)
    cluster.heal()
    return {}


def cut_rest(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Cut everybody off from the leader's REST API, also the standby, for 75 s; etcd and replication work."""
    cluster.rules(leader, "-I INPUT -p tcp --dport 8008 -j DROP")
    time.sleep(75)
    cluster.heal()
    return {}


def witness_down(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Kill a witness; 8 s later, kill the leader."""
    docker("kill", cluster.name("witness-m3"))
    time.sleep(8)
    quiet = longest_gap(cluster.acks)
    kill(cluster, leader)
    docker("start", cluster.name("witness-m3"))
    return {"gap after the witness": round(quiet, 2)}


def standby_down(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Kill the synchronous standby, and at once the leader: nobody may take over. 10 s later the leader is back."""
    standby = next(name for name in DATABASES if name != leader)
    docker("kill", cluster.name(f"patroni-{standby}"))
    docker("kill", cluster.name(f"patroni-{leader}"))
    time.sleep(10)
    holder = cluster.leader()
    docker("start", cluster.name(f"patroni-{leader}"))
    docker("start", cluster.name(f"patroni-{standby}"))
    return {"key after 10 s": holder or "none"}


def disk_full_standby(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Fill the disk of the synchronous standby, for 40 s; then make room."""
    standby = next(name for name in DATABASES if name != leader)
    cluster.fill(standby)
    full = cluster.free(standby)
    time.sleep(40)
    seen = cluster.cluster(leader).get(standby, "not listed")
    cluster.empty(standby)
    return {"free while full (kB)": full, "standby after 40 s": seen}


def disk_full_leader(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Fill the disk of the leader, for 60 s; then make room."""
    cluster.fill(leader)
    full, filled = cluster.free(leader), time.monotonic()
    time.sleep(60)
    other = next(name for name in DATABASES if name != leader)
    first = min((ack.when - filled for ack in cluster.acks if ack.host == other), default=None)
    holder = cluster.leader()
    cluster.empty(leader)
    return {
        "free while full (kB)": full,
        "key after 60 s": holder or "none",
        "other acknowledged after": None if first is None else round(first, 1),
    }


def again(cluster: Cluster, leader: str) -> dict[str, Any]:
    """Kill the leader, and the next one as soon as the first is back: the second time is within 60 s."""
    kill(cluster, leader)
    second = cluster.wait_ready()
    first_gap, mark = longest_gap(cluster.acks), len(cluster.acks)
    docker("kill", cluster.name(f"patroni-{second}"))
    time.sleep(25)
    docker("start", cluster.name(f"patroni-{second}"))
    return {"first gap": round(first_gap, 2), "second gap": round(longest_gap(cluster.acks[mark - 1 :]), 2)}


@dataclass(frozen=True)
class Case:
    """A fault, and how often it is tried."""

    act: Callable[[Cluster, str], dict[str, Any]]
    runs: int
    witnesses: tuple[str, ...] = MACHINES
    failovers: int = 1  # at most
    small: bool = False  # the databases have small disks
    strict: bool = False  # no acknowledgement without a standby, even if there is none left


CASES: dict[str, Case] = {
    "kill": Case(kill, 5),
    "kill-alone": Case(kill_alone, 2, ()),
    "kill-strict": Case(kill, 2, strict=True),
    "patroni-only": Case(patroni_only, 2),
    "machine": Case(machine, 3),
    "pause": Case(pause, 3),
    "pause-strict": Case(pause, 1, strict=True),
    "cut": Case(cut, 2),
    "cut-strict": Case(cut, 1, strict=True),
    "witness-down": Case(witness_down, 2),
    "standby-down": Case(standby_down, 2),
    "cut-witness": Case(cut_witness, 2),
    "cut-witnesses": Case(cut_witnesses, 1),
    "cut-rest": Case(cut_rest, 1),
    "again": Case(again, 1, failovers=2),
    "disk-full-standby": Case(disk_full_standby, 2, small=True),
    "disk-full-leader": Case(disk_full_leader, 2, small=True),
}


def longest_gap(acks: list[Ack]) -> float:
    """The longest time without an acknowledged write."""
    times = sorted(ack.when for ack in acks)
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)


def turns(acks: list[Ack]) -> int:
    """How often the database that acknowledges changed. More often than there was a failover: both wrote at once."""
    hosts = [ack.host for ack in sorted(acks, key=lambda ack: ack.when)]
    return sum(1 for one, other in itertools.pairwise(hosts) if one != other)


def run_once(cluster: Cluster, case: Case) -> Run:
    """Break something once, and count."""
    cluster.wait_ready()
    # The 60 s between two take-overs have their own case; the others need not wait for them.
    cluster.etcdctl("del", f"/pantheon/witness/{SCOPE}/takeover")
    cluster.start_witnesses(case.witnesses)
    cluster.set_strict(case.strict)
    before = cluster.takeovers()
    cluster.start_writer()
    time.sleep(3)
    leader = cluster.leader()
    notes = case.act(cluster, leader)
    after = cluster.wait_ready(120)
    time.sleep(1.5)
    cluster.stop_writer()
    acks = list(cluster.acks)
    there = {int(row) for row in cluster.sql("SELECT number FROM drill").split()}
    lost = [ack for ack in acks if ack.number not in there]
    for ack in lost[:5]:
        print(f"    LOST: {ack}", flush=True)
    became = "kept the key" if after == leader else f"is a standby of {after}"
    return Run(
        longest_gap(acks),
        len(acks),
        len(lost),
        cluster.takeovers() - before,
        turns(acks) > case.failovers,
        became,
        notes,
    )


def cpu_of_witness(cluster: Cluster, seconds: float = 30) -> float:
    """Percent of a core that a witness uses while all is well."""

    def used() -> int:
        fields = docker("exec", cluster.name("witness-m3"), "cat", "/proc/1/stat").rsplit(")", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = used()
    time.sleep(seconds)
    return (used() - before) / seconds  # in hundredths of a second: percent


@contextlib.contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, and no trace of it afterwards."""
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


def measure(
    cluster: Cluster,
    names: list[str],
    runs: int | None,
    logs: Path | None,
    results: dict[str, list[Run]],
    failed: list[str],
) -> float:
    """Run these cases on one cluster; the processor time of a witness."""
    with running(cluster):
        try:
            cpu = cpu_of_witness(cluster)
            print(f"a witness uses {cpu:.2f} % of a core", flush=True)
            for name in names:
                case = CASES[name]
                for _ in range(runs or case.runs):
                    try:
                        run = run_once(cluster, case)
                    except (DrillError, OSError, subprocess.SubprocessError) as error:
                        failed.append(name)
                        print(f"{name:18} could not be measured: {error}", flush=True)
                        cluster.repair()
                        continue
                    results.setdefault(name, []).append(run)
                    print(
                        f"{name:18} gap {run.gap:6.2f} s  acknowledged {run.acknowledged:5}  lost {run.lost}  "
                        f"take-overs {run.takeovers}  old leader {run.leader}"
                        f"{'  BOTH WROTE' if run.both else ''}  {run.notes or ''}",
                        flush=True,
                    )
        finally:
            if logs:
                logs.mkdir(parents=True, exist_ok=True)
                for part in ("patroni-m1", "patroni-m2", "witness-m1", "witness-m2", "witness-m3"):
                    log = subprocess.run(["docker", "logs", "-t", cluster.name(part)], stdout=subprocess.PIPE,
                                         stderr=subprocess.STDOUT, text=True, check=False)  # fmt: skip
                    (logs / f"{part}.log").write_text(log.stdout)
    return cpu


def main() -> int:
    """Run the cases, print a table."""
    parser = argparse.ArgumentParser(description="Failover drill of PostgreSQL under Patroni with witnesses.")
    parser.add_argument("cases", nargs="*", metavar="case", help=f"of: {', '.join(CASES)}")
    parser.add_argument("--prefix", default="pantheon-drill-", help="of the names of containers and network")
    parser.add_argument("--image", default="pantheon-drill:latest", help="name that the image gets")
    parser.add_argument("--subnet", default="172.31.251.0/24")
    parser.add_argument("--runs", type=int, help="of each case")
    parser.add_argument(
        "--output",
        type=Path,
        help="where to write the results; cases that did not run keep theirs (default: results.json, if all cases ran)",
    )
    parser.add_argument("--logs", type=Path, help="keep what the containers said in this folder")
    chosen = parser.parse_args()
    if unknown := [name for name in chosen.cases if name not in CASES]:
        parser.error(f"no such case: {', '.join(unknown)}")
    output = chosen.output or (None if chosen.cases else HERE / "results.json")
    results: dict[str, list[Run]] = {}
    failed: list[str] = []
    cpu = 0.0
    wanted = chosen.cases or list(CASES)
    for small in (False, True):
        names = [name for name in wanted if CASES[name].small is small]
        if names:
            cluster = Cluster(chosen.prefix, chosen.image, chosen.subnet, small)
            cpu = measure(cluster, names, chosen.runs, chosen.logs, results, failed) or cpu
    print(
        f"\n{'case':18} {'runs':>4} {'gap, median':>12} {'largest':>8} {'acknowledged':>13} {'lost':>5} {'take-overs':>10}"
    )
    for name, runs in results.items():
        gaps = [run.gap for run in runs]
        print(
            f"{name:18} {len(runs):4} {statistics.median(gaps):10.2f} s {max(gaps):6.2f} s {sum(run.acknowledged for run in runs):13} "
            f"{sum(run.lost for run in runs):5} {sum(run.takeovers for run in runs):10}"
        )
    if output:
        cores = len(re.findall(r"^processor", Path("/proc/cpuinfo").read_text(), re.MULTILINE))
        old = json.loads(output.read_text())["cases"] if output.is_file() else {}
        new = {name: [vars(run) | {"gap": round(run.gap, 2)} for run in runs] for name, runs in results.items()}
        result = {
            "machine": {"cores": cores, "kernel": platform.release()},
            "witness_cpu_percent": round(cpu, 2),
            "cases": {name: (old | new)[name] for name in CASES if name in old | new},
        }
        output.write_text(json.dumps(result, indent=2) + "\n")
    return 1 if failed or any(run.lost or run.both for runs in results.values() for run in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
