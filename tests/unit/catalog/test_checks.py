# Copyright: (c) 2026, Pantheon contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault that a site can have is found, and its message names file, field, value and remedy."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.pantheon.ai.plugins.plugin_utils._site import Problem

Workshop = Any  # the class of conftest.py, which cannot be imported by name


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, [str(problem) for problem in problems]
    return problems[0]


def facts(problem: Problem) -> tuple[str, str, Any]:
    return problem.file.rsplit("/", 1)[-1], problem.field, problem.value


def test_the_unchanged_site_has_no_problems(workshop: Workshop) -> None:
    assert workshop.problems() == []


def test_a_message_names_everything(workshop: Workshop) -> None:
    path = workshop.override("redis", {"requires": ["nowhere"]})
    text = str(only(workshop.problems()))
    assert text == (
        f'{path}: requires = "nowhere": names a service that is not in the catalog; '
        "remove it, or add catalog/services/nowhere.yml."
    )


def test_all_problems_are_found_at_once(workshop: Workshop) -> None:
    workshop.override("redis", {"requires": ["nowhere"]})
    workshop.override("litellm", {"route": {"host": "chat"}, "resources": {"memory_mb": 999999}})
    workshop.settings["pantheon_images"] = {"ollama": "registry/ollama:latest"}
    fields = {problem.field for problem in workshop.problems()}
    assert fields == {
        "requires",
        "route.host",
        "orpheus.pantheon_memory_mb",
        "kratos.pantheon_memory_mb",
        "pantheon_images.ollama",
    }


# --- schema ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field", "value", "words"),
    [
        ({"imgae": {}}, "imgae", None, "unknown key"),
        ({"endpoints": {"api": {"prot": 1}}}, "endpoints.api.prot", None, "unknown key"),
        ({"image": {"tag": "latest"}}, "image.tag", "latest", "is a tag that moves"),
        ({"tier": "middle"}, "tier", "middle", "is not one of"),
        ({"summary": None}, "file", None, "'summary' is a required property"),
        ({"resources": {"memory_mb": "2g"}}, "resources.memory_mb", "2g", "is not of type"),
        ({"environment": {"PORT": 4000}}, "environment.PORT", 4000, "is not of type"),
        ({"environment": {"COMPOSE_FILE": "x"}}, "environment", "COMPOSE_FILE", "is not allowed here"),
        ({"image": {"digest": "sha256:" + "0" * 64}}, "image", None, "ambiguous"),
        ({"secrets": [{"name": "x", "kind": "certificate"}]}, "secrets.0", None, "required property"),
        ({"secrets": [{"name": "x", "kind": "ca", "env": "X"}]}, "secrets.0.env", "X", "is not allowed here"),
        ({"files": [{"path": "/a/../b", "template": "x"}]}, "files.0.path", "/a/../b", "is not allowed here"),
        ({"backup": {"kind": "none", "reason": None}}, "backup", None, "'reason' is a required property"),
    ],
)
@pytest.mark.parametrize("place", ["override", "edit"])
def test_the_schema_refuses(
    workshop: Workshop, place: str, change: dict[str, Any], field: str, value: Any, words: str
) -> None:
    path = getattr(workshop, place)("litellm", change)
    problems = workshop.problems()
    matching = [problem for problem in problems if problem.field == field and words in problem.message]
    assert matching, [str(problem) for problem in problems]
    assert (matching[0].file, matching[0].value) == (str(path), value)


def test_an_unknown_key_comes_with_the_known_ones(workshop: Workshop) -> None:
    workshop.override("litellm", {"route": {"hots": "llm"}})
    assert "known keys are auth, endpoint, host, sticky" in only(workshop.problems()).remedy


def test_a_stand_in_belongs_into_an_override(workshop: Workshop) -> None:
    stand_in = {"stand_in": {"kind": "engine", "text": "Something else"}}
    workshop.override("ollama", stand_in)
    assert workshop.problems() == []
    path = workshop.edit("redis", stand_in)
    assert only(workshop.problems()).file == str(path)


