"""The lag as an external metric, as KEDA or prometheus-adapter answers it: from the lag exporter's figures."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client.parser import text_string_to_metric_families

from deploy.kafka.certificates import Signed
from deploy.kubernetes.cluster import Cluster

PORT = 6444

_GROUP = "external.metrics.k8s.io"
_VERSION = f"{_GROUP}/v1beta1"
_PATH = f"/apis/{_VERSION}"
_TIMEOUT_S = 5.0


def lag_records(url: str) -> float:
    """The lag of the epoch that lags most, as docs/operations.md tells to compute it, from an exporter's /metrics.

    Raises:
        OSError: when the exporter does not answer.
        ValueError: when it has no figures, as while it cannot read Kafka or Redis.
    """
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    by_epoch: dict[str, float] = defaultdict(float)
    for family in families:
        for sample in family.samples:
            if sample.name == "cairn_lag_records":
                by_epoch[sample.labels["epoch"]] += sample.value
    if not by_epoch:
        raise ValueError(f"{url} has no figures")
    return max(by_epoch.values())


class LagMetrics:
    """A server of one external metric, whatever its name and selector."""

    def __init__(self, read: Callable[[], float]) -> None:
        """Args: `read`, the metric's value now."""
        self._read = read
        self._server: ThreadingHTTPServer | None = None

    def start(self, certificate: Signed) -> None:
        """Serve on every address with a certificate, until `close`."""
        metrics = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0].rstrip("/")
                try:
                    self._answer(HTTPStatus.OK, metrics.answer(path))
                except (OSError, ValueError) as error:
                    self._answer(HTTPStatus.SERVICE_UNAVAILABLE, _failure(HTTPStatus.SERVICE_UNAVAILABLE, str(error)))
                except KeyError:
                    self._answer(HTTPStatus.NOT_FOUND, _failure(HTTPStatus.NOT_FOUND, path))

            def _answer(self, status: HTTPStatus, body: dict[str, object]) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("", PORT), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.certificate, certificate.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> dict[str, object]:
        """The answer to a request.

        Raises:
            KeyError: when there is nothing at the path.
            OSError: when the lag cannot be read.
            ValueError: when there is no lag.
        """
        if path == _PATH:
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": _VERSION, "resources": []}
        if not path.startswith(f"{_PATH}/namespaces/"):
            raise KeyError(path)
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": _VERSION,
            "metadata": {},
            "items": [
                {
                    "metricName": path.rpartition("/")[2],
                    "metricLabels": {},
                    "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                    "value": str(round(self._read())),
                }
            ],
        }

    def register(self, cluster: Cluster) -> None:
        """Tell the API server that this server has the external metrics."""
        name = "external-metrics"
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "kube-system"},
            "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": PORT}]},
        }
        served = {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"v1beta1.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": name, "namespace": "kube-system", "port": PORT},
            },
        }
        cluster.kubectl("apply", "-f", "-", given="\n---\n".join(json.dumps(each) for each in (service, served)))

    def close(self) -> None:
        """Stop serving. Safe to call again."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def _failure(code: HTTPStatus, message: str) -> dict[str, object]:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(code), "message": message}
