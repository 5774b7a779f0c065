# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files of a machine: compose base, override, environment, mounted files."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import check_jsonschema  # type: ignore[import-untyped]
import pytest
import yaml
from jsonschema.validators import validator_for

from ansible_collections.pantheon.ai.plugins.plugin_utils._catalog import (
    container_addresses,
    dump_env,
    image_of,
    quote_env,
    to_compose,
    to_env,
    to_override,
)
from ansible_collections.pantheon.ai.plugins.plugin_utils._gpu import assumed
from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Site, SiteError
from ansible_collections.pantheon.ai.plugins.plugin_utils._stacks import render_stacks

Workshop = Any

COMPOSE_SPEC = Path(check_jsonschema.__file__).parent / "builtin_schemas" / "vendor" / "compose-spec.json"

#: Docker Compose v2 as a program of its own, for the tests that let it read our files.
COMPOSE = os.environ.get("PANTHEON_TEST_COMPOSE") or shutil.which("docker-compose-v2")
needs_compose = pytest.mark.skipif(not COMPOSE, reason="set PANTHEON_TEST_COMPOSE to a docker-compose v2 program")


def compose_validator() -> Any:
    schema = json.loads(COMPOSE_SPEC.read_text())
    return validator_for(schema)(schema)


def stack_of(site: Site, host: str, name: str) -> dict[str, Any]:
    (stack,) = [dict(stack) for stack in render_stacks(site, host) if stack["name"] == name]
    return stack


def content(stack: dict[str, Any], path: str) -> str:
    (file,) = [file for file in stack["files"] if file["path"] == path]
    return str(file["content"])


def container(stack: dict[str, Any], path: str) -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load(content(stack, path))["services"][stack["name"]]
    return data


def test_a_stack(site: Site) -> None:
    stack = stack_of(site, "kratos", "litellm")
    files = stack.pop("files")
    assert stack == {
        "name": "litellm",
        "tier": "compute",
        "project": "pantheon-litellm",
        "networks": ["pantheon-ai", "pantheon-edge"],
        "images": ["ghcr.io/berriai/litellm:v1.106.2"],
        "services": {"litellm": {"start_seconds": 120}},
        "secret_names": [
            "litellm_master_key",
            "litellm_redis_password",
            "open_webui_gateway_key",
            "verify_gateway_key",
        ],
        "storage": [],
    }
    assert [(file["path"], file["mode"], file["sensitive"]) for file in files] == [
        ("compose.yml", "0644", False),
        ("compose.override.yml", "0644", False),
        (".env", "0600", True),
        ("files/etc/litellm/config.yaml", "0600", True),
        ("files/etc/litellm/keys.json", "0600", True),
        ("files/etc/litellm/pantheon_gateway_auth.py", "0644", False),
    ]


def test_tiers_and_names_restrict(site: Site) -> None:
    def names(**kwargs: Any) -> list[str]:
        return [stack["name"] for stack in render_stacks(site, "orpheus", **kwargs)]

    beside = ["postgresql-pool", "postgresql-router", "redis-router"]
    assert names() == [*beside, "litellm", "ollama", "open-webui"]
    assert names(tiers=["data", "edge"]) == beside
    assert names(tiers=["edge", "tools"]) == []
    assert names(tiers=["compute"], only=["ollama", "redis", "redis-router"]) == ["ollama"]
    assert names(only=[]) == []
    with pytest.raises(SiteError, match=r'only = "olama": names an unknown service; use one of: .*ollama'):
        names(only=["olama"])