def test_broken_yaml_names_file_and_line(workshop: Workshop) -> None:
    path = workshop.inventory / "catalog" / "redis.yml"
    path.write_text("image:\n  tag: [8\n")
    problem = only(workshop.problems())
    assert problem.file == str(path) and problem.field.startswith("line ") and "not valid YAML" in problem.message


def test_a_key_given_twice_is_refused(workshop: Workshop) -> None:
    path = workshop.inventory / "catalog" / "redis.yml"
    path.write_text("resources: {memory_mb: 64}\nresources: {memory_mb: 65}\n")
    problem = only(workshop.problems())
    assert (problem.file, problem.field) == (str(path), "line 2") and "'resources' stands here twice" in problem.message


@pytest.mark.parametrize("text", ["- a\n", "", "just words\n"])
def test_a_file_without_a_mapping_is_refused(workshop: Workshop, text: str) -> None:
    (workshop.inventory / "catalog" / "redis.yml").write_text(text)
    assert "holds no mapping" in only(workshop.problems()).message


def test_an_override_of_an_unknown_service_is_refused(workshop: Workshop) -> None:
    workshop.override("radis", {"tier": "data"})
    problem = only(workshop.problems())
    assert facts(problem)[0] == "radis.yml" and "redis" in problem.remedy


def test_a_service_cannot_be_renamed_by_an_override(workshop: Workshop) -> None:
    workshop.override("redis", {"name": "radis"})
    assert facts(only(workshop.problems())) == ("redis.yml", "name", "radis")


# --- requirements ---------------------------------------------------------------------------------------------------


def test_a_missing_requirement(workshop: Workshop) -> None:
    workshop.add("tool", ["erebus"], requires=["nowhere"])
    assert facts(only(workshop.problems())) == ("tool.yml", "requires", "nowhere")


def test_a_requirement_that_runs_nowhere(workshop: Workshop) -> None:
    workshop.add("tool", ["nyx"], requires=["litellm"])
    workshop.groups["litellm"] = []
    problems = workshop.problems()
    assert [(problem.field, problem.value) for problem in problems if problem.field == "requires"] == [
        ("requires", "litellm"),
        ("requires", "litellm"),
    ]


def test_a_requirement_that_is_switched_off(workshop: Workshop) -> None:
    workshop.override("redis-router", {"enabled": False})
    problems = [problem for problem in workshop.problems() if problem.field == "requires"]
    assert {problem.file.rsplit("/", 1)[-1] for problem in problems} == {"litellm.yml", "open-webui.yml"}
    assert all("enabled" in problem.message for problem in problems)


def test_a_leaf_service_is_left_out_in_one_line(workshop: Workshop) -> None:
    workshop.override("open-webui", {"enabled": False})
    del workshop.groups["open_webui"]
    workshop.settings["pantheon_images"] = {"open-webui": "registry/open-webui:1"}
    assert workshop.problems() == []
    assert "open-webui" not in workshop.load().services


@pytest.mark.parametrize(
    ("requires", "cycle"),
    [
        ({"redis": ["ollama"], "ollama": ["redis"]}, "ollama -> redis -> ollama"),
        ({"redis": ["redis"]}, "redis -> redis"),
        ({"redis": ["open-webui"]}, "litellm -> redis-router -> redis -> open-webui -> litellm"),
    ],
)
def test_a_cycle(workshop: Workshop, requires: dict[str, list[str]], cycle: str) -> None:
    for service, others in requires.items():
        workshop.override(service, {"requires": others})
    cycles = [problem.value for problem in workshop.problems() if problem.message == "is a cycle"]
    assert cycle in cycles and len(cycles) == len(set(cycles))


