"""Values: what is wrong is refused with a reason, everything is described, and nothing is without effect."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema
import pytest
import yaml
from helm_python import HelmError
from pydantic_settings import BaseSettings

from services.catalog.settings import CatalogSettings
from services.common.kafka.topics import load_declarations
from services.ingest.settings import IngestSettings, OpenEdxSettings
from services.recommender.settings import (
    FoldSettings,
    LagSettings,
    RecommenderServerSettings,
    TrainingSettings,
    WorkerSettings,
)
from tests.chart.rendering import CHART, MATRIX, ROOT, chart, containers, merged, objects, render

SCHEMA = json.loads((CHART / "values.schema.json").read_text())
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text())
ROLES: dict[str, type[BaseSettings] | None] = {
    "ingest": IngestSettings,
    "catalog": CatalogSettings,
    "server": RecommenderServerSettings,
    "worker": WorkerSettings,
    "lag": LagSettings,
    "openedx": OpenEdxSettings,
    "topics": None,
    "train": TrainingSettings,
    "replay": FoldSettings,
    "test": None,
}
# Settings that other values set, or that only tests use.
SET_BY_THE_CHART = re.compile(
    "CAIRN_(TENANTS|OPENEDX_API_KEY_FILE|OPENEDX_INSECURE|TARGET_INGEST|LISTEN|INGEST_HTTP_LISTEN|INSECURE|ADDRESS_FILE|DRAIN_S|TLS_.*|REDIS|REDIS_PASSWORD_FILE|KAFKA|KAFKA_(?!FETCH_WAIT_MS).*|LOG_LEVEL"
    "|METRICS_.*|TRACES_.*|BUNDLES|FAIL_POINT|ALLOW_FAIL_POINTS)"
)

OPENEDX = {"enabled": True, "apiKey": {"secretName": "openedx"}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"kafka": {"bootstrap": ""}}, "kafka.bootstrap is empty"),
        ({"kafka": {"bootstrap": "kafka"}}, "/kafka/bootstrap"),
        ({"kafka": {"bootstrap": "SASL_SSL://kafka:9093"}}, "/kafka/bootstrap"),
        ({"nameOverride": "Cairn"}, "/nameOverride"),
        ({"fullnameOverride": "9cairn"}, "/fullnameOverride"),
        ({"image": {"registry": "https://registry.example.org"}}, "/image/registry"),
        ({"image": {"registry": "registry.example.org/"}}, "/image/registry"),
        ({"tls": {"insecure": False}}, "accept plain text within the cluster with tls.insecure=true"),
        ({"tls": {"secretName": "cairn-tls"}}, "tls.secretName and tls.insecure=true contradict each other"),
        ({"tls": {"clientCa": {"secretName": "clients"}}}, "tls.clientCa needs TLS"),
        ({"kafka": {"security": "ssl"}}, "must be one of 'plaintext', 'tls', 'sasl_plaintext', 'sasl_tls'"),
        ({"kafka": {"ca": {"secretName": "kafka"}}}, "kafka.security=plaintext uses no TLS"),
        ({"kafka": {"username": "cairn"}}, "kafka.security=plaintext does not log in"),
        ({"kafka": {"security": "sasl_tls"}}, "needs kafka.username and kafka.password.secretName"),
        ({"kafka": {"security": "sasl_tls", "mechanism": "OAUTHBEARER"}}, "needs kafka.token.url"),
        ({"ingest": {"kafka": {"security": "sasl_tls"}}}, "ingest: kafka.mechanism=SCRAM-SHA-512 needs"),
        ({"openedx": {"enabled": True}}, "openedx.apiKey.secretName is empty"),
        ({"openedx": OPENEDX | {"ca": {"secretName": "authority"}}}, "openedx.ca needs TLS"),
        (
            {"openedx": OPENEDX, "tls": {"secretName": "a", "insecure": False, "clientCa": {"secretName": "b"}}},
            "openedx.enabled and tls.clientCa contradict each other",
        ),
        ({"redis": {"url": "redis://user:secret@redis:6379/0"}}, "/redis/url"),
        ({"redis": {"url": "http://redis"}}, "/redis/url"),
        ({"redis": {"url": "redis://redis:6379/0?password=secret"}}, "redis.url has a password"),
        ({"redis": {"url": "redis+sentinel://a/cairn?sentinel_password=secret"}}, "redis.url has a password"),
        ({"redis": {"secretName": ""}}, "redis.url and redis.secretName are empty"),
        ({"worker": {"replicas": 5}}, "worker.replicas is 5 and topics.partitions 4"),
        ({"worker": {"replicas": 0}}, "/worker/replicas"),
        ({"worker": {"autoscaling": {"kind": "vpa"}}}, "must be one of 'none', 'hpa', 'keda'"),
        ({"worker": {"autoscaling": {"maxReplicas": 8}}}, "worker.autoscaling.maxReplicas is 8"),
        ({"worker": {"autoscaling": {"kind": "hpa", "minReplicas": 5}}}, "worker.autoscaling.minReplicas is 5"),
        ({"worker": {"settings": {"CAIRN_CASH_MB": 512}}}, "CAIRN_CACHE_MB"),
        ({"worker": {"settings": {"CAIRN_CASH_MB": 512}}}, "/worker/settings"),
        ({"ingest": {"settings": {"CAIRN_CACHE_MB": 512}}}, "invalid propertyName"),
        ({"ingest": {"autoscaling": {"enabled": True, "minReplicas": 9}}}, "ingest.autoscaling.minReplicas is 9"),
        ({"server": {"autoscaling": {"enabled": True, "maxReplicas": 1}}}, "server.autoscaling.minReplicas is 2"),
        ({"server": {"service": {"headless": True, "type": "LoadBalancer"}}}, "server.service.headless needs type"),
        ({"common": {"podLabels": {"app.kubernetes.io/component": "x"}}}, "app.kubernetes.io/component"),
        ({"common": {"extraEnv": [{"name": "CAIRN_CACHE_MB", "value": "1"}]}}, "/common/extraEnv"),
        ({"worker": {"extraEnv": [{"name": "CAIRN_CACHE_MB", "value": "1"}]}}, "/worker/extraEnv"),
        ({"train": {"schedule": "every day"}}, "/train/schedule"),
        ({"networkPolicy": {"grpc": {"from": [{}]}}}, "/networkPolicy/grpc/from"),
        ({"monitoring": {"runbooksUrl": ""}}, "/monitoring/runbooksUrl"),
        ({"server": {"settings": {"CAIRN_TENANTS": "/tmp/tenants.yaml"}}}, "invalid propertyName"),
        ({"worker": {"resources": {"limits": None}}}, "limits"),
        ({"replicas": 2}, "additional properties 'replicas' not allowed"),
        ({"lag": {"replicas": 2}}, "additional properties 'replicas' not allowed"),
        ({"server": {"service": {"port": 70000}}}, "/server/service/port"),
        ({"shutdown": {"drainS": "10s"}}, "/shutdown/drainS"),
        ({"common": {"tmpSize": "256"}}, "/common/tmpSize"),
        ({"bundles": {"url": "/var/bundles"}}, "/bundles/url"),
        ({"logs": {"level": "verbose"}}, "/logs/level"),
    ],
)
def test_a_wrong_value_is_refused_with_the_reason(values, reason):
    with pytest.raises(HelmError) as refused:
        render(values)
    assert reason in str(refused.value)


@pytest.mark.parametrize("name", ["9", "my.cairn"])
def test_a_release_whose_name_cannot_begin_a_services_name_is_refused_with_the_remedy(name):
    with pytest.raises(HelmError, match="set fullnameOverride"):
        render({}, name)
    assert render({"fullnameOverride": "cairn"}, name)


@pytest.mark.parametrize(
    "values",
    [
        {"train": {"schedule": "@weekly"}},
        {"train": {"schedule": "*/15 1-5 ? jan,FEB MON-FRI"}},
        {"image": {"registry": "localhost:5000/district/cairn"}},
        {"kafka": {"bootstrap": "[::1]:9092,kafka-1.example.org:9093"}},
        {"redis": {"url": "rediss+sentinel://cairn@a:26379,[::1]:26379/cairn/0?sentinel_username=x"}},
    ],
    ids=str,
)
def test_an_unusual_value_that_is_right_is_accepted(values):
    assert render(values)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix("#/definitions/")
    return SCHEMA["definitions"][name] if name else schema


def described(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value of the schema with its path."""
    for name, below in schema.get("properties", {}).items():
        found = resolved(below)
        yield f"{path}{name}", found
        yield from described(found, f"{path}{name}.")


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each default that is not a map with more defaults."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def test_every_value_is_described_and_no_object_takes_unknown_ones():
    for path, schema in described(SCHEMA):
        assert schema["description"].endswith("."), path
        if "properties" in schema and not path.endswith((".requests", ".limits")):
            assert schema["additionalProperties"] is False, path
    assert SCHEMA["additionalProperties"] is False
    assert SCHEMA["definitions"].keys() <= set(re.findall(r'"#/definitions/(\w+)"', json.dumps(SCHEMA)))