@pytest.mark.parametrize("network", ["overlay", "host"])
def test_every_compose_file_is_valid(workshop: Workshop, network: str) -> None:
    workshop.settings["pantheon_network"] = network
    workshop.add(
        "everything",
        ["nyx"],
        resources={"memory_mb": 64, "cpus": 0.5, "shm_mb": 8},
        command=["serve", "--price", "5$", "${setting:domain}"],
        volumes=[
            {"name": "data", "path": "/data"},
            {"name": "models", "path": "/models", "source": "/mnt/models", "read_only": True},
        ],
        endpoints={"dns": {"port": 53, "protocol": "udp", "scope": "node"}},
    )
    site = workshop.load()
    validator = compose_validator()
    count = 0
    for host in site.machines:
        for stack in render_stacks(site, host):
            for path in ("compose.yml", "compose.override.yml"):
                data = yaml.safe_load(content(dict(stack), path))
                assert [error.message for error in validator.iter_errors(data)] == [], (stack["name"], path)
                count += 1
    assert count == 2 * 28


def test_the_compose_schema_finds_planted_faults(site: Site) -> None:
    validator = compose_validator()
    data = to_compose(site, "redis")
    data["services"]["redis"]["mem_limitt"] = "1m"
    assert not validator.is_valid(data)


def test_the_base_is_equal_on_every_machine(site: Site) -> None:
    for name in ("litellm", "ollama"):
        texts = {
            content(dict(stack), "compose.yml")
            for host in site.machines
            for stack in render_stacks(site, host)
            if stack["name"] == name
        }
        assert len(texts) == 1


def test_the_base(site: Site) -> None:
    project = to_compose(site, "redis")
    service = project["services"]["redis"]
    assert project["name"] == "pantheon-redis"
    assert project["volumes"] == {"data": {"name": "pantheon_redis_data"}}
    assert service["env_file"] == [".env"]
    assert service["restart"] == "unless-stopped"
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["labels"] == {"ai.pantheon.service": "redis", "ai.pantheon.tier": "data"}
    assert service["healthcheck"]["start_period"] == "90s"
    assert service["volumes"][1] == {
        "type": "bind",
        "source": "./files/usr/local/etc/redis/redis.conf",
        "target": "/usr/local/etc/redis/redis.conf",
        "read_only": True,
        "bind": {"create_host_path": False},
    }


def test_the_base_joins_networks_or_the_machine(site: Site) -> None:
    project = to_compose(site, "litellm")
    service = project["services"]["litellm"]
    wanted = ["pantheon-ai", "pantheon-edge"]
    assert project["networks"] == {name: {"external": True, "name": name} for name in wanted}
    assert service["networks"] == {name: {} for name in wanted}
    assert service["extra_hosts"] == ["redis-router:host-gateway"]
    assert "network_mode" not in service
    for name in ("redis", "redis-router", "postgresql", "postgresql-pool"):
        project = to_compose(site, name)
        service = project["services"][name]
        assert service["network_mode"] == "host"
        assert not {"networks", "extra_hosts"} & {*project, *service}


def test_how_a_container_is_stopped(site: Site) -> None:
    assert to_compose(site, "postgresql")["services"]["postgresql"]["stop_grace_period"] == "60s"
    assert to_compose(site, "postgresql-pool")["services"]["postgresql-pool"]["stop_signal"] == "SIGQUIT"
    assert not {"stop_signal", "stop_grace_period"} & set(to_compose(site, "redis")["services"]["redis"])


def test_what_a_machine_adds(site: Site) -> None:
    own = {"labels": {"ai.pantheon.config": "@@config-hash@@"}, "mem_limit": "2048m"}
    assert to_override(site, "litellm", "kratos") == {
        "services": {
            "litellm": {
                **own,
                "networks": {
                    network: {
                        "aliases": ["litellm", "litellm-kratos"],
                        "ipv4_address": container_addresses(site, network)[("litellm", "kratos")],
                    }
                    for network in ("pantheon-ai", "pantheon-edge")
                },
            }
        }
    }
    assert to_override(site, "postgresql", "erebus") == {"services": {"postgresql": own}}, "its ports are the machine's"


def test_only_the_edge_publishes_on_overlay_networks(site: Site) -> None:
    for host in site.machines:
        for stack in render_stacks(site, host):
            ports = container(dict(stack), "compose.override.yml").get("ports", [])
            found = {(port["host_ip"], port["published"], port["target"]) for port in ports}
            edge = {("10.1.0.17", "80", 80), ("10.1.0.17", "443", 443)}
            assert found == (edge if stack["name"] == "edge-proxy" else set())