# --- endpoints and references ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"health": {"http": {"endpoint": "apo", "path": "/"}}}, "health.http.endpoint"),
        ({"metrics": {"endpoint": "apo"}}, "metrics.endpoint"),
        ({"route": {"endpoint": "apo"}}, "route.endpoint"),
    ],
)
def test_an_unknown_endpoint(workshop: Workshop, change: dict[str, Any], field: str) -> None:
    workshop.override("litellm", change)
    problem = only(workshop.problems())
    assert facts(problem) == ("litellm.yml", field, "apo") and "api" in problem.remedy


def test_a_route_to_an_endpoint_that_the_edge_does_not_reach(workshop: Workshop) -> None:
    workshop.override("litellm", {"endpoints": {"api": {"scope": "mesh"}}})
    assert facts(only(workshop.problems())) == ("litellm.yml", "endpoints.api.scope", "mesh")


def test_only_the_edge_is_public(workshop: Workshop) -> None:
    workshop.override("redis", {"endpoints": {"redis": {"scope": "public"}}})
    assert facts(only(workshop.problems())) == ("redis.yml", "endpoints.redis.scope", "public")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("${address:redis.redi}", "no endpoint redi; known are redis"),
        ("${address:radis.redis}", "no service radis"),
        ("${adress:redis.redis}", "no reference of the kind adress"),
        ("${setting:domian}", "no setting domian"),
        ("${machine:colour}", "a machine has no colour"),
        ("${secret:nobodys}", "nobody generates"),
        ("${address:edge-proxy.https}", "not required"),
    ],
)
def test_a_bad_reference(workshop: Workshop, reference: str, words: str) -> None:
    workshop.override("litellm", {"environment": {"X": f"a {reference} b"}})
    problem = only(workshop.problems())
    assert facts(problem) == ("litellm.yml", "environment.X", reference) and words in problem.message


def test_a_bad_reference_in_a_template(workshop: Workshop) -> None:
    workshop.add("tool", ["erebus"], files=[{"path": "/etc/tool.conf", "template": "tool/tool.conf"}])
    (workshop.catalog / "templates/tool").mkdir()
    (workshop.catalog / "templates/tool/tool.conf").write_text("port ${port:redis.sql}\nuser ${HOME:-/root}\n")
    problem = only(workshop.problems())
    assert facts(problem) == ("tool.yml", "files./etc/tool.conf", "${port:redis.sql}")


def test_a_reference_to_an_endpoint_of_another_machine_only(workshop: Workshop) -> None:
    node = {"http": {"port": 9000, "scope": "node"}}
    workshop.add("store", ["erebus"], endpoints=node)
    references = {"URL": "http://${address:store.http}", "PORT": "${port:store.http}"}
    workshop.add("tool", ["nyx"], requires=["store"], environment=references)
    assert {problem.field for problem in workshop.problems()} == {"environment.URL", "environment.PORT"}
    # On the machine's own network such an endpoint is for the containers of the machine, too.
    workshop.edit("store", {"network": "machine", "placement": {"group": None, "mode": "beside"}})
    assert workshop.problems() == []


def test_a_reference_to_what_only_machines_reach(workshop: Workshop) -> None:
    workshop.add("tool", ["nyx"], requires=["redis"], environment={"REDIS": "${address:redis.redis}"})
    problem = only(workshop.problems())
    assert facts(problem) == ("tool.yml", "environment.REDIS", "${address:redis.redis}")
    assert "containers do not reach" in problem.message and "redis-router" in problem.remedy
    workshop.edit("tool", {"network": "machine"})
    assert workshop.problems() == []


def test_no_embedding_model_where_one_is_needed(workshop: Workshop) -> None:
    workshop.settings["pantheon_models"] = [{"name": "small"}]
    problem = only(workshop.problems())
    assert problem.field == "environment.RAG_EMBEDDING_MODEL" and "role embedding" in problem.message


# --- secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_on_the_command_line(workshop: Workshop) -> None:
    workshop.override("redis", {"command": ["redis-server", "--requirepass", "${secret:redis_health_password}"]})
    problem = only(workshop.problems())
    assert facts(problem)[1] == "command[2]" and "process list" in problem.message


