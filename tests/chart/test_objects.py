"""What the chart renders is what Kubernetes and the operators accept, and fits together."""

from __future__ import annotations

import copy
import re

import pytest
from helm_python.chart import lint

from tests.chart.rendering import CHART, MATRIX, NEEDED, case, containers, merged, objects, of_kind, pod_templates
from tests.chart.schemas import problems

NAMED_PORTS = {"networkPolicy": {"kafka": {"ports": [9096]}}}
CASES = pytest.mark.parametrize("name", MATRIX)
# A Service's name is a label of DNS; a CronJob appends 11 characters for its Jobs.
NAME_CHARACTERS_MAX = {"CronJob": 52}


@CASES
def test_helm_finds_no_fault(name):
    report = lint(CHART, merged(NEEDED, MATRIX[name]), strict=True)
    # Only advice to have an icon.
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert report["errors"] == []


@CASES
def test_every_object_fits_its_schema(name):
    found = {f"{one['kind']} {one['metadata']['name']}": problems(one) for one in case(name)}
    assert {where: what for where, what in found.items() if what} == {}


@pytest.mark.parametrize(
    ("kind", "name", "path"),
    [
        ("Deployment", "needed", ("spec", "template", "spec", "containers", 0)),
        ("ScaledObject", "KEDA", ("spec", "triggers", 0)),
        ("PodMonitor", "monitoring", ("spec", "podMetricsEndpoints", 0)),
        ("PrometheusRule", "monitoring", ("spec", "groups", 0)),
    ],
)
def test_the_schemas_notice_a_misspelt_field(kind, name, path):
    broken = copy.deepcopy(of_kind(kind, case("what is needed" if name == "needed" else name))[0])
    place = broken
    for step in path:
        place = place[step]
    place["misspelt"] = 1
    assert ["misspelt" in problem for problem in problems(broken)] == [True]


@CASES
def test_no_name_is_used_twice_or_too_long(name):
    for rendered in (case(name), objects(MATRIX[name], name="r" * 53)):
        names = [(one["kind"], one["metadata"]["name"]) for one in rendered]
        assert len(names) == len(set(names))
        assert [named for named in names if len(named[1]) > NAME_CHARACTERS_MAX.get(named[0], 63)] == []


@CASES
def test_what_is_selected_by_labels_or_named_exists(name):
    rendered = case(name)
    labels = [template["metadata"]["labels"] for _, template in pod_templates(rendered)]
    for one in rendered:
        selector = one.get("spec", {}).get("selector", {})
        wanted = selector if one["kind"] == "Service" else selector.get("matchLabels", {})
        assert any(wanted.items() <= have.items() for have in labels), one["metadata"]["name"]
    deployments = {one["metadata"]["name"] for one in of_kind("Deployment", rendered)}
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for one in of_kind(kind, rendered):
            assert one["spec"]["scaleTargetRef"]["name"] in deployments
    accounts = {one["metadata"]["name"] for one in of_kind("ServiceAccount", rendered)} | {
        "default",
        "with-an-identity",
    }
    assert {template["spec"]["serviceAccountName"] for _, template in pod_templates(rendered)} <= accounts


@CASES
def test_a_workload_that_is_autoscaled_has_no_number_of_replicas(name):
    rendered = case(name)
    scaled = {
        one["spec"]["scaleTargetRef"]["name"]
        for kind in ("HorizontalPodAutoscaler", "ScaledObject")
        for one in of_kind(kind, rendered)
    }
    for one in of_kind("Deployment", rendered):
        assert ("replicas" in one["spec"]) == (one["metadata"]["name"] not in scaled)