def test_host_networks_publish_on_the_machines_address(workshop: Workshop) -> None:
    workshop.settings["pantheon_network"] = "host"
    workshop.override("litellm", {"endpoints": {"api": {"published": 4001}}})
    site = workshop.load()
    service = to_override(site, "litellm", "kratos")["services"]["litellm"]
    assert service["ports"] == [
        {"target": 4000, "published": "4001", "protocol": "tcp", "mode": "host", "host_ip": "10.1.0.14"}
    ]
    assert "networks" not in service and "networks" not in to_compose(site, "litellm")
    environment = to_env(site, "open-webui", "orpheus")
    assert environment["OPENAI_API_BASE_URLS"] == "http://10.1.0.13:4001/v1"
    assert environment["RAG_OPENAI_API_BASE_URL"] == "http://10.1.0.13:4001/v1"
    # The network of the machine is the same with both: nothing is published, and the name leads to the machine itself.
    assert environment["REDIS_URL"].endswith("@redis-router:6390/0")
    assert "ports" not in to_override(site, "redis-router", "orpheus")["services"]["redis-router"]


def test_an_endpoint_for_the_machine_itself(workshop: Workshop) -> None:
    workshop.add("tool", ["nyx"], endpoints={"http": {"port": 9000, "scope": "node"}})
    (port,) = to_override(workshop.load(), "tool", "nyx")["services"]["tool"]["ports"]
    assert (port["host_ip"], port["published"]) == ("127.0.0.1", "9000")


def test_an_edge_known_by_name_listens_everywhere(workshop: Workshop) -> None:
    workshop.hosts["hephaestus"]["ansible_host"] = "hephaestus.example.test"
    ports = to_override(workshop.load(), "edge-proxy", "hephaestus")["services"]["edge-proxy"]["ports"]
    assert [("host_ip" in port) for port in ports] == [False, False]


