# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lab.driver import cli, engine, machines, process
from lab.driver.console import Progress
from lab.driver.machines import Spec, decide, known_hosts, machine_specs, registry_spec, upstream_dns
from lab.driver.process import CommandError, LabError
from lab.driver.settings import Paths

SPEC = Spec("pantheon-lab-nyx", "nyx", "10.77.0.16", "machine", "pantheon-lab/node:1", ("--privileged",))


def found(status: str, fingerprint: str = SPEC.fingerprint, label: str = "true") -> dict[str, Any]:
    labels = {"ai.pantheon.lab": label, "ai.pantheon.lab.spec": fingerprint}
    return {"State": {"Status": status}, "Config": {"Labels": labels}}


@pytest.mark.parametrize(
    ("container", "action"),
    [
        (None, "create"),
        (found("running"), "keep"),
        (found("restarting"), "keep"),
        (found("exited"), "start"),
        (found("paused"), "unpause"),
        (found("created"), "recreate"),
        (found("dead"), "recreate"),
        (found("running", "another"), "recreate"),
        ({"State": {"Status": "running"}, "Config": {"Labels": None}}, "recreate"),
    ],
)
def test_what_a_container_needs(container: dict[str, Any] | None, action: str) -> None:
    assert decide(SPEC, container) == action


def test_the_fingerprint_follows_image_rights_and_address() -> None:
    changed = [
        Spec("pantheon-lab-nyx", "nyx", "10.77.0.16", "machine", "pantheon-lab/node:2", ("--privileged",)),
        Spec("pantheon-lab-nyx", "nyx", "10.77.0.16", "machine", "pantheon-lab/node:1", ("--cap-add=ALL",)),
        Spec("pantheon-lab-nyx", "nyx", "10.77.0.17", "machine", "pantheon-lab/node:1", ("--privileged",)),
    ]
    assert len({SPEC.fingerprint, *(spec.fingerprint for spec in changed)}) == 4


def test_a_container_of_somebody_else_with_our_name_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "tell", lambda *arguments, **options: pytest.fail("nothing may be done"))
    with pytest.raises(LabError, match="pantheon-lab-nyx is not the lab's"):
        machines.ensure(SPEC, {"State": {"Status": "running"}, "Config": {"Labels": {}}})


def test_a_changed_machine_is_removed_with_its_volume_and_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, ...]] = []

    def tell(*arguments: str, **options: Any) -> str:
        told.append(arguments)
        return ""

    monkeypatch.setattr(engine, "tell", tell)
    assert machines.ensure(SPEC, found("running", "old")) == "recreate"
    assert told[0] == ("container", "rm", "--force", "--volumes", "pantheon-lab-nyx")
    assert told[1][:2] == ("run", "--detach")
    assert told[1][-1] == "pantheon-lab/node:1"
    assert f"--label=ai.pantheon.lab.spec={SPEC.fingerprint}" in told[1]
    assert "--restart=unless-stopped" in told[1]


def test_machines_have_the_names_and_addresses_of_the_inventory() -> None:
    specs = machine_specs({"erebus": "10.77.0.11", "nyx": "10.77.0.16"}, "node:1", ["--privileged"])
    assert [(spec.name, spec.hostname, spec.address) for spec in specs] == [
        ("pantheon-lab-erebus", "erebus", "10.77.0.11"),
        ("pantheon-lab-nyx", "nyx", "10.77.0.16"),
    ]
    assert all("--privileged" in spec.arguments for spec in specs)


def test_the_builder_keeps_its_caches_and_knows_a_name_server() -> None:
    arguments = registry_spec("registry:1", [], "192.0.2.53").arguments
    assert "--env=LAB_DNS=192.0.2.53" in arguments
    assert "--volume=pantheon-lab-registry:/var/lib/docker-registry" in arguments
    assert not [argument for argument in registry_spec("registry:1", [], None).arguments if "LAB_DNS" in argument]


def test_the_name_server_is_one_that_a_container_reaches(tmp_path: Path) -> None:
    local, real = tmp_path / "local", tmp_path / "real"
    local.write_text("nameserver 127.0.0.53\nnameserver fe80::1\noptions edns0\n")
    real.write_text("search home\nnameserver 192.0.2.1\nnameserver 192.0.2.2\n")
    assert upstream_dns([tmp_path / "none", local, real]) == "192.0.2.1"
    assert upstream_dns([local]) is None


def test_known_hosts_go_by_address() -> None:
    keys = {"pantheon-lab-nyx": "ssh-ed25519 AAAA"}
    assert known_hosts({"nyx": "10.77.0.16"}, keys) == "10.77.0.16 ssh-ed25519 AAAA\n"


def inventory_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **hosts: str) -> machines.Inventory:
    listing = {
        "machines": {"hosts": list(hosts)},
        "edge_proxy": {"hosts": ["b"]},
        "_meta": {"hostvars": {n: {"ansible_host": a, "pantheon_admin_email": "me@lab"} for n, a in hosts.items()}},
    }
    monkeypatch.setattr(process, "output", lambda *arguments, **options: json.dumps(listing))
    return machines.read_inventory(Paths(tmp_path))