def test_values_yaml_shows_every_value_once():
    # What every role may set like `common` and `kafka` stands there.
    everywhere = DEFAULTS["common"].keys() | {"kafka"}
    shown = {".".join(path[:depth]) for path, _ in leaves(DEFAULTS) for depth in range(1, len(path) + 1)}
    for path, _ in described(SCHEMA):
        role, _, rest = path.partition(".")
        common = role in (*ROLES, "gateway") and rest.partition(".")[0] in everywhere
        if not common and not path.endswith((".resources.claims",)) and path != "global":
            assert path in shown, f"values.yaml lacks {path}"


@pytest.mark.parametrize("role", [role for role, settings in ROLES.items() if settings is not None])
def test_every_setting_of_a_process_can_be_set_and_no_other(role):
    settings = ROLES[role]
    assert settings is not None
    names = {f"CAIRN_{field.upper()}" for field in settings.model_fields}
    # Within allOf, for the message to say of which role's settings it speaks.
    allowed = SCHEMA["properties"][role]["properties"]["settings"]["allOf"][0]["propertyNames"]["enum"]
    assert allowed == sorted(name for name in names if not SET_BY_THE_CHART.fullmatch(name))


# Those that fit the schema are tried in turn until one changes what is rendered.
OTHER_TEXTS = (
    *("changed", "changed:1", "https://changed:1", "rediss://changed:1/0", "s3://changed", "7Mi", "7Gi"),
    *("Always", "debug", "tls", "sasl_plaintext", "SCRAM-SHA-256", "LoadBalancer", "hpa", "keda", "1 2 * * *"),
    f"sha256:{64 * '7'}",
)