def test_gpus(site: Site) -> None:
    nvidia = to_override(site, "ollama", "nyx")["services"]["ollama"]
    assert nvidia["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    ]
    assert "image" not in nvidia and "mem_limit" not in nvidia
    rocm = to_override(site, "ollama", "hades")["services"]["ollama"]
    assert rocm["devices"] == ["/dev/kfd", "/dev/dri"]
    assert rocm["image"] == "docker.io/ollama/ollama:0.32.15-rocm"
    assert stack_of(site, "hades", "ollama")["images"] == ["docker.io/ollama/ollama:0.32.15-rocm"]
    assert "deploy" not in to_override(site, "litellm", "kratos")["services"]["litellm"]


def with_storage(workshop: Workshop, **volume: Any) -> Workshop:
    """Let Redis keep something on the NAS."""
    workshop.groups |= {"appliances": ["poseidon"], "truenas": ["poseidon"]}
    workshop.hosts["poseidon"] = {"ansible_host": "10.1.0.2"}
    workshop.override("redis", {"volumes": [{"name": "media", "storage": "shared", "path": "/media", **volume}]})
    return workshop


def test_storage_of_the_nas_reaches_the_container_also_after_it_was_away(workshop: Workshop) -> None:
    site = with_storage(workshop, read_only=True).load()
    project = to_compose(site, "redis")
    assert {
        "type": "bind",
        "source": "/shared",
        "target": "/media",
        "read_only": True,
        "bind": {"propagation": "rslave", "create_host_path": False},
    } in project["services"]["redis"]["volumes"]
    assert "media" not in project.get("volumes", {})


def test_a_stack_with_storage_says_what_has_to_be_mounted(workshop: Workshop) -> None:
    site = with_storage(workshop).load()
    redis = stack_of(site, "erebus", "redis")
    assert redis["storage"] == ["/shared"]
    assert {file["path"]: file["content"] for file in redis["files"]}["storage"] == "/shared\n"
    litellm = stack_of(site, "kratos", "litellm")
    assert litellm["storage"] == [] and "storage" not in {file["path"] for file in litellm["files"]}


def test_a_service_that_starts_is_asked_more_often_where_the_engine_can_do_that(workshop: Workshop) -> None:
    assert "start_interval" not in to_compose(workshop.load(), "redis")["services"]["redis"]["healthcheck"]
    workshop.settings["pantheon_health_start_interval"] = 2
    health = to_compose(workshop.load(), "redis")["services"]["redis"]["healthcheck"]
    assert (health["start_interval"], health["interval"]) == ("2s", "10s")
    for wrong in (-1, "2s", True):
        workshop.settings["pantheon_health_start_interval"] = wrong
        (problem,) = workshop.problems()
        assert problem.field == "pantheon_health_start_interval", wrong


def test_where_backups_go_is_given_to_a_container_without_touching_the_nas(workshop: Workshop) -> None:
    workshop.override("redis", {"volumes": [{"name": "backups", "backup_target": True}]})
    assert "/backups" not in str(to_compose(workshop.load(), "redis"))  # no NAS, no path: nothing to go to
    workshop.groups |= {"appliances": ["poseidon"], "truenas": ["poseidon"]}
    workshop.hosts["poseidon"] = {"ansible_host": "10.1.0.2"}
    site = workshop.load()
    bind = {"propagation": "rslave", "create_host_path": True}
    mounts = to_compose(site, "redis")["services"]["redis"]["volumes"]
    assert {"type": "bind", "source": "/backups", "target": "/backups", "bind": bind} in mounts
    assert stack_of(site, "erebus", "redis")["storage"] == []  # it starts also while the NAS is away
    workshop.settings["pantheon_backup"] = {"path": "/srv/backups"}
    mounts = to_compose(workshop.load(), "redis")["services"]["redis"]["volumes"]
    assert {"type": "bind", "source": "/srv/backups", "target": "/srv/backups", "bind": bind} in mounts
    workshop.settings["pantheon_backup"] = {"enabled": False}
    assert "backups" not in str(to_compose(workshop.load(), "redis"))


def found(**facts: Any) -> dict[str, Any]:
    """Return variables of a machine whose GPUs were looked at."""
    return {"ansible_facts": {"pantheon_gpu": {**assumed("none"), **facts}}}


CARD = {
    "vendor": "amd",
    "usable": True,
    "rocm": True,
    "integrated": False,
    "bus_address": "0000:03:00.0",
    "nodes": [{"path": "/dev/kfd", "gid": 109}, {"path": "/dev/dri/renderD128", "gid": 109}],
}
AMD = {"vendor": "amd", "state": "ready", "backend": "rocm", "devices": [CARD]}


def test_facts_decide_over_the_word_of_the_owner(workshop: Workshop) -> None:
    workshop.hosts["orpheus"].update(pantheon_gpu="nvidia", **found(**AMD))
    container = to_override(workshop.load(), "ollama", "orpheus")["services"]["ollama"]
    assert container["devices"] == ["/dev/kfd", "/dev/dri/renderD128"]
    assert container["group_add"] == [109]
    assert container["image"].endswith("-rocm")


def test_a_card_that_cannot_be_used_leaves_the_processor(workshop: Workshop) -> None:
    workshop.hosts["orpheus"].update(pantheon_gpu="auto", **found(vendor="nvidia", state="driver_missing"))
    container = to_override(workshop.load(), "ollama", "orpheus")["services"]["ollama"]
    assert not {"deploy", "devices", "image"} & set(container)


def test_an_owner_who_wants_no_gpu_gets_none(workshop: Workshop) -> None:
    workshop.hosts["orpheus"].update(pantheon_gpu="none", **found(**AMD))
    assert "devices" not in to_override(workshop.load(), "ollama", "orpheus")["services"]["ollama"]


def test_environment_that_a_card_needs_is_the_choice_of_the_owner(workshop: Workshop) -> None:
    override = {"HSA_OVERRIDE_GFX_VERSION": "10.3.0"}
    workshop.hosts["hades"].update(pantheon_gpu="auto", **found(**AMD, env=override, opt_in=list(override)))
    assert "HSA_OVERRIDE_GFX_VERSION" not in to_env(workshop.load(), "ollama", "hades")
    workshop.hosts["hades"]["pantheon_gpu_hsa_override"] = True
    assert to_env(workshop.load(), "ollama", "hades")["HSA_OVERRIDE_GFX_VERSION"] == "10.3.0"
    assert "HSA_OVERRIDE_GFX_VERSION" not in to_env(workshop.load(), "redis", "erebus")


def test_cards_that_are_only_shown_reach_no_container(workshop: Workshop) -> None:
    workshop.settings["pantheon_gpu_attach"] = False
    override = to_override(workshop.load(), "ollama", "hades")
    assert override["x-pantheon-gpu"] == {"devices": ["/dev/kfd", "/dev/dri"]}
    assert "devices" not in override["services"]["ollama"]


def test_images(workshop: Workshop) -> None:
    digest = "sha256:" + "a" * 64
    workshop.override("redis", {"image": {"tag": None, "digest": digest}})
    workshop.settings["pantheon_images"] = {"ollama": "10.77.0.5:5000/ollama:abc"}
    site = workshop.load()
    assert image_of(site, "redis") == f"docker.io/library/redis@{digest}"
    assert image_of(site, "ollama", "rocm") == "10.77.0.5:5000/ollama:abc"
    assert stack_of(site, "hades", "ollama")["images"] == ["10.77.0.5:5000/ollama:abc"]


def test_a_stand_in_is_labelled(workshop: Workshop) -> None:
    workshop.override("ollama", {"stand_in": {"kind": "engine", "text": "llama.cpp"}})
    workshop.override("redis", {"stand_in": {"kind": "real", "text": "the same program"}})
    site = workshop.load()
    assert to_compose(site, "ollama")["services"]["ollama"]["labels"]["ai.pantheon.stand-in"] == "llama.cpp"
    assert "ai.pantheon.stand-in" not in to_compose(site, "redis")["services"]["redis"]["labels"]


def test_secrets_appear_as_placeholders_in_sensitive_files_only(site: Site) -> None:
    for host in site.machines:
        for stack in render_stacks(site, host):
            names = set()
            for file in stack["files"]:
                found = set(re.findall(r"@@secret:(.*?)@@", file["content"]))
                assert file["sensitive"] or not found
                # Everybody may read a certificate, which is half of a secret, and the half that is shown to everybody.
                if [name for name in found if not name.endswith("_certificate")]:
                    assert file["mode"] in ("0600", "0400", "0640"), file
                elif file["sensitive"]:
                    assert file["mode"] in ("0600", "0400", "0640", "0644", "0444"), file
                names |= found
            assert names == set(stack["secret_names"])


def test_a_private_key_is_a_whole_file_for_root_only(site: Site) -> None:
    files = {file["path"]: file for file in stack_of(site, "hephaestus", "edge-proxy")["files"]}
    key = files["files/etc/edge/tls/edge.key"]
    assert (key["content"], key["mode"]) == ("@@secret:edge_certificate_key@@", "0600")


def test_a_template_is_resolved(workshop: Workshop) -> None:
    entry = {"path": "/etc/tool.conf", "template": "tool/tool.conf", "mode": "0400", "uid": 999, "gid": 999}
    workshop.add("tool", ["erebus"], secrets=[{"name": "tool_password"}], files=[entry])
    (workshop.catalog / "templates/tool").mkdir()
    template = "requirepass ${secret:tool_password}\nname ${machine:name}\n"
    (workshop.catalog / "templates/tool/tool.conf").write_text(template)
    stack = stack_of(workshop.load(), "erebus", "tool")
    assert content(stack, "files/etc/tool.conf") == "requirepass @@secret:tool_password@@\nname erebus\n"
    (file,) = [file for file in stack["files"] if file["path"].endswith("tool.conf")]
    assert (file["mode"], file["uid"], file["gid"], file["sensitive"]) == ("0400", 999, 999, True)
    assert stack["secret_names"] == ["tool_password"]


def test_a_derived_text_is_written_as_it_is(site: Site) -> None:
    stack = stack_of(site, "erebus", "redis")
    text = content(stack, "files/usr/local/etc/redis/redis.conf")
    assert "\nmasterauth @@secret:redis_replication_password@@\n" in text and "${" not in text
    (file,) = [file for file in stack["files"] if file["path"].endswith("redis.conf")]
    assert (file["mode"], file["uid"], file["gid"], file["sensitive"]) == ("0400", 999, 999, True)


def test_rendering_twice_gives_the_same(workshop: Workshop) -> None:
    assert render_stacks(workshop.load(), "orpheus") == render_stacks(workshop.load(), "orpheus")


def test_a_fault_while_rendering_names_the_file(workshop: Workshop) -> None:
    path = workshop.override("redis", {"environment": {"X": "${setting:nothing}"}})
    with pytest.raises(SiteError, match=re.escape(f"{path}: references: there is no setting nothing")):
        render_stacks(workshop.load(), "erebus")


# --- .env ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("", ""),
        ("plain-1.2/x:y@z", "plain-1.2/x:y@z"),
        ("two words", "'two words'"),
        ("a#b", "'a#b'"),
        ("$HOME ${X}", "'$HOME ${X}'"),
        ('{"a": 1}', "'{\"a\": 1}'"),
        ("it's", '"it\'s"'),
        ("a\\", '"a\\\\"'),
        ("it's $5\n", '"it\'s \\$5\\n"'),
    ],
)
def test_quoting(value: str, quoted: str) -> None:
    assert quote_env(value) == quoted
    assert "\n" not in quote_env(value), "a line per variable"


