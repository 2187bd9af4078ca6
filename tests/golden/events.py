"""Fixed logs of learner events, and folding them into an epoch in memory."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import count

import aiokafka

from cairn.v1 import events_pb2
from services.common.kafka.envelope import LEARNER_EVENTS, cloud_event_headers, record_key
from services.common.kafka.partitioner import partition_of
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.entrypoints.record_decoding import decode_batch

START = datetime(2024, 1, 8, 9, tzinfo=UTC)
OPENED, COMPLETED, DISMISSED = (
    events_pb2.INTERACTION_KIND_OPENED,
    events_pb2.INTERACTION_KIND_COMPLETED,
    events_pb2.INTERACTION_KIND_DISMISSED,
)
ITEM, ACTIVITY = events_pb2.GRAIN_ITEM, events_pb2.GRAIN_ACTIVITY


class Draws:
    """Fixed pseudo-random draws. Only `random()` is used: Python promises that its numbers stay."""

    def __init__(self, seed):
        self._random = random.Random(seed).random

    def below(self, end):
        """A whole number from 0 to `end` - 1."""
        return int(self._random() * end)

    def of(self, choices):
        """One of some choices."""
        return choices[self.below(len(choices))]

    def chance(self, probability):
        """Whether something of that probability happens."""
        return self._random() < probability


class Log:
    """A log of learner events as ingest writes them; `records` are (partition, key, value, headers)."""

    def __init__(self, partitions):
        self.partitions = partitions
        self.records = []
        self._numbers = count()

    def answer(self, tenant, learner, response, *, skills=(), item="", activity="", minutes=None, **fields):
        """A response, or with `grain=ACTIVITY` a score on an activity; return the event's id."""
        body = events_pb2.AssessmentEvent(
            item=item,
            activity=activity,
            skills=skills,
            skills_from=events_pb2.SKILLS_FROM_EVENT,
            response=response,
            **({"grain": ITEM} | fields),
        )
        if response in {0.0, 1.0}:
            body.correct = bool(response)
        else:
            body.score.raw, body.score.max = response * 8, 8.0
        return self.write(tenant, learner, minutes, assessment=body)

    def interact(self, tenant, learner, kind, resource, *, minutes=None):
        """Opened, completed or dismissed; return the event's id."""
        body = events_pb2.InteractionEvent(resource=resource, kind=kind)
        return self.write(tenant, learner, minutes, interaction=body)

    def prefer(self, tenant, learner, *, goals=None, interests=None, kinds=None, pace=0):
        """What a learner wants. None leaves a field as it was."""
        body = events_pb2.PreferenceEvent(pace=pace)
        for value, message, field in (
            (goals, body.goals, "skills"),
            (interests, body.interests, "topics"),
            (kinds, body.formats, "kinds"),
        ):
            if value is not None:
                message.SetInParent()
                getattr(message, field).extend(value)
        return self.write(tenant, learner, None, preference=body)

    def void(self, tenant, learner, target):
        """A correction: the event of that id never happened."""
        body = events_pb2.CorrectionEvent(target_source="golden", target_event_id=target, voided=events_pb2.Void())
        return self.write(tenant, learner, None, correction=body)

    def regrade(self, tenant, learner, target, response):
        """A correction: the event of that id has another response."""
        body = events_pb2.CorrectionEvent(
            target_source="golden", target_event_id=target, regrade=events_pb2.Regrade(response=response)
        )
        return self.write(tenant, learner, None, correction=body)

    def erase(self, tenant, learner):
        """The learner is to be forgotten."""
        return self.write(tenant, learner, None, erasure=events_pb2.ErasureEvent())

    def repeat(self, place):
        """Append a record of the log once more."""
        self.records.append(self.records[place])

    def write(self, tenant, learner, minutes, *, event_id=None, source="golden", **body):
        """Append an event with that body; return its id. `minutes` after the start; None: not known when."""
        number = next(self._numbers)
        event = events_pb2.LearnerEvent(
            event_id=f"e{number}" if event_id is None else event_id,
            tenant=tenant,
            learner=learner,
            source=source,
            **body,
        )
        if minutes is not None:
            event.occurred_at.FromDatetime(START + timedelta(minutes=minutes))
        event.received_at.FromDatetime(START + timedelta(minutes=number))
        self.write_raw(record_key(tenant, learner), event.SerializeToString())
        return event.event_id

    def write_raw(self, key, value, *, content_type="application/protobuf", partition=None):
        """Append whatever it is."""
        headers = cloud_event_headers(
            event_id="any", source="golden", event_type="any", time=START, content_type=content_type
        )
        place = partition_of(key or b"", self.partitions) if partition is None else partition
        self.records.append((place, key, value, headers))


async def fold(log, states, epoch, letters, parameters, *, batch=50):
    """Fold a log into an epoch of `states`, `batch` records of the log at a time; return the reports."""
    folding = FoldEvents(states.fold_store(epoch), letters, LearnerFold(parameters), clock_s=lambda: 0.0)
    await folding.on_assigned(dict.fromkeys(range(log.partitions), 0))
    ends, reports = dict.fromkeys(range(log.partitions), 0), []
    for start in range(0, len(log.records), batch):
        by_partition = {}
        for partition, key, value, headers in log.records[start : start + batch]:
            by_partition.setdefault(partition, []).append(
                aiokafka.ConsumerRecord(
                    LEARNER_EVENTS, partition, ends[partition], 0, 0, key, value, None, 0, 0, tuple(headers)
                )
            )
            ends[partition] += 1
        reports.append(
            await folding.fold([decode_batch(p, some, log.partitions) for p, some in sorted(by_partition.items())])
        )
    return reports
