# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Router and NAS of the lab: names are served by a real Unbound and files by a real NFS server, as the inventory says."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import struct
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import PREFIX, ROOT, Lab, docker

ROUTER = "10.77.0.1"
DOMAIN = "lab.internal"
TYPES = {"A": 1, "PTR": 12, "TXT": 16, "AAAA": 28}


def dig(name: str, kind: str = "A") -> list[str]:
    """Ask the router as dig does, and return the answers."""
    question = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(
            struct.pack(">6H", 4711, 0x0100, 1, 0, 0, 0) + question + struct.pack(">2H", TYPES[kind], 1), (ROUTER, 53)
        )
        answer = client.recv(4096)
    assert struct.unpack(">H", answer[:2])[0] == 4711
    position, found = 12 + len(question) + 4, []
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        _owner, position = read_name(answer, position)
        what, _class, _ttl, length = struct.unpack(">2HIH", answer[position : position + 10])
        position += 10
        data = answer[position : position + length]
        if what == TYPES[kind]:
            found.append(read_data(answer, position, data, kind))
        position += length
    return sorted(found)


def read_data(packet: bytes, position: int, data: bytes, kind: str) -> str:
    """Return what a record says."""
    if kind == "A":
        return socket.inet_ntoa(data)
    if kind == "AAAA":
        return socket.inet_ntop(socket.AF_INET6, data)
    return data[1:].decode() if kind == "TXT" else read_name(packet, position)[0]


def read_name(packet: bytes, position: int) -> tuple[str, int]:
    """Return a name in a packet, and where what follows it begins."""
    parts: list[str] = []
    end = 0
    while packet[position]:
        if packet[position] >= 0xC0:
            end = end or position + 2
            position = struct.unpack(">H", packet[position : position + 2])[0] & 0x3FFF
            continue
        length = packet[position]
        parts.append(packet[position + 1 : position + 1 + length].decode())
        position += 1 + length
    return ".".join(parts), end or position + 1


def router(path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the API of the router as a person's own script would."""
    folder = ROOT / ".lab" / "appliances"
    lines = dict(line.split("=", 1) for line in (folder / "opnsense.txt").read_text().splitlines())
    context = ssl.create_default_context(cafile=str(folder / "opnsense.crt"))
    context.check_hostname = False
    request = urllib.request.Request(
        f"https://{ROUTER}/api/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Authorization": "Basic " + base64.b64encode(f"{lines['key']}:{lines['secret']}".encode()).decode(),
            **({} if body is None else {"Content-Type": "application/json"}),
        },
    )
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return json.load(answer)


@pytest.fixture
def record_of_somebody_else() -> Iterator[str]:
    """A record that a person made on the router."""
    host = {"enabled": "1", "hostname": "printer", "domain": DOMAIN, "rr": "A", "server": "10.77.0.99"}
    made = router("unbound/settings/add_host_override", {"host": host})
    assert made["result"] == "saved"
    router("unbound/service/reconfigure", {})
    yield f"printer.{DOMAIN}"
    router(f"unbound/settings/del_host_override/{made['uuid']}", {})
    router("unbound/service/reconfigure", {})


def test_every_name_is_known_on_every_machine(lab: Lab) -> None:
    hosts = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]
    expected = {f"{name}.{DOMAIN}": host["ansible_host"] for name, host in hosts["machines"]["hosts"].items()}
    verdict = json.loads((ROOT / "artifacts/lab/verdict.json").read_text())
    for url in verdict["urls"].values():
        expected[url.split("//")[1].split(":")[0].split("/")[0]] = expected[f"hephaestus.{DOMAIN}"]
    assert len(expected) > len(lab.machines)
    for machine in lab.machines:
        listed = lab.on(machine, f"getent ahostsv4 {' '.join(sorted(expected))} | grep STREAM", check=False)
        found = {line.split()[2]: line.split()[0] for line in listed.splitlines()}
        assert found == expected, machine


def test_addresses_lead_back_to_machines() -> None:
    assert dig("11.0.77.10.in-addr.arpa", "PTR") == [f"erebus.{DOMAIN}"]


def test_the_router_knows_the_machines_as_reservations_and_aliases(lab: Lab) -> None:
    hosts = yaml.safe_load((ROOT / "inventories/lab/hosts.yml").read_text())["all"]["children"]["machines"]["hosts"]
    kept = router("dnsmasq/settings/get")["dnsmasq"]["hosts"].values()
    found = {host["host"]: [key for key, entry in host["hwaddr"].items() if entry["selected"]] for host in kept}
    assert found == {name: [host["pantheon_mac"]] for name, host in hosts.items()}
    aliases = {
        alias["name"]: alias["content"] for alias in router("firewall/alias/export")["aliases"]["alias"].values()
    }
    assert set(aliases["pantheon_machines"].split("\n")) == {host["ansible_host"] for host in hosts.values()}
    assert set(aliases) >= {"pantheon_edge", "pantheon_edge_ports", "pantheon_nas"}