def values(count: int) -> list[str]:
    generator = random.Random(20260101)
    alphabet = "aZ09 '\"\\$#{}=:;`!\n\r\t%@&|()<>*?~éx漢,.-_nr"
    fixed = [
        "",
        "'",
        '"',
        "\\",
        "\\\\",
        "a\\",
        "\\'",
        "'\\",
        "$",
        "$$",
        "${X}",
        "#",
        " a ",
        "\n",
        "\\n",
        "\\$X",
        "\t",
        "'x'",
    ]
    return fixed + ["".join(generator.choices(alphabet, k=generator.randint(0, 14))) for _index in range(count)]


def compose_config(folder: Path) -> dict[str, Any]:
    assert COMPOSE
    result = subprocess.run(
        [COMPOSE, "config", "--format", "json"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    data: dict[str, Any] = json.loads(result.stdout)
    return data


@needs_compose
def test_compose_reads_back_what_was_written(tmp_path: Path) -> None:
    wanted = {f"V{index}": value for index, value in enumerate(values(1500))}
    (tmp_path / ".env").write_text(dump_env(wanted), newline="")
    (tmp_path / "compose.yml").write_text("name: x\nservices: {x: {image: x, env_file: [.env]}}\n")
    found = compose_config(tmp_path)["services"]["x"]["environment"]
    # config writes dollar signs doubled, for a compose file.
    assert {name: value.replace("$$", "$") for name, value in found.items()} == wanted


@needs_compose
def test_compose_accepts_every_project(workshop: Workshop, tmp_path: Path) -> None:
    workshop.add("tool", ["nyx"], command=["--price", "5$ ${X} $$"], environment={"PRICE": "5$ ${X}"})
    site = workshop.load()
    for host in site.machines:
        for stack in render_stacks(site, host):
            folder = tmp_path / host / stack["name"]
            for file in stack["files"]:
                path = folder / file["path"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(file["content"])
            data = compose_config(folder)
            service = data["services"][stack["name"]]
            assert data["name"] == stack["project"]
            for name in stack["networks"]:
                assert service["networks"][name]["aliases"] == [stack["name"], f"{stack['name']}-{host}"]
            if stack["name"] == "tool":
                assert service["command"][1].replace("$$", "$") == "5$ ${X} $$"
                assert service["environment"]["PRICE"].replace("$$", "$") == "5$ ${X}"
