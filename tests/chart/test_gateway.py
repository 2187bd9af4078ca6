"""The gateway of the chart: Envoy takes its configuration, with the services of the release; its pod is confined."""

from __future__ import annotations

import subprocess
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
import yaml
from helm_python import HelmError

from deploy.kafka.certificates import Authority
from deploy.local.gateway import binary, is_available
from deploy.processes import Child, Command, free_port
from tests.chart.rendering import MATRIX, case, merged, objects, of_kind, render

CASES = pytest.mark.parametrize("name", ["gateway", "gateway to TLS"])


def configuration(rendered):
    (config,) = (one for one in of_kind("ConfigMap", rendered) if one["metadata"]["name"].endswith("-gateway"))
    return config["data"]["envoy.yaml"]


def deployment(rendered):
    (found,) = (one for one in of_kind("Deployment", rendered) if one["metadata"]["name"].endswith("-gateway"))
    return found["spec"]["template"]["spec"]


@CASES
@pytest.mark.skipif(not is_available(), reason="there is no Envoy for this machine")
def test_envoy_accepts_its_configuration(name, tmp_path):
    authority = Authority(tmp_path / "authority").certificate
    config = tmp_path / "envoy.yaml"
    config.write_text(configuration(case(name)).replace("/etc/cairn/ca.crt", str(authority)))
    checked = subprocess.run(
        [binary(), "--mode", "validate", "--config-path", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr[-2_000:]


def test_it_calls_the_services_of_the_release_at_their_ports():
    values = merged(MATRIX["gateway"], {"catalog": {"service": {"port": 443}}})
    clusters = yaml.safe_load(configuration(objects(values, name="north")))["static_resources"]["clusters"]
    addresses = [
        cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        for cluster in clusters
    ]
    assert [(one["address"], one["port_value"]) for one in addresses] == [
        ("north-cairn-ingest.learning.svc", 50051),
        ("north-cairn-catalog.learning.svc", 443),
        ("north-cairn-server.learning.svc", 50051),
        ("127.0.0.1", 9901),
    ]
    services = {one["metadata"]["name"] for one in of_kind("Service", objects(values, name="north"))}
    assert {"north-cairn-ingest", "north-cairn-catalog", "north-cairn-server", "north-cairn-gateway"} <= services


@CASES
def test_it_speaks_tls_to_services_that_do(name):
    clusters = yaml.safe_load(configuration(case(name)))["static_resources"]["clusters"]
    sockets = [cluster.get("transport_socket") for cluster in clusters if cluster["name"] != "admin"]
    if name == "gateway":
        assert sockets == [None] * 3
        return
    for socket in sockets:
        assert socket["typed_config"]["auto_sni_san_validation"] is True
        trusted = socket["typed_config"]["common_tls_context"]["validation_context"]["trusted_ca"]["filename"]
        assert trusted == "/etc/cairn/ca.crt"


@CASES
def test_its_pod_is_confined_and_probed(name):
    pod = deployment(case(name))
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert [mount["readOnly"] for mount in container["volumeMounts"]] == [True]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "metrics"}
    admin = yaml.safe_load(configuration(case(name)))["admin"]["address"]["socket_address"]["address"]
    assert admin == "127.0.0.1"


@pytest.mark.skipif(not is_available(), reason="there is no Envoy for this machine")
def test_a_pod_that_is_about_to_stop_asks_its_clients_to_connect_again(tmp_path):
    rendered = objects(merged(MATRIX["gateway"], {"shutdown": {"preStopS": 1}}))
    (container,) = deployment(rendered)["containers"]
    ports = {number: str(free_port()) for number in ("8080", "9464", "9901")}
    config, hook = configuration(rendered), container["lifecycle"]["preStop"]["exec"]["command"]
    for number, free in ports.items():
        config = config.replace(f"port_value: {number}\n", f"port_value: {free}\n")
        hook = [word.replace(f"/{number}", f"/{free}") for word in hook]
    (tmp_path / "envoy.yaml").write_text(config)
    arguments = [binary(), "--config-path", str(tmp_path / "envoy.yaml"), "--disable-hot-restart", "--concurrency", "1"]
    envoy = Child(Command("gateway", arguments, tmp_path / "gateway.log"))
    try:
        envoy.wait_ready(lambda: asked(f"127.0.0.1:{ports['9464']}", "/readyz").status == 200, 20.0)
        kept = HTTPConnection("127.0.0.1", int(ports["8080"]), timeout=20)
        answers = [asked(kept, "/openapi.yaml")]
        assert subprocess.run(hook, timeout=20, check=False).returncode == 0
        answers.append(asked(kept, "/openapi.yaml"))
        kept.close()
        assert [(answer.status, answer.getheader("connection")) for answer in answers] == [(200, None), (200, "close")]
        assert asked(f"127.0.0.1:{ports['9464']}", "/readyz").status == 503
    finally:
        envoy.stop()


def asked(server, path):
    """The answer, of a connection or of an address; a status of 0 says that nobody answers."""
    connection = HTTPConnection(server, timeout=20) if isinstance(server, str) else server
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
    except OSError:
        return SimpleNamespace(status=0)
    return answer


def test_it_runs_where_all_pods_run_and_is_spread_over_nodes():
    values = merged(MATRIX["gateway"], MATRIX["placement"])
    pod = deployment(objects(values))
    common = MATRIX["placement"]["common"]
    assert {name: pod[name] for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName")} == {
        name: common[name] for name in ("nodeSelector", "tolerations", "affinity", "priorityClassName")
    }
    spread = pod["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert {each["labelSelector"]["matchLabels"]["app.kubernetes.io/component"] for each in spread} == {"gateway"}
    own = deployment(objects(merged(values, {"gateway": {"priorityClassName": "low"}})))
    assert own["priorityClassName"] == "low"


@CASES
def test_only_those_who_may_send_http_reach_it_and_it_reaches_grpc(name):
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", case(name))}
    (who,) = policies["cairn-http"]["podSelector"]["matchExpressions"]
    assert who["values"] == (["ingest", "gateway"] if name == "gateway" else ["gateway"])
    (outgoing,) = policies["cairn-test"]["podSelector"]["matchExpressions"]
    assert "gateway" in outgoing["values"]
    callers = [peer["podSelector"].get("matchLabels", {}) for peer in policies["cairn-grpc"]["ingress"][0]["from"]]
    assert "gateway" in {labels.get("app.kubernetes.io/component") for labels in callers}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"tls": {"secretName": "a", "insecure": False}}, "gateway.ca.secretName is empty"),
        (
            {
                "tls": {"secretName": "a", "insecure": False, "clientCa": {"secretName": "b"}},
                "gateway": {"ca": {"secretName": "a"}},
            },
            "contradict each other",
        ),
    ],
    ids=["no authority", "mutual TLS"],
)
def test_values_that_do_not_belong_together_are_refused(values, said):
    with pytest.raises(HelmError, match=said):
        render(merged({"gateway": {"enabled": True}}, values))