def test_the_machine_on_the_command_line_which_is_equal_everywhere(workshop: Workshop) -> None:
    workshop.override("redis", {"command": ["redis-server", "${machine:name}"]})
    assert facts(only(workshop.problems())) == ("redis.yml", "command[1]", "${machine:name}")


def test_a_secret_declared_twice(workshop: Workshop) -> None:
    workshop.add("tool", ["erebus"], secrets=[{"name": "redis_replication_password", "length": 20}])
    problem = only(workshop.problems())
    assert (
        facts(problem)[:2] == ("tool.yml", "secrets.redis_replication_password")
        and "differently by redis" in problem.message
    )


def test_a_secret_may_be_shared(workshop: Workshop) -> None:
    workshop.add("tool", ["erebus"], secrets=[{"name": "redis_replication_password", "env": "PASSWORD"}])
    assert workshop.problems() == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"files": [{"path": "/etc/x", "secret": "edge_ca"}]}, "files./etc/x"),
        ({"gateway_keys": [{"alias": "tool", "secret": "none"}]}, "gateway_keys.tool"),
        (
            {
                "databases": [{"service": "postgresql", "name": "t", "user": "t", "secret": "none"}],
                "requires": ["postgresql"],
            },
            "databases.t",
        ),
    ],
)
def test_a_secret_without_generator(workshop: Workshop, fields: dict[str, Any], field: str) -> None:
    workshop.add("tool", ["erebus"], **fields)
    problem = only(workshop.problems())
    assert problem.field == field and "nobody generates" in problem.message


def test_a_name_that_a_certificate_takes(workshop: Workshop) -> None:
    workshop.add("tool", ["erebus"], secrets=[{"name": "edge_ca_key"}])
    assert any("also a value of the secret" in problem.message for problem in workshop.problems())


def test_a_certificate_needs_an_authority(workshop: Workshop) -> None:
    password = "redis_replication_password"
    workshop.add("tool", ["erebus"], secrets=[{"name": "c", "kind": "certificate", "ca": password, "names": ["x"]}])
    assert facts(only(workshop.problems())) == ("tool.yml", "secrets.c.ca", password)


def test_a_variable_set_twice(workshop: Workshop) -> None:
    workshop.override("redis", {"environment": {"REDISCLI_AUTH": "x"}})
    assert facts(only(workshop.problems())) == ("redis.yml", "environment", "REDISCLI_AUTH")


# --- databases, files, names ----------------------------------------------------------------------------------------


def test_a_database_in_a_service_that_is_not_required(workshop: Workshop) -> None:
    workshop.add(
        "tool",
        ["erebus"],
        secrets=[{"name": "s"}],
        databases=[{"service": "postgresql", "name": "t", "user": "t", "secret": "s"}],
    )
    assert facts(only(workshop.problems())) == ("tool.yml", "databases.t", "postgresql")


def test_databases_and_users_are_not_shared(workshop: Workshop) -> None:
    workshop.add(
        "tool",
        ["erebus"],
        requires=["postgresql"],
        secrets=[{"name": "s"}],
        databases=[{"service": "postgresql", "name": "open_webui", "user": "open_webui", "secret": "s"}],
    )
    assert [problem.field for problem in workshop.problems()] == ["databases.open_webui", "databases.open_webui.user"]


def test_a_user_in_a_redis_that_is_not_required(workshop: Workshop) -> None:
    user = {"service": "redis", "user": "tool", "secret": "s", "keys": ["tool:*"]}
    workshop.add("tool", ["nyx"], secrets=[{"name": "s"}], redis=[user])
    problem = only(workshop.problems())
    assert facts(problem) == ("tool.yml", "redis.tool", "redis") and "redis-router" in problem.remedy
    workshop.edit("tool", {"requires": ["redis-router"]})
    assert workshop.problems() == []