def others(path: tuple[str, ...], value: Any) -> list[Any]:
    """Other values in place of a default."""
    match value:
        case bool():
            return [not value]
        case int() | float():
            return [value + 1, value / 2]
        case None:
            return [3]
        case str():
            return [text for text in OTHER_TEXTS if text != value]
        case dict():
            return [{"CAIRN_KAFKA_FETCH_WAIT_MS": 7}] if path[-1] == "settings" else [{"changed": "changed"}]
        case _:
            return [[{"changed": "changed"}], ["changed"], ["ReadWriteOnce"], [7]]


def united(*names: str) -> dict[str, Any]:
    """Several cases of the matrix in one."""
    values: dict[str, Any] = {}
    for name in names:
        values = merged(values, MATRIX[name])
    return values


# Few cases in which every value counts.
CASES = (
    united(
        "Kafka with TLS and users",
        "events over HTTP",
        "mutual TLS",
        "HPA",
        "monitoring",
        "traces",
        "Redis with an authority",
    ),
    united("Kafka with client credentials", "KEDA", "bundles in a bucket", "Redis with a password in a file"),
    united("Kafka with client certificates", "Open edX"),
    united("Kafka with a token command"),
    united("gateway to TLS", "Open edX with TLS"),
)


@pytest.mark.parametrize("path", [path for path, _ in leaves(DEFAULTS)], ids=".".join)
def test_every_value_changes_what_is_rendered(path):
    default = dict(leaves(DEFAULTS))[path]
    validator = jsonschema.Draft7Validator({**schema_of(path), "definitions": SCHEMA["definitions"]})
    for changed in filter(validator.is_valid, others(path, default)):
        if any(outcome(case, path, changed) != outcome(case, path, default) for case in CASES):
            return
    pytest.fail(f"{'.'.join(path)} has no effect")


def schema_of(path: tuple[str, ...]) -> dict[str, Any]:
    schema = SCHEMA
    for name in path:
        schema = resolved(schema.get("properties", {}).get(name) or schema.get("additionalProperties", {}))
    return schema


def outcome(case: dict[str, Any], path: tuple[str, ...], value: Any) -> str:
    """What is rendered with a value, or why it is refused."""
    over: Any = value
    for name in reversed(path):
        over = {name: over}
    return _outcome(json.dumps(merged(case, over)))


@cache
def _outcome(text: str) -> str:
    try:
        return json.dumps(render(json.loads(text)))
    except HelmError as refused:
        return str(refused)


def test_a_role_may_differ_in_what_is_common():
    roles = {
        each.role: each.pod.get("priorityClassName")
        for each in containers(
            objects({"common": {"priorityClassName": "low"}, "server": {"priorityClassName": "high"}})
        )
    }
    assert roles == {role: "high" if role == "server" else "low" for role in ROLES if role != "openedx"}


def test_the_chart_has_the_version_of_the_application():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = chart().metadata
    assert (metadata["version"], metadata["appVersion"]) == (project["version"], project["version"])


def test_there_are_as_many_partitions_as_declared():
    declared = load_declarations(ROOT / "deploy" / "topics.yaml")["cairn.learner-events"]
    assert DEFAULTS["topics"]["partitions"] == declared.partitions


def test_the_notes_name_what_there_is():
    notes = render(MATRIX["TLS"])["cairn/templates/NOTES.txt"]
    assert "cairn-server.learning.svc:50051" in notes
    assert "over TLS" in notes
    assert "a Secret cairn-tenants with the key tenants.yaml." in notes
    assert "until there is cairn-redis with the key url." in notes
    assert "set networkPolicy.redis.ports" in notes
    given = render(MATRIX["Redis with a password in a file"])["cairn/templates/NOTES.txt"]
    assert "a Secret cairn-tenants with the key tenants.yaml, and redis with password." in given
    assert "CreateContainerConfigError" not in given
    assert "create job --from=cronjob/cairn-train" in notes
    assert "in plain text" in render({})["cairn/templates/NOTES.txt"]