def test_workers_are_scaled_by_the_lag_and_to_at_most_the_number_of_partitions():
    (keda,) = of_kind("ScaledObject", case("KEDA"))
    assert keda["spec"]["maxReplicaCount"] == 4
    (trigger,) = keda["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    assert query == 'max(sum by (epoch) (cairn_lag_records{namespace="learning", pod=~"cairn-lag-.*"}))'
    # Without figures KEDA would take the lag for 0, and stop workers when Kafka cannot be reached.
    assert trigger["metadata"]["ignoreNullValues"] == "false"
    hpa = next(
        one for one in of_kind("HorizontalPodAutoscaler", case("HPA")) if one["metadata"]["name"] == "cairn-worker"
    )
    assert hpa["spec"]["maxReplicas"] == 4
    for behaviour in (hpa["spec"]["behavior"], keda["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]):
        assert behaviour["scaleDown"]["stabilizationWindowSeconds"] == 600
    more = objects({"topics": {"partitions": 12}, "worker": {"autoscaling": {"kind": "keda"}}})
    assert of_kind("ScaledObject", more)[0]["spec"]["maxReplicaCount"] == 12


def test_one_exporter_runs_at_a_time_as_two_would_double_the_lag():
    (lag,) = [one for one in of_kind("Deployment", case("what is needed")) if one["metadata"]["name"] == "cairn-lag"]
    assert (lag["spec"]["replicas"], lag["spec"]["strategy"]) == (1, {"type": "Recreate"})


@CASES
def test_a_pod_is_replaced_by_one_that_works_and_one_at_a_time(name):
    for one in of_kind("Deployment", case(name)):
        if not one["metadata"]["name"].endswith("-lag"):
            assert one["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
            assert one["spec"]["minReadySeconds"] >= 5
    disrupted = {one["metadata"]["name"]: one["spec"] for one in of_kind("PodDisruptionBudget", case(name))}
    optional = ["cairn-openedx"] if name.startswith("Open edX") else []
    optional += ["cairn-gateway"] if name.startswith("gateway") else []
    assert sorted(disrupted) == sorted(["cairn-catalog", "cairn-ingest", "cairn-server", "cairn-worker", *optional])
    # A budget that allows none would keep a node with a single replica from being drained.
    assert {(one["maxUnavailable"], one["unhealthyPodEvictionPolicy"]) for one in disrupted.values()} == {
        (1, "AlwaysAllow")
    }


def test_topics_are_created_before_anything_else_and_need_nothing_that_the_chart_makes():
    (topics,) = [one for one in of_kind("Job", case("what is needed")) if one["metadata"]["name"] == "cairn-topics"]
    assert topics["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    pod = topics["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "default"
    assert not [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]


def test_a_fit_is_followed_by_a_replay_with_it_the_switch_and_the_removal_of_old_epochs():
    steps = [
        " ".join(each.container["command"] + each.container["args"])
        for each in containers(case("what is needed"))
        if each.role in {"train", "replay"}
    ]
    assert steps == [
        "cairn train",
        "cairn replay --epoch next --parameters newest",
        "cairn epoch switch newest --wait 3600",
        "cairn epoch prune --keep 1",
        "cairn replay --epoch next --parameters same",
        "cairn epoch switch newest --wait 3600",
        "cairn epoch prune --keep 1",
    ]
    alone = [each.container["args"] for each in containers(case("on demand")) if each.role == "train"]
    assert alone == [["train", "--tenant", "riverbend"]]
    suspended = {one["metadata"]["name"]: one["spec"]["suspend"] for one in of_kind("CronJob", case("what is needed"))}
    assert suspended == {"cairn-train": False, "cairn-replay": True}


@CASES
def test_traffic_is_denied_but_for_the_flows_that_a_process_needs(name):
    policies = {
        one["metadata"]["name"].removeprefix("cairn-"): one["spec"] for one in of_kind("NetworkPolicy", case(name))
    }
    if name == "without policies":
        assert policies == {}
        return
    assert policies["deny"]["policyTypes"] == ["Ingress", "Egress"]
    assert not policies["deny"].keys() & {"ingress", "egress"}
    roles = {
        flow: set(spec["podSelector"].get("matchExpressions", [{"values": []}])[0]["values"])
        for flow, spec in policies.items()
    }
    for each in containers(case(name)):
        variables = {variable["name"] for variable in each.container["env"]}
        assert ("CAIRN_KAFKA" in variables) == (each.role in roles["kafka"] | {"openedx"}), each.where
        # The pod of train also replays.
        assert "CAIRN_REDIS" not in variables or each.role in roles["redis"], each.where
        assert ("CAIRN_LISTEN" in variables) == (each.role in roles["grpc"]), each.where
    assert ("traces" in policies) == (name == "traces")
    assert all(not roles[flow] for flow in ("deny", "dns", "metrics"))


def test_the_reader_of_open_edx_runs_only_if_enabled_and_reaches_its_own_kafka_and_ingest():
    assert [each for each in containers(case("what is needed")) if each.role == "openedx"] == []
    (reader,) = [each for each in containers(case("Open edX")) if each.role == "openedx"]
    variables = {variable["name"]: variable.get("value") for variable in reader.container["env"]}
    assert variables["CAIRN_KAFKA"] == "kafka.campus.example:9094"
    assert variables["CAIRN_TARGET_INGEST"] == "cairn-ingest.learning.svc:50051"
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", case("Open edX"))}
    kafka, ingest = policies["cairn-openedx"]["egress"]
    assert [port["port"] for port in kafka["ports"]] == [9094]
    assert ingest["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "ingest"
    callers = policies["cairn-grpc"]["ingress"][0]["from"]
    assert "openedx" in [
        each["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/component") for each in callers
    ]


def test_the_reader_of_open_edx_knows_ingest_by_its_authority():
    readers = [each for name in ("Open edX", "Open edX with TLS") for each in containers(case(name))]
    given = [
        {variable["name"]: variable.get("value") for variable in each.container["env"]}
        for each in readers
        if each.role == "openedx"
    ]
    roots = [variables.get("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH") for variables in given]
    assert roots == [None, "/etc/cairn/ca.crt"]
    assert [variables.get("CAIRN_OPENEDX_INSECURE") for variables in given] == ["true", None]


def test_kafka_and_the_collector_are_reached_on_the_ports_of_their_addresses_or_others_that_are_named():
    values = {"kafka": {"bootstrap": "a:9094,b:9095,c:9094"}, "traces": {"endpoint": "collector:4317"}}
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects(values))}
    assert [port["port"] for port in policies["cairn-kafka"]["egress"][0]["ports"]] == [9094, 9095]
    assert [port["port"] for port in policies["cairn-traces"]["egress"][0]["ports"]] == [4317]
    named = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects(values | NAMED_PORTS))}
    assert [port["port"] for port in named["cairn-kafka"]["egress"][0]["ports"]] == [9096]


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("", [6379]),
        ("redis://redis", [6379]),
        ("rediss://cairn@redis:6380/0", [6380]),
        ("redis://[::1]?ssl_cert_reqs=none", [6379]),
        ("redis+sentinel://a,b:26380,[::1]:26381/cairn/0", [26379, 26380, 26381, 6379]),
        ("rediss+sentinel://cairn@a:26379/cairn", [26379, 6379]),
    ],
)
def test_redis_is_reached_on_the_ports_of_its_url(url, ports):
    policies = {
        one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects({"redis": {"url": url}}))
    }
    assert [port["port"] for port in policies["cairn-redis"]["egress"][0]["ports"]] == ports