def test_users_in_redis_are_not_shared_and_have_a_secret_of_their_service(workshop: Workshop) -> None:
    user = {"service": "redis", "user": "open_webui", "secret": "open_webui_redis_password", "keys": ["x:*"]}
    workshop.add("tool", ["nyx"], requires=["redis-router"], redis=[user])
    assert [facts(problem) for problem in workshop.problems()] == [
        ("tool.yml", "redis.open_webui", "open_webui"),
        ("tool.yml", "redis.open_webui.secret", "open_webui_redis_password"),
    ]


def test_a_missing_template_and_an_unknown_function(workshop: Workshop) -> None:
    workshop.add(
        "tool",
        ["erebus"],
        files=[{"path": "/etc/a", "template": "tool/a.conf"}, {"path": "/etc/b", "derived": "unheard_of"}],
    )
    found = {problem.field: problem.value for problem in workshop.problems()}
    assert found == {"files./etc/a.template": "tool/a.conf", "files./etc/b.derived": "unheard_of"}


def test_a_path_mounted_twice(workshop: Workshop) -> None:
    workshop.override("redis", {"volumes": [{"name": "data", "path": "/usr/local/etc/redis/redis.conf"}]})
    assert "mounted twice" in only(workshop.problems()).message


def test_route_hosts_and_aliases_are_unique(workshop: Workshop) -> None:
    workshop.override("litellm", {"route": {"host": "chat"}})
    assert facts(only(workshop.problems())) == ("open-webui.yml", "route.host", "chat")
    workshop.override("litellm", {"dns": {"aliases": ["chat"]}})
    assert facts(only(workshop.problems())) == ("open-webui.yml", "route.host", "chat")


def test_an_instance_with_the_name_of_another_service(workshop: Workshop) -> None:
    workshop.add("redis-erebus", ["thanatos"])
    assert "also the address of an instance" in only(workshop.problems()).message


def test_keys_of_the_gateway(workshop: Workshop) -> None:
    workshop.add(
        "tool",
        ["erebus"],
        secrets=[{"name": "tool_key"}],
        gateway_keys=[{"alias": "verify", "secret": "tool_key", "models": ["small", "smal"]}],
    )
    found = {(problem.field, problem.value) for problem in workshop.problems()}
    assert found == {("gateway_keys", "verify"), ("gateway_keys.verify.models", "smal")}


def test_a_backup_of_a_volume_that_does_not_exist(workshop: Workshop) -> None:
    workshop.override("open-webui", {"backup": {"volumes": ["data", "uploads"]}})
    assert facts(only(workshop.problems())) == ("open-webui.yml", "backup.volumes", "uploads")


# --- machines -------------------------------------------------------------------------------------------------------


def test_no_machines(workshop: Workshop) -> None:
    workshop.groups = {"machines": []}
    problem = only(workshop.problems())
    assert problem.field == "machines" and "no machines" in problem.message


def test_no_inventory_at_all(workshop: Workshop) -> None:
    workshop.groups = {}
    assert only(workshop.problems()).field == "machines"


def test_an_absent_group(workshop: Workshop) -> None:
    del workshop.groups["open_webui"]
    problem = only(workshop.problems())
    assert problem.field == "groups.open_webui" and "open-webui is not in the inventory" in problem.message


def test_an_empty_group(workshop: Workshop) -> None:
    workshop.groups["open_webui"] = []
    problem = only(workshop.problems())
    assert problem.field == "groups.open_webui" and "empty" in problem.message


def test_a_host_that_is_no_machine(workshop: Workshop) -> None:
    workshop.groups["redis"] = ["poseidon"]
    problem = only(workshop.problems())
    assert (problem.field, problem.value) == ("groups.redis", "poseidon")


def test_a_service_outside_of_its_tier(workshop: Workshop) -> None:
    workshop.groups["redis"] = ["kratos"]
    problem = only(workshop.problems())
    assert (problem.field, problem.value) == ("groups.redis", "kratos")
    assert problem.remedy == "make redis a child of the group data"


