"""Differences between an existing topic and its declaration, and the remedy."""

from __future__ import annotations

from services.common.kafka.topics import ExistingTopic, TopicDeclaration, TopicOutcome, compare

DECLARED = TopicDeclaration(partitions=4, replication_factor=2, config={"retention.ms": "-1"})


def test_having_more_replicas_than_declared_is_not_drift():
    for replicas in (2, 3):
        report = compare("events", DECLARED, ExistingTopic(4, replicas, {"retention.ms": "-1"}))
        assert (report.outcome, report.detail) == (TopicOutcome.AS_DECLARED, "")


def test_partitions_copies_and_settings_that_differ_are_all_named():
    report = compare("events", DECLARED, ExistingTopic(6, 1, {"retention.ms": "604800000"}))
    assert report.outcome is TopicOutcome.DIFFERS
    assert "has 6 partitions, 4 are declared" in report.detail
    assert "with 1 of 2 copies" in report.detail
    assert "--entity-name events --add-config retention.ms=-1" in report.detail


def test_requested_replicas_override_the_declared_ones():
    assert compare("events", DECLARED, ExistingTopic(4, 2, None), 3).outcome is TopicOutcome.DIFFERS
    assert compare("events", DECLARED, ExistingTopic(4, 1, None), 1).outcome is TopicOutcome.AS_DECLARED


def test_a_broker_that_does_not_return_settings_is_reported():
    report = compare("events", DECLARED, ExistingTopic(4, 2, None))
    assert report.outcome is TopicOutcome.AS_DECLARED
    assert "does not return its settings" in report.detail


def test_a_declared_setting_that_a_topic_does_not_have_differs():
    assert compare("events", DECLARED, ExistingTopic(4, 2, {})).outcome is TopicOutcome.DIFFERS
