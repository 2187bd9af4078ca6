"""The tenants file: keys are hashed, secrets are private, mistakes are named."""

import stat

import pytest

from services.common.tenants import TenantsFileError, create_api_key, load_tenants


@pytest.fixture
def path(tmp_path):
    return tmp_path / "tenants.yaml"


def test_a_created_key_opens_its_own_tenant_and_no_other(path):
    river, hill = create_api_key(path, "riverbend", "gradebook"), create_api_key(path, "hilltop", "gradebook")
    registry = load_tenants(path)
    assert registry.authenticate(river).name == "riverbend"
    assert registry.authenticate(hill).name == "hilltop"
    assert registry.authenticate(river + "x") is None
    assert registry.authenticate("") is None
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


def test_a_file_that_others_may_read_is_refused_with_the_command_that_mends_it(path):
    create_api_key(path, "riverbend", "gradebook")
    path.chmod(0o640)
    with pytest.raises(TenantsFileError, match="chmod 600"):
        load_tenants(path)


def test_a_missing_file_says_how_to_make_one(path):
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
        ("tenants: [", "malformed"),
    ],
)
def test_a_malformed_file_names_what_is_wrong(path, content, named):
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(TenantsFileError, match=named):
        load_tenants(path)
