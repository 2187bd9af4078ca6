"""`cairn keys create | list | rotate | revoke`: what they print, what they change, and what they refuse."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from services.cli.keys import app
from services.common.auth.tenant import Scope
from services.common.auth.tenants_file import load_tenants
from services.common.kafka.connection import BrokerUnavailableError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tenants.yaml"


@pytest.fixture
def keys(path):
    def run(*arguments):
        return CliRunner().invoke(app, [*arguments, "--tenants", str(path)])

    return run


def test_a_key_with_scopes_has_those_and_one_without_may_not_erase_or_change_the_catalog(keys, path):
    named = keys("create", "--tenant", "riverbend", "--scope", "ingest", "--scope", "catalog").stdout.strip()
    default = keys("create", "--tenant", "riverbend").stdout.strip()
    registry = load_tenants(path)
    assert registry.credential(named).api_key.scopes == {Scope.INGEST, Scope.CATALOG}
    assert registry.credential(default).api_key.scopes == {Scope.INGEST, Scope.RECOMMEND}


def test_the_list_shows_everything_except_the_keys_themselves(keys, path):
    made = keys("create", "--tenant", "riverbend", "--name", "gradebook", "--scope", "ingest").stdout.strip()
    keys("create", "--tenant", "hilltop", *(f"--scope={scope}" for scope in Scope))
    shown = keys("list").stdout
    (hilltop, riverbend) = shown.splitlines()[1:]
    assert hilltop.split()[:2] == ["hilltop", "default"]
    assert hilltop.split()[3] == "all"
    key_id = load_tenants(path).credential(made).api_key.key_id
    assert riverbend.split()[:4] == ["riverbend", "gradebook", key_id, "ingest"]
    assert made not in shown
    assert "hilltop" not in keys("list", "--tenant", "riverbend").stdout


def test_a_rotated_key_keeps_working_alongside_the_new_one_by_default(keys, path):
    first = keys("create", "--tenant", "riverbend", "--name", "gradebook", "--scope", "catalog").stdout.strip()
    rotated = keys("rotate", "--tenant", "riverbend", "--name", "gradebook", "--overlap-h", "2")
    second = rotated.stdout.strip()
    assert "accepted for another 2 h" in rotated.stderr
    registry = load_tenants(path)
    assert registry.credential(first).api_key.expires_at is not None
    assert registry.credential(second).api_key.scopes == {Scope.CATALOG}
    assert registry.credential(second).api_key.expires_at is None

    third = keys("rotate", "--tenant", "riverbend", "--name", "gradebook", "--overlap-h", "0").stdout.strip()
    registry = load_tenants(path)
    assert registry.credential(second) is None
    assert registry.credential(first).tenant.name == registry.credential(third).tenant.name == "riverbend"


def test_a_revoked_key_is_refused_by_a_registry_that_was_loaded_before(keys, path):
    made, kept = (keys("create", "--tenant", "riverbend", "--name", name).stdout.strip() for name in ("a", "b"))
    registry = load_tenants(path)
    assert registry.credential(made) is not None
    revoked = keys("revoke", "--tenant", "riverbend", "--name", "a")
    assert revoked.exit_code == 0
    assert "Revoked 1 key(s)" in revoked.stderr
    assert registry.credential(made) is None
    assert registry.credential(kept) is not None


@pytest.mark.parametrize("command", ["rotate", "revoke"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--tenant", "riverbend", "--name", "library"), "tenant 'riverbend' has no key 'library'; list its keys with"),
        (("--tenant", "hilltop", "--name", "default"), "there is no tenant 'hilltop'; known are: riverbend"),
    ],
)
def test_an_unknown_key_is_bad_input_and_changes_nothing(keys, path, command, arguments, said):
    keys("create", "--tenant", "riverbend")
    before = path.read_bytes()
    result = keys(command, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "arguments", [("list",), ("rotate", "--tenant", "a", "--name", "b"), ("revoke", "--tenant", "a", "--name", "b")]
)
def test_a_missing_file_is_bad_input_and_is_not_created(keys, path, arguments):
    result = keys(*arguments)
    assert result.exit_code == 2
    assert "cairn keys create" in result.stderr
    assert not path.exists()


def test_listing_an_unknown_tenant_names_the_known_ones(keys):
    keys("create", "--tenant", "riverbend")
    result = keys("list", "--tenant", "hilltop")
    assert result.exit_code == 2
    assert "there is no tenant 'hilltop'; known are: riverbend" in result.stderr


def test_an_unknown_scope_is_refused_and_the_known_ones_are_named(keys, path):
    result = keys("create", "--tenant", "riverbend", "--scope", "everything")
    assert result.exit_code == 2
    for scope in Scope:
        assert scope in result.stderr
    assert not path.exists()


def test_a_tenant_has_encryption_by_default_and_it_can_be_switched(keys, path):
    keys("create", "--tenant", "riverbend")
    keys("create", "--tenant", "hilltop", "--no-encryption")
    tenants = load_tenants(path)
    assert tenants.get("riverbend").encryption_key is not None
    assert tenants.get("hilltop").encryption_key is None
    assert "are encrypted" in keys("encryption", "on", "--tenant", "hilltop").stderr
    assert "are plain" in keys("encryption", "off", "--tenant", "riverbend").stderr
    assert tenants.get("hilltop").encryption_key is not None
    assert not tenants.get("riverbend").encrypt


@pytest.fixture
def rewrapped(monkeypatch):
    """Records the keys used to wrap and unwrap a tenant's data keys, one entry per call."""
    calls = []

    async def rewrap(_connection, tenant, tenant_keys, _clock):
        calls.append(tenant_keys(tenant))
        if isinstance(rewrap.outcome, Exception):
            raise rewrap.outcome
        return rewrap.outcome

    rewrap.outcome, rewrap.calls = 7, calls
    monkeypatch.setattr("services.cli.keys.rewrap_learner_keys", rewrap)
    return rewrap


