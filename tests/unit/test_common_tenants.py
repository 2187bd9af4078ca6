"""The tenants file: keys are hashed, secrets are private, mistakes are reported."""

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from deploy.local.demo_tenant import create_demo_tenant
from services.common.auth.api_keys import ApiKeyMissingError, create_api_key, revoke_api_keys, rotate_api_key
from services.common.auth.encryption_keys import set_encryption
from services.common.auth.public_tenant import PUBLIC_SECRET, PublicTenantError
from services.common.auth.tenant import ALL_SCOPES, ApiKey, Scope, hash_api_key
from services.common.auth.tenants_file import FollowedTenants, TenantsFileError, edited_tenants_file, load_tenants


def tenant_of(registry, api_key):
    credential = registry.credential(api_key)
    return None if credential is None else credential.tenant


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tenants.yaml"


def test_a_created_key_belongs_to_its_own_tenant_and_no_other(path):
    river, hill = create_api_key(path, "riverbend", "gradebook"), create_api_key(path, "hilltop", "gradebook")
    registry = load_tenants(path)
    assert tenant_of(registry, river).name == "riverbend"
    assert tenant_of(registry, hill).name == "hilltop"
    assert tenant_of(registry, river + "x") is None
    assert tenant_of(registry, "") is None
    assert registry.names == ("hilltop", "riverbend")


def test_a_second_key_of_a_tenant_keeps_its_secret_so_that_pseudonyms_stay(path):
    create_api_key(path, "riverbend", "gradebook")
    before = load_tenants(path).get("riverbend").pseudonym("ada")
    create_api_key(path, "riverbend", "library")
    assert load_tenants(path).get("riverbend").pseudonym("ada") == before


def test_the_file_is_private_and_holds_no_key(path):
    api_key = create_api_key(path, "riverbend", "gradebook")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert api_key not in path.read_text()


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o660, 0o644, 0o666])
def test_a_file_that_everybody_may_read_or_a_group_may_change_is_refused_with_the_remedy(path, mode):
    create_api_key(path, "riverbend", "gradebook")
    path.chmod(mode)
    with pytest.raises(TenantsFileError, match=r"chmod 600.*0440"):
        load_tenants(path)


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o440, 0o640])
def test_a_file_that_a_group_may_only_read_is_accepted(path, mode):
    create_api_key(path, "riverbend", "gradebook")
    path.chmod(mode)
    assert load_tenants(path).names == ("riverbend",)


def test_a_secret_that_kubernetes_mounts_is_read_and_followed_when_it_is_replaced(tmp_path):
    # The kubelet mounts each version in a folder of its own, and points to it by a symbolic link that it replaces.
    def version(name, tenant):
        (folder := tmp_path / name).mkdir()
        create_api_key(folder / "tenants.yaml", tenant, "gradebook")
        (folder / "tenants.yaml").chmod(0o440)
        (tmp_path / "..data.new").symlink_to(name)
        (tmp_path / "..data.new").replace(tmp_path / "..data")

    version("..2026_01", "riverbend")
    (tmp_path / "tenants.yaml").symlink_to("..data/tenants.yaml")
    tenants = load_tenants(tmp_path / "tenants.yaml")
    assert tenants.names == ("riverbend",)
    version("..2026_02", "hilltop")
    assert tenants.names == ("hilltop",)


def test_the_error_about_a_missing_file_says_how_to_create_it(path):
    with pytest.raises(TenantsFileError, match="cairn keys create"):
        load_tenants(path)


@pytest.mark.parametrize("name", ["", "River", "a/b", "x" * 64])
def test_a_tenant_name_that_could_not_be_a_key_prefix_is_refused(path, name):
    with pytest.raises(TenantsFileError, match="must match"):
        create_api_key(path, name, "gradebook")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("tenants: {riverbend: {secret: abcd}}", "16 bytes"),
        ("tenants: {River: {secret: " + "ab" * 16 + "}}", "must match"),
        ("tenants: {riverbend: {secret: " + "ab" * 16 + ", keys: []}}", "keys"),
        ("tenants: {riverbend: {}, riverbend: {}}", "malformed in line 1: the key 'riverbend' is there twice"),
        ("tenants: [", "malformed"),
    ],
)
def test_a_malformed_file_is_an_error_that_names_the_problem(path, content, named):
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(TenantsFileError, match=named):
        load_tenants(path)


NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


def test_a_key_of_a_file_without_scopes_may_do_everything(path):
    sha256 = hash_api_key("old-key")
    path.write_text(
        f"tenants: {{riverbend: {{secret: {'ab' * 16}, api_keys: [{{name: gradebook, sha256: {sha256}}}]}}}}"
    )
    path.chmod(0o600)
    credential = load_tenants(path).credential("old-key")
    assert credential.api_key.scopes == ALL_SCOPES
    assert credential.api_key.created_at is None
    assert credential.tenant.name == "riverbend"