def test_redis_is_reached_on_other_ports_that_are_named():
    values = {"redis": {"url": "redis://redis:6380/0"}, "networkPolicy": {"redis": {"ports": [26379, 6379]}}}
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects(values))}
    assert [port["port"] for port in policies["cairn-redis"]["egress"][0]["ports"]] == [26379, 6379]


def test_events_over_http_have_a_port_of_the_service_and_a_policy_of_their_own():
    rendered = case("events over HTTP")
    (service,) = [one for one in of_kind("Service", rendered) if one["metadata"]["name"] == "cairn-ingest"]
    assert [(port["name"], port["port"], port["targetPort"]) for port in service["spec"]["ports"]] == [
        ("grpc", 50051, "grpc"),
        ("http", 80, "http"),
    ]
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", rendered)}
    (rule,) = policies["cairn-http"]["ingress"]
    assert rule == {"ports": [{"port": "http", "protocol": "TCP"}], "from": [{"podSelector": {}}]}
    assert policies["cairn-http"]["podSelector"]["matchExpressions"][0]["values"] == ["ingest"]
    assert "cairn-http" not in {one["metadata"]["name"] for one in case("what is needed")}


def test_nobody_may_call_or_scrape_where_no_peers_are_named():
    values = {"networkPolicy": {"grpc": {"from": []}, "metrics": {"from": []}}}
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy", objects(values))}
    assert "cairn-metrics" not in policies
    (rule,) = policies["cairn-grpc"]["ingress"]
    # Only the pod of `helm test`.
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "test"


def test_jobs_keep_the_pods_that_failed_and_end_before_helm_stops_waiting():
    jobs = of_kind("Job", case("what is needed"))
    assert len(jobs) == 2
    for one in jobs:
        assert one["spec"]["template"]["spec"]["restartPolicy"] == "Never"
        # Helm's own, without --timeout.
        assert one["spec"]["activeDeadlineSeconds"] < 300
    for one in of_kind("CronJob", case("what is needed")):
        job = one["spec"]["jobTemplate"]["spec"]
        assert (job["template"]["spec"]["restartPolicy"], job["backoffLimit"]) == ("Never", 1)


def test_an_uninstall_leaves_no_hook_that_has_ended_well():
    hooks = [one["metadata"]["annotations"] for one in case("what is needed") if "annotations" in one["metadata"]]
    policies = [each["helm.sh/hook-delete-policy"] for each in hooks if "helm.sh/hook" in each]
    assert policies
    assert all("hook-succeeded" in policy.split(",") for policy in policies)


def test_long_names_that_begin_alike_stay_apart():
    names = [{one["metadata"]["name"] for one in objects({}, name="r" * 45 + end)} for end in ("a", "b")]
    assert len(names[0]) == len(names[1])
    assert not names[0] & names[1]


def test_no_secret_is_written_into_an_object():
    for name in MATRIX:
        assert not of_kind("Secret", case(name))
        for each in containers(case(name)):
            for variable in each.container["env"]:
                if re.search("PASSWORD|SECRET|KEY", variable["name"]):
                    assert variable["value"].startswith("/etc/cairn/"), f"{each.where}: {variable['name']}"
