"""Every pod is restricted, bounded, probed and stopped as the processes need it, and starts with valid settings."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer.main
from pydantic_settings import BaseSettings

from deploy.kafka.certificates import Authority
from services.catalog.settings import CatalogSettings
from services.cli.topics import app as topics_app
from services.common.kafka.settings import KafkaSettings
from services.ingest.settings import IngestSettings, OpenEdxSettings
from services.recommender.cli.epochs import app as epochs_app
from services.recommender.cli.train import app as train_app
from services.recommender.settings import (
    FoldSettings,
    LagSettings,
    RecommenderServerSettings,
    TrainingSettings,
    WorkerSettings,
)
from tests.chart.rendering import MATRIX, Container, case, containers, objects, pod_templates

CASES = pytest.mark.parametrize("name", MATRIX)
# By the container's name.
SETTINGS: dict[str, type[BaseSettings]] = {
    "ingest": IngestSettings,
    "catalog": CatalogSettings,
    "server": RecommenderServerSettings,
    "worker": WorkerSettings,
    "lag": LagSettings,
    "openedx": OpenEdxSettings,
    "topics": KafkaSettings,
    "train": TrainingSettings,
    "replay": FoldSettings,
    "switch": FoldSettings,
    "prune": FoldSettings,
}
UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def amount(quantity: str) -> float:
    """A Kubernetes quantity of bytes."""
    match = re.fullmatch(r"(\d+)(Ki|Mi|Gi)", quantity)
    assert match is not None, quantity
    return int(match[1]) * UNITS[match[2]]


def environment(each: Container) -> dict[str, str]:
    """The variables of a container; those of Secrets have a valid value."""
    return {
        variable["name"]: variable.get("value", "rediss://cairn:secret@redis:6379/0")
        for variable in each.container["env"]
    }


def files_of(pod: dict[str, Any]) -> list[str]:
    """The paths of the files that a pod gets from Secrets, under /etc/cairn."""
    return [
        item["path"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source.get("secret", {}).get("items", ())
    ]


@CASES
def test_every_pod_meets_the_restricted_pod_security_standard(name):
    for each in containers(case(name)):
        pod, container = each.pod["securityContext"], each.container["securityContext"]
        assert pod["runAsNonRoot"] is True, each.where
        assert (pod["runAsUser"], pod["runAsGroup"], pod["fsGroup"]) == (10001, 10001, 10001), each.where
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}, each.where
        assert container["allowPrivilegeEscalation"] is False, each.where
        assert container["capabilities"] == {"drop": ["ALL"]}, each.where
        assert not each.pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}, each.where
        assert not [port for port in each.container.get("ports", ()) if "hostPort" in port], each.where
        kinds = {kind for volume in each.pod["volumes"] for kind in volume if kind != "name"}
        assert kinds <= {"emptyDir", "projected", "persistentVolumeClaim", "configMap"}, each.where


@CASES
def test_no_pod_gets_a_token_or_variables_of_services(name):
    for where, template in pod_templates(case(name)):
        assert template["spec"]["automountServiceAccountToken"] is False, where
        # A Service named cairn-metrics would set CAIRN_METRICS_PORT=tcp://...
        assert template["spec"]["enableServiceLinks"] is False, where


@CASES
def test_only_tmp_and_bundles_can_be_written_to_and_tmp_fits_into_the_memory(name):
    for each in containers(case(name)):
        assert each.container["securityContext"]["readOnlyRootFilesystem"] is True, each.where
        mounts = {mount["mountPath"]: mount for mount in each.container["volumeMounts"]}
        assert {path for path, mount in mounts.items() if not mount.get("readOnly")} <= {
            "/tmp",
            "/var/lib/cairn/bundles",
        }
        assert "/tmp" in mounts
        if each.role == "server" and "/var/lib/cairn/bundles" in mounts:
            assert mounts["/var/lib/cairn/bundles"]["readOnly"] is True
        assert environment(each)["NUMBA_CACHE_DIR"].startswith("/tmp/")
        (tmp,) = [volume["emptyDir"] for volume in each.pod["volumes"] if volume["name"] == "tmp"]
        assert tmp["medium"] == "Memory"
        assert amount(tmp["sizeLimit"]) <= amount(each.container["resources"]["limits"]["memory"]) / 2, each.where


@CASES
def test_every_container_reserves_memory_and_has_a_limit(name):
    for each in containers(case(name)):
        resources = each.container["resources"]
        assert amount(resources["requests"]["memory"]) <= amount(resources["limits"]["memory"]), each.where
        # A limit of CPU would throttle a process while its node is idle.
        assert "cpu" in resources["requests"], each.where
        assert "cpu" not in resources["limits"], each.where


@CASES
def test_processes_are_alive_by_their_loop_and_ready_by_their_work_and_jobs_are_not_probed(name):
    for each in containers(case(name)):
        probes = {key: each.container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe")}
        if not each.serves:
            assert set(probes.values()) == {None}, each.where
            assert each.pod["restartPolicy"] == "Never", each.where
            continue
        paths = {key: probe["httpGet"]["path"] for key, probe in probes.items()}
        assert paths == {"livenessProbe": "/livez", "readinessProbe": "/readyz", "startupProbe": "/livez"}, each.where
        assert {probe["httpGet"]["port"] for probe in probes.values()} == {"metrics"}, each.where
        ports = {port["name"]: port["containerPort"] for port in each.container["ports"]}
        variables = environment(each)
        assert str(ports["metrics"]) == variables["CAIRN_METRICS_PORT"], each.where
        assert variables["CAIRN_METRICS_HOST"] == "0.0.0.0", each.where
        if "CAIRN_LISTEN" in variables:
            assert variables["CAIRN_LISTEN"] == f"0.0.0.0:{ports['grpc']}", each.where
        assert variables.get("CAIRN_INGEST_HTTP_LISTEN") == (f"0.0.0.0:{ports['http']}" if "http" in ports else None)
        with_http = {"events over HTTP", "gateway"}
        assert ("http" in ports) == (name in with_http and each.role == "ingest"), each.where
        startup = probes["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 300, each.where
        # /livez waits 4 s for the loop, and a restart is the last resort.
        liveness = probes["livenessProbe"]
        assert liveness["timeoutSeconds"] > 4, each.where
        assert liveness["periodSeconds"] * liveness["failureThreshold"] >= 60, each.where


def test_a_container_that_fails_says_why_in_its_pods_state():
    for each in containers(case("what is needed")):
        assert each.container["terminationMessagePolicy"] == "FallbackToLogsOnError", each.where


@CASES
def test_a_pod_has_longer_to_stop_than_its_calls_and_its_service_need(name):
    for each in containers(case(name)):
        stop = each.container.get("lifecycle", {}).get("preStop", {"sleep": {"seconds": 0}})["sleep"]["seconds"]
        drain = float(environment(each).get("CAIRN_DRAIN_S", 0))
        assert each.pod["terminationGracePeriodSeconds"] >= stop + drain + 10, each.where
        reached = any(port["name"] == "grpc" for port in each.container.get("ports", ()))
        assert (stop > 0) == (reached and name != "without pauses"), each.where


@CASES
def test_secrets_are_files_that_only_the_group_can_read(name):
    for where, template in pod_templates(case(name)):
        for volume in template["spec"]["volumes"]:
            if "projected" in volume:
                assert volume["projected"]["defaultMode"] == 0o440, where
                paths = [
                    item["path"]
                    for source in volume["projected"]["sources"]
                    for item in source.get("secret", {}).get("items", ())
                ]
                assert len(paths) == len(set(paths)), where


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files as the Secrets hold them, in a folder in place of /etc/cairn."""
    folder = tmp_path_factory.mktemp("etc")
    authority = Authority(folder / "authority")
    signed = authority.sign("cairn")
    for name, source in {
        "kafka-ca.crt": authority.certificate,
        "client-ca.crt": authority.certificate,
        "redis-ca.crt": authority.certificate,
        "kafka.crt": signed.certificate,
        "tls.crt": signed.certificate,
        "kafka.key": signed.key,
        "tls.key": signed.key,
    }.items():
        (folder / name).write_bytes(source.read_bytes())
    for name in ("kafka-password", "kafka-client-secret", "redis-password", "tenants.yaml", "openedx-api-key"):
        (folder / name).write_text("secret")
    return folder