def test_a_stored_key_is_read_back(path):
    api_key = create_api_key(path, "riverbend", "gradebook", [Scope.INGEST], created_at=NOW)
    kept = load_tenants(path).credential(api_key).api_key
    assert kept == ApiKey("riverbend", "gradebook", hash_api_key(api_key)[:12], frozenset({Scope.INGEST}), NOW, None)


@pytest.mark.parametrize("scopes", ["[]", "[everything]", "ingest"])
def test_scopes_that_grant_nothing_or_nothing_known_are_refused_rather_than_granting_all(path, scopes):
    path.write_text(
        f"tenants: {{riverbend: {{secret: {'ab' * 16}, "
        f"api_keys: [{{name: gradebook, sha256: {'a' * 64}, scopes: {scopes}}}]}}}}"
    )
    path.chmod(0o600)
    with pytest.raises(TenantsFileError, match=r"riverbend\.api_keys\.0\.scopes"):
        load_tenants(path)


def test_a_rotated_key_is_accepted_only_until_the_overlap_ends(path):
    old = create_api_key(path, "riverbend", "gradebook", created_at=NOW)
    now = NOW
    registry = FollowedTenants(path, lambda: now)
    new = rotate_api_key(path, "riverbend", "gradebook", now=NOW, overlap=timedelta(hours=2))
    now = NOW + timedelta(hours=2) - timedelta(microseconds=1)
    assert tenant_of(registry, old) == tenant_of(registry, new) is not None
    now = NOW + timedelta(hours=2)
    assert tenant_of(registry, old) is None
    assert tenant_of(registry, new) is not None


def test_rotating_twice_rotates_the_permanent_key_and_extends_no_other(path):
    create_api_key(path, "riverbend", "gradebook")
    rotate_api_key(path, "riverbend", "gradebook", now=NOW, overlap=timedelta(hours=1))
    rotate_api_key(path, "riverbend", "gradebook", now=NOW, overlap=timedelta(hours=8))
    ends = sorted(key.expires_at for key in load_tenants(path).api_keys if key.expires_at)
    assert ends == [NOW + timedelta(hours=1), NOW + timedelta(hours=8)]


def test_several_keys_of_a_name_rotate_by_id_only_and_are_revoked_together_by_name(path):
    create_api_key(path, "riverbend", "gradebook")
    second = create_api_key(path, "riverbend", "gradebook")
    with pytest.raises(ApiKeyMissingError, match="has 2 keys 'gradebook'; name one by its id") as refused:
        rotate_api_key(path, "riverbend", "gradebook", now=NOW, overlap=timedelta(0))
    key_id = load_tenants(path).credential(second).api_key.key_id
    assert key_id in str(refused.value)
    rotate_api_key(path, "riverbend", key_id, now=NOW, overlap=timedelta(0))
    assert tenant_of(load_tenants(path), second) is None
    assert len(revoke_api_keys(path, "riverbend", "gradebook")) == 2
    assert load_tenants(path).api_keys == ()
    assert load_tenants(path).names == ("riverbend",)


def test_revoking_by_id_leaves_the_keys_of_the_same_name(path):
    first, second = (create_api_key(path, "riverbend", "gradebook") for _ in range(2))
    (revoked,) = revoke_api_keys(path, "riverbend", load_tenants(path).credential(first).api_key.key_id)
    assert revoked.name == "gradebook"
    registry = load_tenants(path)
    assert tenant_of(registry, first) is None
    assert tenant_of(registry, second) is not None


def test_revoking_keeps_other_tenants_and_the_secret(path):
    river, hill = create_api_key(path, "riverbend", "default"), create_api_key(path, "hilltop", "default")
    secret = load_tenants(path).get("riverbend").secret
    revoke_api_keys(path, "riverbend", "default")
    registry = load_tenants(path)
    assert tenant_of(registry, river) is None
    assert tenant_of(registry, hill).name == "hilltop"
    assert registry.get("riverbend").secret == secret


def test_a_registry_adds_new_tenants_while_it_runs(path):
    create_api_key(path, "riverbend", "default")
    registry = load_tenants(path)
    assert registry.get("hilltop") is None
    hill = create_api_key(path, "hilltop", "default")
    assert tenant_of(registry, hill).name == "hilltop"
    assert registry.names == ("hilltop", "riverbend")


@pytest.mark.parametrize("damage", ["malformed", "readable by others", "gone"])
def test_an_unusable_file_does_not_revoke_access_and_is_read_again_once_fixed(path, damage):
    api_key = create_api_key(path, "riverbend", "default")
    registry = load_tenants(path)
    good = path.read_text()
    if damage == "malformed":
        path.write_text("tenants: [")
    elif damage == "readable by others":
        create_api_key(path, "riverbend", "second")
        path.chmod(0o644)
    else:
        path.unlink()
    with capture_logs() as logs:
        assert tenant_of(registry, api_key) is not None
        assert tenant_of(registry, api_key) is not None
    assert [entry["log_level"] for entry in logs] == ["error"]
    path.unlink(missing_ok=True)
    path.write_text(good)
    path.chmod(0o600)
    hill = create_api_key(path, "hilltop", "default")
    assert tenant_of(registry, hill) is not None


