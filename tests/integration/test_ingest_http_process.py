"""Events over HTTP through the ingest process, into a real log."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request

import pytest

from deploy.processes import free_port
from tests.integration.test_ingest_process import running, stored


@pytest.fixture
def ingest(tmp_path, fresh_kafka_broker):
    address = f"127.0.0.1:{free_port()}"
    with running(tmp_path, fresh_kafka_broker, CAIRN_INGEST_HTTP_LISTEN=address) as ingest:
        ingest.http = address
        yield ingest


def post(ingest, body, **headers):
    key = {"Authorization": f"Bearer {ingest.api_keys[ingest.tenant]}"}
    request = urllib.request.Request(f"http://{ingest.http}/v1/events:batch", body, key | headers)
    with urllib.request.urlopen(request, timeout=15) as reply:
        return json.loads(reply.read())["results"]


def event(number, learner="ada"):
    return {"learner_id": learner, "source": "web", "event_id": f"e{number}", "item": "q1", "correct": True}


def test_events_over_http_reach_the_log_in_their_order(ingest):
    lines = b"\n".join(json.dumps(event(number)).encode() for number in range(700))
    results = post(ingest, gzip.compress(lines), **{"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"})
    assert {result["status"] for result in results} == {"EVENT_STATUS_ACCEPTED"}
    (other,) = post(ingest, json.dumps(event(1, learner="ben")).encode(), **{"Content-Type": "application/json"})
    assert other["freshness_token"]
    events = [one for one in stored(ingest) if one.learner == results[0]["learner"]]
    assert [one.event_id for one in events] == [f"e{number}" for number in range(700)]
    metrics = ingest.metrics()
    assert 'cairn_ingest_events_total{outcome="accepted"} 701.0' in metrics
    assert 'cairn_http_request_seconds_count{path="/v1/events:batch",status="200"} 2.0' in metrics


def test_the_process_ends_well_and_logs_neither_learners_nor_keys(ingest):
    post(ingest, json.dumps(event(1, learner="lovelace")).encode(), **{"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(ingest, b'[{"learner_id": "lovelace"', **{"Content-Type": "application/json"})
    assert refused.value.code == 400
    assert ingest.stop() == 0
    log = ingest.log.read_text()
    assert f'"address": "{ingest.http}"' in log
    assert ingest.api_keys[ingest.tenant] not in log
    assert "uvicorn" not in log
    assert "lovelace" not in log


def test_without_an_address_there_is_no_http(tmp_path, fresh_kafka_broker):
    with running(tmp_path, fresh_kafka_broker) as ingest:
        assert "over HTTP" not in ingest.log.read_text()
