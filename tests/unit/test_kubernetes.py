"""The parts of the one-node Kubernetes, and of what checks the chart on it, that need no cluster."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import struct
import tarfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from deploy.kafka.certificates import Authority
from deploy.kubernetes import control_plane, pause_image, programs
from deploy.kubernetes.api import ApiError
from deploy.kubernetes.names import reply_to, service_addresses
from tests.kubernetes import results
from tests.kubernetes.lag_metrics import LagMetrics, lag_records
from tests.kubernetes.release import Pod
from tests.kubernetes.results import Check, Results, must
from tests.kubernetes.site import merged


def names(certificate, oid):
    return [each.value for each in certificate.subject.get_attributes_for_oid(oid)]


def test_a_certificate_names_the_user_the_group_and_every_address_and_host(tmp_path):
    signed = Authority(tmp_path / "authority").sign(
        "kubelet", user="system:node:a", group="g", addresses=["10.1.2.3"], names=["kubelet.example.org"]
    )
    certificate = x509.load_pem_x509_certificate(signed.certificate.read_bytes())
    assert names(certificate, NameOID.COMMON_NAME) == ["system:node:a"]
    assert names(certificate, NameOID.ORGANIZATION_NAME) == ["g"]
    hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(each) for each in hosts.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "10.1.2.3"]
    assert hosts.get_values_for_type(x509.DNSName) == ["localhost", "kubelet.example.org"]


def test_each_client_of_the_api_server_is_configured_with_a_certificate_of_its_own(tmp_path):
    who = control_plane.identities(tmp_path / "identities", "10.1.2.3", "node-1")
    users = {}
    for name, file in who.clients.items():
        user = json.loads(file.read_text())["users"][0]["user"]
        certificate = x509.load_pem_x509_certificate(Path(user["client-certificate"]).read_bytes())
        users[name] = (*names(certificate, NameOID.COMMON_NAME), *names(certificate, NameOID.ORGANIZATION_NAME))
    assert users == {
        "administrator": ("administrator", "system:masters"),
        "controllers": ("system:kube-controller-manager",),
        "scheduler": ("system:kube-scheduler",),
        "kubelet": ("system:node:node-1", "system:nodes"),
        "proxy": ("system:kube-proxy",),
    }


def test_the_first_address_of_services_is_one_of_the_api_servers(tmp_path):
    who = control_plane.identities(tmp_path / "identities", "10.1.2.3", "node-1")
    certificate = x509.load_pem_x509_certificate(who.server.certificate.read_bytes())
    hosts = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    first = next(ipaddress.ip_network(control_plane.SERVICE_ADDRESSES).hosts())
    assert first in hosts.get_values_for_type(x509.IPAddress)


def test_the_pause_image_holds_one_program_and_the_digest_of_its_layer(tmp_path):
    program = tmp_path / "pause"
    program.write_bytes(b"program")
    pause_image.write(program, tmp_path / "image.tar", "localhost/pause:1", "x86_64")
    with tarfile.open(tmp_path / "image.tar") as image:
        read = {name: image.extractfile(name).read() for name in image.getnames()}
        image.extract("layer.tar", tmp_path, filter="data")
    (described,) = json.loads(read["manifest.json"])
    config = json.loads(read[described["Config"]])
    assert described["RepoTags"] == ["localhost/pause:1"]
    assert config["architecture"] == "amd64"
    assert config["config"] == {"Entrypoint": ["/pause"]}
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(read['layer.tar']).hexdigest()}"]
    with tarfile.open(tmp_path / "layer.tar") as layer:
        (member,) = layer.getmembers()
        assert (member.name, member.mode & 0o111) == ("pause", 0o111)


def test_what_is_missing_is_named_by_debian_package(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "PLUGINS", programs.CACHE / "absent")
    assert programs.missing_tools() == [
        "root with the right to make namespaces",
        *("Go 1.24", "containerd", "runc", "iptables", "iproute2", "ipset", "util-linux"),
        "containernetworking-plugins",
    ]


def test_the_programs_report_the_pinned_version():
    major, minor, _ = programs.version().removeprefix("v").split(".")
    assert programs.version().startswith("v1.")
    assert f"gitVersion={programs.version()}" in programs._linking()
    assert f"gitMajor={major}" in programs._linking()
    assert f"gitMinor={minor}" in programs._linking()


def query(name, kind=1):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 77, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def test_a_services_name_is_answered_with_its_addresses():
    asked = query("Cairn-Ingest.cairn.svc.cluster.local")
    reply = reply_to(asked, {"cairn-ingest.cairn.svc.cluster.local": ["10.96.0.7", "10.96.0.8"]}.get)
    # RFC 1035: the header with the number of answers, the question, and for each answer its name as a pointer, type A,
    # class IN, time to live, length and address.
    assert reply[:12] == struct.pack("!6H", 77, 0x8580, 1, 2, 0, 0)
    assert reply[12 : len(asked)] == asked[12:]
    answers = reply[len(asked) :]
    assert answers[:16] == bytes.fromhex("c00c 0001 0001 00000001 0004") + bytes([10, 96, 0, 7])
    assert answers[16:] == bytes.fromhex("c00c 0001 0001 00000001 0004") + bytes([10, 96, 0, 8])


def test_a_name_that_exists_has_no_address_of_another_kind():
    reply = reply_to(query("a.b.svc.cluster.local", kind=28), {"a.b.svc.cluster.local": ["10.96.0.7"]}.get)
    assert reply[:12] == struct.pack("!6H", 77, 0x8580, 1, 0, 0, 0)


def test_an_unknown_name_is_said_not_to_exist():
    assert reply_to(query("a.b.svc.cluster.local"), {}.get)[:12] == struct.pack("!6H", 77, 0x8583, 1, 0, 0, 0)


class KnownServices:
    """An API with one Service that has an address, and one that has none but two pods, of which one is ready."""

    def get(self, path):
        addresses = {"ingest": "10.96.0.7", "headless": "None"}
        name = path.rpartition("/")[2]
        if path != f"/api/v1/namespaces/cairn/services/{name}" or name not in addresses:
            raise ApiError(404, path)
        return {"spec": {"clusterIP": addresses[name]}}

    def items(self, path):
        assert path.endswith("service-name%3Dheadless")
        endpoints = [("10.245.0.2", True), ("10.245.0.3", False)]
        return [{"endpoints": [{"addresses": [at], "conditions": {"ready": ready}} for at, ready in endpoints]}]


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("ingest.cairn.svc.cluster.local", ["10.96.0.7"]),
        ("headless.cairn.svc.cluster.local", ["10.245.0.2"]),
        ("other.cairn.svc.cluster.local", None),
        ("ingest.cairn.svc.cluster.local.cairn.svc.cluster.local", None),
        ("example.org", None),
    ],
)
def test_names_are_those_of_services(name, addresses):
    assert service_addresses(KnownServices(), name) == addresses


@pytest.fixture
def exporter():
    """A lag exporter's address, and a list with what it answers."""
    text = [""]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text[0].encode())

        def log_message(self, *_):
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/metrics", text
    server.shutdown()
    server.server_close()