def test_an_encryption_key_is_replaced_in_three_steps_and_the_former_one_decrypts_until_the_last(keys, path, rewrapped):
    keys("create", "--tenant", "riverbend")
    tenants = load_tenants(path)
    first = tenants.get("riverbend").encryption_key
    prepared = keys("rotate-encryption", "prepare", "--tenant", "riverbend")
    assert "cairn keys rotate-encryption switch --tenant riverbend" in prepared.stderr
    (wraps, following) = tenants.get("riverbend").encryption_keys
    assert wraps == first
    assert keys("rotate-encryption", "prepare", "--tenant", "riverbend").exit_code == 0
    assert tenants.get("riverbend").encryption_keys == (first, following)
    assert not rewrapped.calls

    switched = keys("rotate-encryption", "switch", "--tenant", "riverbend")
    assert "The keys of 7 learner(s)" in switched.stderr
    assert "rotate-encryption finish" in switched.stderr
    assert keys("rotate-encryption", "switch", "--tenant", "riverbend").exit_code == 0
    assert tenants.get("riverbend").encryption_keys == (following, first)
    assert "finish" in keys("rotate-encryption", "prepare", "--tenant", "riverbend").stderr

    finished = keys("rotate-encryption", "finish", "--tenant", "riverbend")
    assert "the former key is removed" in finished.stderr
    assert tenants.get("riverbend").encryption_keys == (following,)
    assert rewrapped.calls == [(following, first)] * 3
    said = prepared.stderr + switched.stderr + finished.stderr
    assert not any(key.hex() in said for key in (first, following))


@pytest.mark.parametrize(
    ("step", "first_do"),
    [("switch", "rotate-encryption prepare"), ("finish", "rotate-encryption switch")],
)
def test_a_replacement_step_out_of_order_names_the_step_that_is_due(keys, path, rewrapped, step, first_do):
    keys("create", "--tenant", "riverbend")
    before = path.read_bytes()
    result = keys("rotate-encryption", step, "--tenant", "riverbend")
    assert result.exit_code == 2
    assert first_do in result.stderr
    assert (path.read_bytes(), rewrapped.calls) == (before, [])
    keys("create", "--tenant", "plain", "--no-encryption")
    assert "cairn keys encryption on" in keys("rotate-encryption", "prepare", "--tenant", "plain").stderr


def test_the_former_encryption_key_stays_if_some_keys_could_not_be_rewrapped(keys, path, rewrapped):
    keys("create", "--tenant", "riverbend")
    keys("rotate-encryption", "prepare", "--tenant", "riverbend")
    rewrapped.outcome = BrokerUnavailableError("Kafka is away")
    for step in ("switch", "finish"):
        result = keys("rotate-encryption", step, "--tenant", "riverbend")
        assert result.exit_code == 1
        assert "Kafka is away. Data keys that were already wrapped stay so; run the step again" in result.stderr
        assert len(load_tenants(path).get("riverbend").encryption_keys) == 2