def test_records_come_and_go_with_the_inventory_and_others_stay(lab: Lab, record_of_somebody_else: str) -> None:
    more = [
        {"name": f"six.{DOMAIN}", "type": "AAAA", "value": "fd00:77::6"},
        {"name": f"note.{DOMAIN}", "type": "TXT", "value": "hello"},
        {"name": f"*.apps.{DOMAIN}", "type": "A", "value": "10.77.0.18"},
    ]
    added = lab.play("--tags", "opnsense", "-e", json.dumps({"opnsense_records": more}))
    assert added.status == 0, added.problems
    assert added.changed() == {"prometheus": 1}
    assert dig(f"six.{DOMAIN}", "AAAA") == ["fd00:77::6"]
    assert dig(f"note.{DOMAIN}", "TXT") == ["hello"]
    assert dig(f"anything.apps.{DOMAIN}") == ["10.77.0.18"]
    assert dig(record_of_somebody_else) == ["10.77.0.99"]

    removed = lab.play("--tags", "opnsense")
    assert removed.changed() == {"prometheus": 1}, removed.problems
    assert dig(f"six.{DOMAIN}", "AAAA") == dig(f"note.{DOMAIN}", "TXT") == dig(f"anything.apps.{DOMAIN}") == []
    assert dig(f"erebus.{DOMAIN}") == ["10.77.0.11"]
    assert dig(record_of_somebody_else) == ["10.77.0.99"]


def test_a_change_that_was_saved_and_not_applied_is_repaired(lab: Lab) -> None:
    hosts = router("unbound/settings/get")["unbound"]["hosts"]["host"]
    ours = next(uuid for uuid, host in hosts.items() if host["hostname"] == "zelus")
    wrong = {"unbound": {"hosts": {"host": {ours: {"server": "10.77.0.66"}}}}}
    right = {"unbound": {"hosts": {"host": {ours: {"server": "10.77.0.13"}}}}}
    router("unbound/settings/set", wrong)
    router("unbound/service/reconfigure", {})
    router("unbound/settings/set", right)  # saved, and the router still serves the wrong one
    assert dig(f"zelus.{DOMAIN}") == ["10.77.0.66"]
    run = lab.play("--tags", "opnsense")
    assert run.status == 0, run.problems
    assert dig(f"zelus.{DOMAIN}") == ["10.77.0.13"]


WRITER = "zelus"


def readers(lab: Lab) -> list[str]:
    return [machine for machine in lab.machines if machine != WRITER]


def test_what_the_writer_writes_is_read_everywhere_and_nobody_else_can_write(lab: Lab) -> None:
    lab.on(WRITER, "printf 'from the library' > /models/test-8")
    try:
        for machine in lab.machines:
            assert lab.on(machine, "cat /models/test-8") == "from the library", machine
        for machine in readers(lab):
            said = lab.on(machine, "touch /models/test-8-reader 2>&1", check=False)
            assert "Read-only file system" in said, machine
    finally:
        lab.on(WRITER, "rm -f /models/test-8")


def test_what_is_shared_is_written_by_one_machine_and_changed_by_another(lab: Lab) -> None:
    first, second = lab.machines[:2]
    lab.on(first, "echo one > /shared/test-8")
    try:
        lab.on(second, "echo two >> /shared/test-8")
        assert lab.on(lab.machines[-1], "cat /shared/test-8").split() == ["one", "two"]
    finally:
        lab.on(first, "rm -f /shared/test-8")


def test_it_is_a_real_mount_of_the_nas(lab: Lab) -> None:
    for machine in lab.machines:
        mounts = [line.split() for line in lab.on(machine, "cat /proc/mounts").splitlines()]
        wanted = ("/models", "/shared", "/backups/nas")
        found = {parts[1]: parts for parts in mounts if parts[1] in wanted and parts[2] != "autofs"}
        assert {path: parts[0] for path, parts in found.items()} == {
            "/models": "10.77.0.2:/mnt/tank/models",
            "/shared": "10.77.0.2:/mnt/tank/shared",
            "/backups/nas": "10.77.0.2:/mnt/tank/backups",
        }, machine
        assert ("ro" in found["/models"][3].split(",")) is (machine != WRITER)


def test_a_machine_that_is_not_in_the_inventory_is_not_let_in(lab: Lab) -> None:
    """The registry is a machine of the same network, with the same client, that the inventory does not know."""
    client = lab.on(
        "moros", "tar -C / -cf - usr/local/lib/pantheon usr/sbin/mount.fuse.pantheon-nfs | base64", limit=60
    )
    place = "base64 -d | tar -C / -xf -"
    subprocess.run(
        ["docker", "exec", "-i", "pantheon-lab-registry", "sh", "-c", place],
        input=client,
        text=True,
        check=True,
        timeout=60,
    )
    try:
        script = (
            "mkdir -p /mnt/test-8; timeout 40 mount -t fuse.pantheon-nfs 10.77.0.2:/mnt/tank/models /mnt/test-8 -o ro 2>&1;"
            " echo status $?; mountpoint -q /mnt/test-8 && echo mounted"
        )
        said = lab.on("registry", script, limit=90, check=False)
        assert "status 0" not in said and "status" in said, said
        assert "mounted" not in said.splitlines(), said
    finally:
        lab.on(
            "registry", "umount /mnt/test-8 2>/dev/null; rmdir /mnt/test-8; rm -rf /usr/local/lib/pantheon", check=False
        )