def test_the_inventory_gives_addresses_account_and_edge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inventory = inventory_of(tmp_path, monkeypatch, a="10.77.0.11", b="10.77.0.12")
    assert inventory == machines.Inventory({"a": "10.77.0.11", "b": "10.77.0.12"}, "me@lab", "10.77.0.12")


@pytest.mark.parametrize("address", ["", "192.0.2.1", "nyx"])
def test_an_inventory_host_outside_the_lab_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with pytest.raises(LabError, match=r"ansible_host of b is no address in 10\.77\.0\.0/24"):
        inventory_of(tmp_path, monkeypatch, a="10.77.0.11", b=address)


def test_a_good_verdict_ends_with_an_answer_addresses_and_the_account(tmp_path: Path) -> None:
    verdict = {
        "ok": True,
        "checks": [{"name": "tls", "state": "ok"}, {"name": "segments", "state": "skipped"}],
        "answers": {"lab-small": "I am\nlab-small.", "lab-large": "I am lab-large."},
        "urls": {"open-webui": "https://chat.lab.internal", "litellm": "https://api.lab.internal:8443/v1"},
    }
    assert cli.verdict_lines(verdict) == ["Verdict: the platform works (1 ok, 0 failed, 1 skipped)."]
    inventory = machines.Inventory({"b": "10.77.0.18"}, "admin@lab.internal", "10.77.0.18")
    assert cli.welcome_lines(verdict, inventory, Paths(tmp_path)) == [
        "  First answer, from lab-small: I am lab-small.",
        "  litellm: https://api.lab.internal:8443/v1",
        "  open-webui: https://chat.lab.internal",
        "  Account admin@lab.internal; `make password` prints its password.",
        "  For a browser on this computer add to /etc/hosts: 10.77.0.18 api.lab.internal chat.lab.internal",
    ]


def test_a_bad_verdict_names_what_failed_and_the_remedy() -> None:
    failed = {"name": "chat lab-small", "state": "failed", "detail": "502", "fix": "Look at litellm."}
    assert cli.verdict_lines({"ok": False, "checks": [failed]}) == [
        "Verdict: NOT OK (0 ok, 1 failed, 0 skipped).",
        "  FAILED chat lab-small: 502",
        "         Look at litellm.",
    ]


def test_a_deployment_without_verdict_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.report(cli.Session(Paths(tmp_path))) == 1
    assert "No verdict" in capsys.readouterr().out


def test_the_ssh_key_is_made_once(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    public = machines.ensure_key(paths)
    assert public.startswith("ssh-ed25519 ")
    assert paths.key.stat().st_mode & 0o777 == 0o600
    assert machines.ensure_key(paths) == public
    paths.key.unlink()  # a run was killed between the halves
    assert machines.ensure_key(paths) != public


def test_a_boot_that_does_not_end_names_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    states = {"a": "running", "b": "starting"}
    monkeypatch.setattr(machines, "boot_state", states.__getitem__)
    with pytest.raises(LabError, match=r"did not boot within 0 seconds: b \(starting\)"):
        machines.wait_for_boot(["a", "b"], lambda line: None, timeout=0)


def test_a_degraded_machine_is_told_with_its_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "boot_state", {"a": "running", "b": "degraded"}.__getitem__)
    monkeypatch.setattr(machines, "failed_units", lambda name: [f"{name}.service"])
    assert machines.wait_for_boot(["a", "b"], lambda line: None) == {"b": ["b.service"]}


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_the_rights_are_the_first_that_the_engine_gives(monkeypatch: pytest.MonkeyPatch, allowed: int) -> None:
    def ask(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        options = tuple(part for part in arguments if part.startswith(("--privileged", "--cap", "--security")))
        return subprocess.CompletedProcess(arguments, 0 if options == engine.RIGHTS[allowed] else 125, "", "no rights")

    monkeypatch.setattr(engine, "ask", ask)
    assert engine.rights("node:1") == list(engine.RIGHTS[allowed])


def test_an_engine_that_gives_no_rights_is_an_error_with_its_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 125, "", "docker: operation not permitted.\nSee help")
    monkeypatch.setattr(engine, "ask", lambda *arguments, **more: failed)
    with pytest.raises(LabError, match=r"too few rights: docker: operation not permitted\.$"):
        engine.rights("node:1")


def test_a_process_id_that_was_used_again_is_not_our_dockerd(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.state.mkdir()
    mark = paths.state / "dockerd.json"
    assert engine.started_here(paths) is None
    mark.write_text(json.dumps({"pid": os.getpid(), "start_time": "1"}))
    assert engine.started_here(paths) is None
    own = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    mark.write_text(json.dumps({"pid": os.getpid(), "start_time": own}))
    assert engine.started_here(paths) == os.getpid()


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (["pantheon-lab/node:1", "pantheon-lab/node:current"], ["pantheon-lab/node:1", "pantheon-lab/node:current"]),
        (["mine:1", "pantheon-lab/node:1"], ["pantheon-lab/node:1"]),
        (["mine:1"], []),
        ([], ["sha256:1"]),
        (None, ["sha256:1"]),
    ],
)
def test_only_the_labs_names_of_an_image_are_removed(tags: list[str] | None, names: list[str]) -> None:
    assert cli.removable_names({"Id": "sha256:1", "RepoTags": tags}) == names


