"""Cluster ids that Kafka's storage tool accepts."""

from __future__ import annotations

import base64

from deploy.kafka.cluster import new_cluster_id


def test_a_cluster_id_never_begins_with_a_dash():
    draws = iter([b"\xf8" + bytes(15), b"\xfb" + bytes(15), b"\x01" * 16])
    cluster_id = new_cluster_id(lambda: next(draws))
    assert base64.urlsafe_b64encode(b"\xf8" + bytes(15)).startswith(b"-")
    assert base64.urlsafe_b64decode(cluster_id + "==") == b"\x01" * 16
