"""`cairn keys create`, and `cairn topics` without a broker."""

from __future__ import annotations

import stat

from typer.testing import CliRunner

from services.cli import keys, topics
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.topics import load_declarations
from tests.conftest import TOPICS


def test_a_created_key_opens_its_tenant_and_is_printed_alone_on_standard_output(tmp_path):
    path = tmp_path / "tenants.yaml"

    result = CliRunner().invoke(keys.app, ["create", "--tenant", "riverbend", "--tenants", str(path)])

    assert result.exit_code == 0
    api_key = result.stdout.strip()
    tenant = load_tenants(path).credential(api_key).tenant
    assert tenant is not None
    assert tenant.name == "riverbend"
    assert api_key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_second_key_leaves_the_first_and_the_secret_alone(tmp_path):
    arguments = ["create", "--tenant", "riverbend", "--tenants", str(tmp_path / "tenants.yaml")]
    first, second = (CliRunner().invoke(keys.app, arguments).stdout.strip() for _ in range(2))

    registry = load_tenants(tmp_path / "tenants.yaml")
    assert registry.credential(first).tenant == registry.credential(second).tenant


def test_a_tenant_name_that_is_not_allowed_is_bad_input(tmp_path):
    result = CliRunner().invoke(
        keys.app, ["create", "--tenant", "River Bend", "--tenants", str(tmp_path / "tenants.yaml")]
    )

    assert result.exit_code == 2
    assert "'River Bend' must match [a-z0-9-]{1,63}" in result.stderr


def test_without_a_file_the_topics_are_the_ones_shipped_with_cairn(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(topics, "check_topics", lambda _connection, declarations, **_: seen.update(declarations) or [])
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(topics.app, ["check"])

    assert result.exit_code == 0
    assert seen == load_declarations(TOPICS)


def test_a_missing_declaration_is_bad_input_and_names_the_option(tmp_path):
    result = CliRunner().invoke(topics.app, ["create", "--file", str(tmp_path / "none.yaml")])

    assert result.exit_code == 2
    assert "none.yaml" in result.stderr
    assert "--file" in result.stderr