def test_memory(workshop: Workshop) -> None:
    workshop.hosts["erebus"]["pantheon_memory_mb"] = 4991
    problem = only(workshop.problems())
    assert (problem.field, problem.value) == ("erebus.pantheon_memory_mb", 4991)
    assert "4992 MB" in problem.message and "postgresql 2048, qdrant 2048, redis 512" in problem.message
    workshop.hosts["erebus"]["pantheon_memory_mb"] = 4992
    assert workshop.problems() == []


def test_variables_of_a_machine(workshop: Workshop) -> None:
    workshop.hosts["orpheus"].update(pantheon_memory_mb="64G", pantheon_gpu="intel")
    assert {(problem.field, problem.value) for problem in workshop.problems()} == {
        ("pantheon_memory_mb", "64G"),
        ("pantheon_gpu", "intel"),
    }


def test_a_required_gpu(workshop: Workshop) -> None:
    workshop.override("ollama", {"placement": {"gpu": "required"}})
    assert workshop.problems() == []
    workshop.hosts["nyx"]["pantheon_gpu"] = "none"
    assert "nyx has no GPU" in only(workshop.problems()).message


def test_ports_on_one_machine(workshop: Workshop) -> None:
    node = {"http": {"port": 9000, "scope": "node"}}
    workshop.add("one", ["nyx"], endpoints=node)
    workshop.add("two", ["nyx", "hades"], endpoints={"web": {"port": 80, "published": 9000, "scope": "node"}})
    problem = only(workshop.problems())
    assert facts(problem) == ("two.yml", "endpoints.web", 9000) and "on nyx" in problem.message
    workshop.groups["one"] = ["kratos"]
    workshop.groups["tools"] += ["kratos"]
    assert workshop.problems() == []


def test_unpublished_ports_do_not_collide(workshop: Workshop) -> None:
    workshop.add("one", ["nyx"])
    workshop.add("two", ["nyx"])
    assert workshop.problems() == []


def test_host_networks_publish_everything(workshop: Workshop) -> None:
    workshop.settings["pantheon_network"] = "host"
    assert workshop.problems() == []
    workshop.add("one", ["orpheus"], endpoints={"http": {"port": 4000}})
    assert facts(only(workshop.problems())) == ("one.yml", "endpoints.http", 4000)


def test_host_networks_need_addresses(workshop: Workshop) -> None:
    workshop.settings["pantheon_network"] = "host"
    workshop.hosts["nyx"]["ansible_host"] = "nyx.example.test"
    problem = only(workshop.problems())
    assert (problem.field, problem.value) == ("nyx.pantheon_address", "nyx.example.test")
    assert "pantheon_network is host" in problem.message


def test_two_endpoints_with_one_port(workshop: Workshop) -> None:
    workshop.add(
        "one", ["nyx"], endpoints={"a": {"port": 9000}, "b": {"port": 9000}, "c": {"port": 9000, "protocol": "udp"}}
    )
    assert facts(only(workshop.problems())) == ("one.yml", "endpoints.b.port", 9000)


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "refused"),
    [
        ("registry:5000/x/redis:8.0", False),
        ("registry:5000/x/redis@sha256:" + "0" * 64, False),
        ("redis:latest", True),
        ("redis", True),
        ("registry:5000/redis", True),
    ],
)
def test_images_are_pinned(workshop: Workshop, image: str, refused: bool) -> None:
    workshop.settings["pantheon_images"] = {"redis": image}
    found = [(problem.field, problem.value) for problem in workshop.problems()]
    assert found == ([("pantheon_images.redis", image)] if refused else [])


def test_an_image_for_an_unknown_service(workshop: Workshop) -> None:
    workshop.settings["pantheon_images"] = {"radis": "redis:8.0"}
    assert only(workshop.problems()).field == "pantheon_images.radis"