def test_the_lag_is_that_of_the_epoch_that_lags_most(exporter):
    url, text = exporter
    text[0] = (
        "# TYPE cairn_lag_records gauge\n"
        'cairn_lag_records{epoch="1",partition="0"} 10\n'
        'cairn_lag_records{epoch="1",partition="1"} 20\n'
        'cairn_lag_records{epoch="2",partition="0"} 25\n'
        "# TYPE cairn_lag_seconds gauge\n"
        'cairn_lag_seconds{epoch="1",partition="0"} 99\n'
    )
    assert lag_records(url) == 30


def test_without_figures_there_is_no_lag(exporter):
    with pytest.raises(ValueError, match="no figures"):
        lag_records(exporter[0])


def test_the_autoscaler_is_answered_with_the_metric_it_names():
    path = "/apis/external.metrics.k8s.io/v1beta1"
    metrics = LagMetrics(lambda: 1234.0)
    answer = metrics.answer(f"{path}/namespaces/cairn/cairn_lag_records_max")
    assert [(each["metricName"], each["value"]) for each in answer["items"]] == [("cairn_lag_records_max", "1234")]
    assert metrics.answer(path)["kind"] == "APIResourceList"
    with pytest.raises(KeyError):
        metrics.answer("/apis/apps/v1")


def test_values_are_merged_as_helm_does():
    base = {"worker": {"replicas": 1, "settings": {"A": 1}}, "list": [1, 2]}
    assert merged(base, {"worker": {"settings": {"B": 2}}, "list": [3], "new": {"x": 1}}) == {
        "worker": {"replicas": 1, "settings": {"A": 1, "B": 2}},
        "list": [3],
        "new": {"x": 1},
    }
    assert base == {"worker": {"replicas": 1, "settings": {"A": 1}}, "list": [1, 2]}


def test_a_pod_is_ready_by_its_condition_and_counts_the_restarts_of_its_containers():
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}],
        "containerStatuses": [{"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
    }
    pod = Pod({"metadata": {"name": "a", "labels": {"app.kubernetes.io/component": "worker"}}, "status": status})
    assert (pod.ready, pod.restarts, pod.process, pod.deleted) == (False, 2, "worker", False)
    assert str(pod) == "a Running not ready CrashLoopBackOff"


class Silent:
    def tell_state(self):
        return


def test_a_failed_check_is_told_with_its_sentence_and_the_next_one_is_run(capsys):
    def fails(_):
        must([], "two pods were restarted")

    found = Results()
    found.run(Check("first", "nothing is restarted", fails), Silent())
    found.run(Check("second", "all is well", lambda _: "3 pods"), Silent())
    failed, passed = capsys.readouterr().out.splitlines()
    assert "nothing is restarted (first): two pods were restarted" in failed
    assert passed.endswith("all is well (3 pods)")
    assert found.last_line() == "test-k8s: 2 checked, 1 failed"


def test_an_unexpected_error_in_a_check_is_a_failure(capsys):
    def breaks(_):
        raise KeyError("podIP")

    found = Results()
    found.run(Check("first", "it works", breaks), Silent())
    assert "KeyError: 'podIP'" in capsys.readouterr().out
    assert results.Results.last_line(found) == "test-k8s: 1 checked, 1 failed"
