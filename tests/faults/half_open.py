"""Connections that swallow everything, as after a NAT flush or when a machine is gone: nobody closes them."""

from __future__ import annotations

from deploy.processes import LOOPBACK, free_port
from tests.faults.proxy import TcpProxy
from tests.faults.scenarios import scenario
from tests.faults.scene import Scene

# A request waits up to 9 s; then a worker joins its group again, which takes its session timeout.
RECOVERY_S = 25.0


@scenario("half-open", "every open connection to Kafka, then to Redis, swallows all bytes; new ones work")
def half_open(scene: Scene) -> None:
    cluster = scene.bench.cluster
    brokers = [scene.running.enter_context(TcpProxy(node.proxy_port, node.behind_proxy_port)) for node in cluster.nodes]
    scene.kafka = cluster.proxied_connection
    port = free_port()
    store = scene.running.enter_context(TcpProxy(port, scene.redis.port))
    scene.redis_settings = {"CAIRN_REDIS": f"redis://{LOOPBACK}:{port}/0"}
    scene.start(server=True)
    scene.begin(8_000, per_s=250)
    scene.wait_applied(1_500)
    recovered = {}
    for name, proxies in (("kafka", brokers), ("redis", [store]), ("both", [*brokers, store])):
        for proxy in proxies:
            proxy.swallow()
        scene.fault_is_over()
        scene.recover(RECOVERY_S)
        recovered[name] = scene.row.recovery_s
    reader = scene.reader()
    scene.wait(lambda: reader.answers["OK"] > 0, RECOVERY_S, "an answer of the server")
    scene.row.notes["recovery_s"] = recovered
    scene.finish()
