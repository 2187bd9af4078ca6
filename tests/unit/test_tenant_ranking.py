"""A tenant's ranking settings in the tenants file."""

import pytest

from services.common.auth.tenants_file import TenantsFileError, load_tenants
from services.recommender.bootstrap.server import TenantPolicies
from services.recommender.domain.ranking.weights import DEFAULT_POLICY, RankingPolicy
from services.recommender.settings import TenantRanking


@pytest.fixture
def write(tmp_path):
    path = tmp_path / "tenants.yaml"

    def write(settings):
        path.write_text(f"tenants: {{riverbend: {{secret: {'ab' * 16}, {settings}}}}}")
        path.chmod(0o600)
        return path

    return write


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ("", DEFAULT_POLICY),
        ("ranker: auto", DEFAULT_POLICY),
        ("ranker: weights", DEFAULT_POLICY),
        ("ranker: learned", DEFAULT_POLICY),
        ("ranker: auto, need_share: 0", RankingPolicy(need_share=0.0)),
        ("ranker: null, need_share: null", DEFAULT_POLICY),
    ],
)
def test_the_file_configures_how_the_lists_of_a_tenant_are_ranked(write, settings, policy):
    tenants = load_tenants(write(settings), TenantRanking.model_validate)
    assert TenantPolicies(tenants)("riverbend") == policy


def test_a_tenant_missing_from_the_file_is_ranked_by_the_default_policy(write):
    tenants = load_tenants(write("need_share: 0.1"), TenantRanking.model_validate)
    assert TenantPolicies(tenants)("hilltop") == DEFAULT_POLICY


def test_a_changed_policy_counts_from_the_next_list_on(write):
    policies = TenantPolicies(load_tenants(write("need_share: 0.1"), TenantRanking.model_validate))
    assert policies("riverbend") == RankingPolicy(need_share=0.1)
    write("need_share: 0.25")
    assert policies("riverbend") == RankingPolicy(need_share=0.25)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("ranker: magic", r"riverbend: (?s:.)*ranker(?s:.)*'auto', 'learned' or 'weights'(?s:.)*magic"),
        ("need_share: 1.5", r"riverbend: (?s:.)*need_share(?s:.)*less than or equal to 1(?s:.)*1\.5"),
    ],
)
def test_a_wrong_value_is_refused_on_load_with_tenant_field_value_and_remedy(write, settings, words):
    with pytest.raises(TenantsFileError, match=words):
        load_tenants(write(settings), TenantRanking.model_validate)


def test_a_service_without_ranking_settings_carries_them_and_still_refuses_misspelt_names(write):
    assert load_tenants(write("ranker: learned")).get("riverbend").settings == {"ranker": "learned"}
    with pytest.raises(TenantsFileError, match=r"riverbend\.rankre"):
        load_tenants(write("rankre: learned"))