def test_a_dockerd_that_others_use_is_not_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = Paths(tmp_path)
    assert engine.stop_started_here(paths) == "Docker stays as it is: the lab did not start it."
    monkeypatch.setattr(os, "kill", lambda pid, number: pytest.fail("nothing may be stopped"))
    monkeypatch.setattr(engine, "started_here", lambda paths: 1)
    monkeypatch.setattr(engine, "tell", lambda *arguments: "0123456789ab\n")
    assert engine.stop_started_here(paths).startswith("Docker goes on")


def test_a_program_writes_its_log_and_ticks_its_newest_line(tmp_path: Path) -> None:
    seen: list[str] = []
    log = tmp_path / "x.log"
    process.run(["sh", "-c", "echo one; echo two; sleep 0.4; echo three >&2"], log, seen.append)
    assert "two" in seen
    assert log.read_text().splitlines()[1:] == [
        "$ sh -c 'echo one; echo two; sleep 0.4; echo three >&2'",
        "one",
        "two",
        "three",
    ]


def test_a_failed_program_says_its_code_and_where_its_log_is(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    with pytest.raises(CommandError, match="sh ended with code 3") as caught:
        process.run(["sh", "-c", "echo why; exit 3"], log, remedy="Do this.")
    assert (caught.value.log, caught.value.remedy) == (log, "Do this.")
    assert process.last_lines(log, 1) == ["why"]


def test_a_program_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(CommandError, match="did not end within"):
        process.run(["sh", "-c", "sleep 60 & echo $! > child; wait"], tmp_path / "x.log", cwd=tmp_path, timeout=0.3)
    assert time.monotonic() - began < 8
    child = Path("/proc") / (tmp_path / "child").read_text().strip() / "stat"
    while child.exists() and " Z " not in child.read_text():
        assert time.monotonic() - began < 20
        time.sleep(0.05)


def test_files_are_written_whole_and_only_when_they_differ(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b.yml"
    assert process.write_atomically(target, "x\n", 0o600) is True
    assert process.write_atomically(target, "x\n", 0o600) is False
    assert target.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in target.parent.iterdir()] == ["b.yml"]


def test_two_runs_do_not_work_on_one_lab(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    with (
        cli.locked(paths),
        pytest.raises(LabError, match=rf"Another run works on this lab \(process {os.getpid()}\)"),
        cli.locked(paths),
    ):
        pass
    with cli.locked(paths):
        pass


def test_a_failing_step_ends_the_run_and_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "x.log"
    log.write_text("first\nlast words\n")
    ran = []

    def good(session: cli.Session, progress: Progress) -> None:
        ran.append("good")

    def bad(session: cli.Session, progress: Progress) -> None:
        raise LabError("It broke.", "Mend it.", log)

    steps = (("One", good), ("Two", bad), ("Three", good))
    assert cli.run_steps(steps, cli.Session(Paths(tmp_path)), Progress(3)) == 1
    told = capsys.readouterr().out
    assert ran == ["good"]
    assert "[2/3] Two  0:00  FAILED" in told
    for part in ("Failed: Two", "  | last words", "  It broke.", f"  Full log: {log}", "  Mend it."):
        assert part in told


def test_a_failed_deployment_tells_its_errors_and_not_its_recap() -> None:
    error = ["[ERROR]: Task failed: litellm restarted 5 times.", "Its last log lines:", "  | no time zone"]
    log = [
        "TASK [x]",
        *error,
        "Origin: main.yml:3:3",
        "1 ---",
        "fatal: [a]",
        *error,
        "Origin: y",
        "PLAY RECAP",
        "a : ok=1",
    ]
    assert cli.telling_lines(log) == error
    verdict = "[ERROR]: Task failed: Action failed: The platform does not do what it should (verdict.json):"
    assert cli.telling_lines([verdict, "chat: 503.", "models: 503."]) == [verdict]


def test_a_log_without_ansibles_errors_tells_its_end() -> None:
    assert cli.telling_lines([f"line {n}" for n in range(50)]) == [f"line {n}" for n in range(30, 50)]


def test_the_recap_is_summed_over_the_hosts() -> None:
    lines = [
        "PLAY RECAP ****",
        "erebus                     : ok=10   changed=2    unreachable=0    failed=0    skipped=3",
        "zelus                      : ok=5    changed=1    unreachable=1    failed=0    skipped=3",
        "    msg: : nothing ok= here",
    ]
    assert cli.recap(lines) == ["ok=15", "changed=3", "unreachable=1", "failed=0"]


def test_the_lab_starts_with_any_python_and_nothing_installed() -> None:
    script = Path(cli.__file__).parents[1] / "lab"
    shown = subprocess.run(
        [sys.executable, "-I", "-S", str(script), "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "up" in shown.stdout and "down" in shown.stdout