def test_a_file_that_does_not_change_is_read_once(path, monkeypatch):
    api_key = create_api_key(path, "riverbend", "default")
    registry = load_tenants(path)
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("the file was read again"))
    assert tenant_of(registry, api_key) is not None


@pytest.mark.parametrize("content", ["tenants: {riverbend: {secret: %s", "tenants: {riverbend: {secret: %s}}"])
def test_error_messages_about_a_malformed_file_contain_no_secrets(path, content):
    secret = "c0ffee" * 5
    path.write_text(content % secret)
    path.chmod(0o600)
    with pytest.raises(TenantsFileError, match="malformed") as refused:
        load_tenants(path)
    assert "c0ffee" not in str(refused.value)


def test_keys_created_at_the_same_time_are_all_kept(path):
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: create_api_key(path, "riverbend", f"key {number}"), range(24)))
    registry = load_tenants(path)
    assert all(tenant_of(registry, api_key) for api_key in made)


def test_a_change_that_fails_halfway_leaves_the_file_as_it_was(path, monkeypatch):
    api_key = create_api_key(path, "riverbend", "default")
    before = path.read_bytes()

    def full_disk(*_arguments, **_options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("services.common.auth.tenants_file.yaml.safe_dump", full_disk)
    with pytest.raises(OSError, match="No space"):
        revoke_api_keys(path, "riverbend", "default")
    assert path.read_bytes() == before
    assert tenant_of(load_tenants(path), api_key) is not None


def test_an_encryption_key_is_created_with_a_tenant_and_kept_when_encryption_is_switched(path):
    create_api_key(path, "plain", "test")
    create_api_key(path, "riverbend", "test", encryption=True)
    tenants = load_tenants(path)
    made = tenants.get("riverbend").encryption_key
    assert len(made) == 32
    assert made.hex() not in repr(tenants.get("riverbend"))
    assert (tenants.get("plain").encryption_key, tenants.get("riverbend").encrypt) == (None, True)
    set_encryption(path, "riverbend", encrypt=False)
    set_encryption(path, "plain", encrypt=True)
    assert (tenants.get("riverbend").encryption_key, tenants.get("riverbend").encrypt) == (made, False)
    assert len(tenants.get("plain").encryption_key) == 32
    set_encryption(path, "riverbend", encrypt=True)
    assert (tenants.get("riverbend").encryption_key, tenants.get("riverbend").encrypt) == (made, True)
    with pytest.raises(TenantsFileError, match="no tenant 'hilltop'"):
        set_encryption(path, "hilltop", encrypt=True)


def test_the_demos_tenant_has_the_same_key_and_pseudonyms_in_every_file(tmp_path):
    files = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    keys = [create_demo_tenant(file) for file in files]
    tenants = [tenant_of(load_tenants(file), key) for file, key in zip(files, keys, strict=True)]
    assert keys[0] == keys[1]
    assert tenants[0].pseudonym("ada") == tenants[1].pseudonym("ada")
    assert tenants[0].encryption_key != tenants[1].encryption_key


def test_a_registry_that_refuses_what_is_public_says_which_tenant_and_how_to_replace_it(path):
    create_demo_tenant(path)
    expected = "tenant 'demo' has the secret .* the API key of make demo is accepted.* cairn keys create"
    with pytest.raises(PublicTenantError, match=expected):
        load_tenants(path).refuse_public()


@pytest.mark.parametrize("left", ["secret", "api_key"])
def test_either_the_public_secret_or_the_public_key_is_enough_to_refuse(path, left):
    create_demo_tenant(path)
    with edited_tenants_file(path) as content:
        if left == "secret":
            content.tenants["demo"].api_keys = []
        else:
            content.tenants["demo"].secret = "ab" * 16
    with pytest.raises(PublicTenantError):
        load_tenants(path).refuse_public()


def test_a_file_that_gets_the_public_tenant_later_is_not_taken_over(path):
    private = create_api_key(path, "riverbend", "gradebook")
    registry = load_tenants(path)
    registry.refuse_public()
    public = create_demo_tenant(path)
    with capture_logs() as logs:
        assert tenant_of(registry, public) is None
        assert tenant_of(registry, private).name == "riverbend"
    assert [(entry["log_level"], "make demo" in entry["reason"]) for entry in logs] == [("error", True)]


def test_a_registry_on_loopback_accepts_the_public_tenant(path):
    create_api_key(path, "riverbend", "gradebook")
    registry = load_tenants(path)
    assert tenant_of(registry, create_demo_tenant(path)).secret == bytes.fromhex(PUBLIC_SECRET)