def test_without_the_nas_the_platform_goes_on_and_its_return_needs_no_run(lab: Lab) -> None:
    lab.on(WRITER, "printf 'still here' > /models/test-8")
    before = lab.containers()
    docker("stop", "--time", "5", PREFIX + "poseidon")
    try:
        run = lab.play("--skip-tags", "verify", limit=400)
        # It is named at the end, after everything that can be done without it.
        assert run.status != 0
        assert set(run.troubled()) == {"poseidon"}, run.problems
        assert run.changed() == {}, run.changed_tasks()
        told = [result for rows in run.results.values() for task, result in rows if "mounts" in result]
        assert told and all(not fact["available"] for result in told for fact in result["mounts"].values())
        assert lab.containers() == before, "a container restarted because the NAS is off"
    finally:
        docker("start", PREFIX + "poseidon")
    script = "timeout 20 cat /models/test-8"
    lab.wait(
        lambda: all(lab.on(m, script, check=False) == "still here" for m in lab.machines), 180, "not all came back"
    )
    lab.on(WRITER, "rm -f /models/test-8")
    assert lab.play("--skip-tags", "verify").changed() == {}


def test_a_service_that_keeps_something_on_the_nas(lab: Lab, changed_inventory: Callable[..., Path]) -> None:
    """Without the NAS it says so and what runs is left alone; with it, its container sees what the machines share."""
    edge = "hephaestus"
    volumes = [{"name": "media", "storage": "shared", "path": "/media"}]
    inventory = changed_inventory("edge-proxy", {}, volumes=volumes)
    before = lab.containers()
    docker("stop", "--time", "5", PREFIX + "poseidon")
    try:
        without = lab.play("--tags", "edge-proxy", inventory=inventory)
        assert set(without.troubled()) == {edge}, without.problems
        assert "the storage /shared" in without.problems and "edge-proxy" in without.problems
        assert lab.containers() == before, "a container was touched although its storage is away"
    finally:
        docker("start", PREFIX + "poseidon")
    reads = "timeout 20 stat --file-system /shared"
    lab.wait(lambda: all(lab.on(m, reads, check=False) for m in lab.machines), 180, "the NAS did not come back")

    back = lab.play("--tags", "edge-proxy", inventory=inventory)
    assert back.status == 0, back.problems
    lab.on(WRITER, "echo seen > /shared/test-8")
    container = lab.on(edge, "docker ps --quiet --filter label=ai.pantheon.service=edge-proxy").strip()
    assert lab.on(edge, f"docker exec {container} cat /media/test-8").strip() == "seen"
    lab.on(WRITER, "rm /shared/test-8")

    # After a boot without the NAS the unit of the stack waits for it.
    started = ("inspect", "--format", "{{.State.StartedAt}}", PREFIX + edge)
    boot = docker(*started)
    docker("stop", "--time", "5", PREFIX + "poseidon")
    try:
        lab.on(edge, "systemctl reboot", check=False)
        lab.wait(lambda: docker(*started) != boot and lab.booted(edge), 180, "the machine did not boot")
        time.sleep(10)  # long enough for a container that would not wait
        running = lab.on(edge, "docker ps --quiet --filter label=ai.pantheon.service=edge-proxy", check=False).strip()
        assert not running, "the service runs without its storage"
    finally:
        docker("start", PREFIX + "poseidon")
    lab.wait(lambda: lab.settled(set(before)), 300, "the service did not come back with the NAS")
    container = lab.on(edge, "docker ps --quiet --filter label=ai.pantheon.service=edge-proxy").strip()
    lab.on(WRITER, "echo again > /shared/test-8")
    lab.wait(
        lambda: lab.on(edge, f"timeout 20 docker exec {container} cat /media/test-8", check=False).strip() == "again",
        120,
        "the container does not see the storage",
    )
    lab.on(WRITER, "rm /shared/test-8")
    assert lab.play("--tags", "edge-proxy").status == 0


def test_facts_of_the_cards_decide_what_is_chosen(lab: Lab) -> None:
    nvidia = yaml.safe_load(lab.on("orpheus", "cat /opt/pantheon/ollama/compose.override.yml"))
    (request,) = nvidia["x-pantheon-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (request["driver"], request["capabilities"]) == ("nvidia", ["gpu"])
    amd = yaml.safe_load(lab.on("hades", "cat /opt/pantheon/ollama/compose.override.yml"))
    assert amd["x-pantheon-gpu"]["devices"] == ["/dev/kfd", "/dev/dri/renderD128"]
    assert amd["x-pantheon-gpu"]["group_add"] == [993]
    # Played back cards reach no container.
    assert "deploy" not in nvidia["services"]["ollama"]
    assert "devices" not in amd["services"]["ollama"]