def test_models(workshop: Workshop) -> None:
    workshop.settings["pantheon_models"] = [
        {"name": "small"},
        {"name": "small"},
        {"name": "embed", "role": "embedding", "machines": ["nowhere"]},
        {"name": "lost", "machines": ["erebus"]},
    ]
    found = {(problem.field, problem.value) for problem in workshop.problems()}
    assert found == {
        ("pantheon_models[1].name", "small"),
        ("pantheon_models[2].machines", "nowhere"),
        ("pantheon_models[3].machines", "erebus"),
    }


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"pantheon_network": "mesh"}, "pantheon_network"),
        ({"pantheon_domain": ["x"]}, "pantheon_domain"),
        ({"pantheon_models": "small"}, "pantheon_models"),
        ({"pantheon_models": ["small"]}, "pantheon_models[0]"),
        ({"pantheon_models": [{"name": "x", "rolle": "chat"}]}, "pantheon_models[0].rolle"),
        ({"pantheon_models": [{"name": "x", "role": "talk"}]}, "pantheon_models[0].role"),
        ({"pantheon_models": [{"name": "x", "machines": "nyx"}]}, "pantheon_models[0].machines"),
        ({"pantheon_images": []}, "pantheon_images"),
    ],
)
def test_settings_of_the_wrong_kind(workshop: Workshop, settings: dict[str, Any], field: str) -> None:
    workshop.settings.update(settings)
    assert field in [problem.field for problem in workshop.problems()]


def test_storage_that_nobody_keeps(workshop: Workshop) -> None:
    workshop.groups["truenas"] = ["poseidon"]
    workshop.override("redis", {"volumes": [{"name": "media", "storage": "medai", "path": "/media"}]})
    problem = only(workshop.problems())
    assert (problem.field, problem.value) == ("volumes.media.storage", "medai")
    assert "models, shared" in problem.remedy


def test_storage_without_a_nas(workshop: Workshop) -> None:
    workshop.override("redis", {"volumes": [{"name": "media", "storage": "shared", "path": "/media"}]})
    problem = only(workshop.problems())
    assert (problem.field, problem.message) == ("volumes.media.storage", "needs a NAS, and the inventory has none")


@pytest.mark.parametrize(
    ("given", "field", "remedy"),
    [
        ({"at": "2:30"}, "at", "a time of day, such as 02:30"),
        ({"path": "/"}, "path", "an absolute path"),
        ({"path": "srv/backups"}, "path", "an absolute path"),
        ({"keep": {"daily": 0}}, "keep.daily", "at least one"),
        ({"keep": {"yearly": 3}}, "keep.yearly", "known periods are daily, weekly, monthly"),
        ({"keep": 7}, "keep", "{daily: 7"),
        ({"until": "noon"}, "until", "known keys are enabled, storage, path"),
    ],
)
def test_faults_of_the_backups_are_named(workshop: Workshop, given: dict[str, Any], field: str, remedy: str) -> None:
    workshop.settings["pantheon_backup"] = given
    (problem,) = workshop.problems()
    assert problem.field == f"pantheon_backup.{field}"
    assert remedy in problem.remedy


def test_backups_to_a_storage_that_is_not_there(workshop: Workshop) -> None:
    workshop.settings["pantheon_backup"] = {"storage": "bakcups"}
    (problem,) = workshop.problems()
    assert (problem.field, problem.value) == ("pantheon_backup.storage", "bakcups")


def test_backups_go_below_a_directory_of_their_own(workshop: Workshop) -> None:
    workshop.groups |= {"appliances": ["poseidon"], "truenas": ["poseidon"]}
    workshop.hosts["poseidon"] = {"ansible_host": "10.1.0.2"}
    workshop.settings["pantheon_storage"] = [{"name": "backups", "path": "/backups", "writers": ["machines"]}]
    (problem,) = workshop.problems()
    assert (problem.field, problem.value) == ("pantheon_storage", "/backups")
    assert "/backups/nas" in problem.remedy


def test_a_volume_is_a_directory_or_storage_and_not_both(workshop: Workshop) -> None:
    volume = {"name": "media", "storage": "shared", "source": "/srv", "path": "/media"}
    workshop.override("redis", {"volumes": [volume]})
    assert [problem.field for problem in workshop.problems()] == ["volumes.0"]