@CASES
def test_every_container_starts_with_settings_that_its_process_has_and_accepts(name, files, monkeypatch):
    for each in containers(case(name)):
        given = {key: value for key, value in environment(each).items() if key.startswith("CAIRN_")}
        if each.role == "test":
            assert given == {}
            continue
        settings = SETTINGS[each.container["name"]]
        assert given.keys() <= {f"CAIRN_{field.upper()}" for field in settings.model_fields}, each.where
        mounted = files_of(each.pod)
        with monkeypatch.context() as patched:
            for key, value in given.items():
                if value.startswith("/etc/cairn/"):
                    assert value.removeprefix("/etc/cairn/") in mounted, f"{each.where}: {key}"
                patched.setenv(key, value.replace("/etc/cairn", str(files)))
            settings()


def test_a_variable_of_the_chart_can_be_replaced_and_is_then_there_once():
    # As when pods share what they compile. A list with a name twice cannot be applied by a server-side apply.
    given = {"common": {"extraEnv": [{"name": "NUMBA_CACHE_DIR", "value": "/compiled"}]}}
    for each in containers(objects(given)):
        values = [one["value"] for one in each.container["env"] if one["name"] == "NUMBA_CACHE_DIR"]
        assert values == ["/compiled"], each.where


def test_numbers_reach_a_process_as_they_were_given():
    (server,) = [each for each in containers(case("settings")) if each.role == "server"]
    assert environment(server)["CAIRN_MAX_MESSAGE_BYTES"] == "8388608"
    (worker,) = [each for each in containers(case("settings")) if each.role == "worker"]
    assert environment(worker)["CAIRN_STUCK_AFTER_S"] == "2.5"
    assert environment(worker)["CAIRN_ALLOW_EVICTION"] == "true"


@CASES
def test_the_commands_of_jobs_exist_with_their_options(name):
    apps = {"topics": topics_app, "train": train_app, "replay": epochs_app, "epoch": epochs_app}
    for each in containers(case(name)):
        if each.container["command"] == ["cairn"]:
            arguments = each.container["args"]
            command = typer.main.get_command(apps[arguments[0]])
            path = arguments[1:] if arguments[0] == "topics" else arguments
            while hasattr(command, "commands"):
                command, path = command.commands[path[0]], path[1:]
            # Raises when an option is unknown or has a wrong value.
            command.make_context(command.name, list(path))


@CASES
def test_a_process_has_only_the_secrets_that_it_needs(name):
    for where, template in pod_templates(case(name)):
        paths = files_of(template["spec"])
        role = template["metadata"]["labels"]["app.kubernetes.io/component"]
        if role not in {"ingest", "catalog", "server", "worker", "train", "replay"}:
            assert "tenants.yaml" not in paths, where
        if role not in {"ingest", "catalog", "server"}:
            assert "tls.key" not in paths, where
        if role == "test":
            assert paths == [], where
