"""The fields of an epoch's hash in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import orjson

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import EpochMeta, EpochRestamp, EpochStatus, FoldOrder
from services.recommender.domain.learner.restamp import AssessedSkills, RestampedEvents


def encode_meta(meta: EpochMeta) -> dict[str, str | bytes]:
    """The fields to store when it is created."""
    fields: dict[str, str | bytes] = {"accepts_lost_keys": "1"} if meta.accepts_lost_keys else {}
    if meta.keys is not None:
        fields["keys"] = orjson.dumps(asdict(meta.keys))
    if meta.restamp is not None:
        fields["restamp"] = _encode_restamp(meta.restamp)
    return fields | {
        "status": meta.status.value,
        "fold_id": meta.fold_id,
        "parameters_id": meta.parameters_id,
        "parameters_bundle": meta.parameters_bundle,
        "log_identity": meta.log_identity,
        "end_positions": _encode_offsets(meta.end_positions),
        "begin_positions": _encode_offsets(meta.begin_positions),
        "order": meta.order.value,
    }


def decode_meta(epoch: int, fields: Mapping[bytes, bytes]) -> EpochMeta:
    """The epoch of these fields; some are absent where an earlier release created it."""
    return EpochMeta(
        epoch=epoch,
        status=EpochStatus(fields[b"status"].decode()),
        parameters_id=fields[b"parameters_id"].decode(),
        parameters_bundle=fields[b"parameters_bundle"].decode(),
        log_identity=fields[b"log_identity"].decode(),
        end_positions=_decode_offsets(fields[b"end_positions"]),
        accepts_lost_keys=fields.get(b"accepts_lost_keys") == b"1",
        keys=KeyTopicSeen(**orjson.loads(keys)) if (keys := fields.get(b"keys")) else None,
        begin_positions=_decode_offsets(fields.get(b"begin_positions", b"{}")),
        order=FoldOrder(fields.get(b"order", b"log").decode()),
        restamp=_decode_restamp(restamp) if (restamp := fields.get(b"restamp")) else None,
        last_switch=int(fields.get(b"last_switch", b"0")),
    )


def _encode_restamp(restamp: EpochRestamp) -> bytes:
    return orjson.dumps(asdict(restamp), option=orjson.OPT_NON_STR_KEYS)


def _decode_restamp(encoded: bytes) -> EpochRestamp:
    fields = orjson.loads(encoded)
    before = {int(partition): offset for partition, offset in fields.pop("before").items()}
    return EpochRestamp(RestampedEvents(fields.pop("events")), before=before, **fields)


def encode_skills(assessed: AssessedSkills) -> bytes:
    """The skills with which an epoch stamps events again."""
    return orjson.dumps(assessed)


def decode_skills(encoded: bytes) -> AssessedSkills:
    """The inverse of `encode_skills`."""
    # Many resources assess the same skills, so they share a tuple.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {
        tenant: {resource: shared.setdefault(tuple(skills), tuple(skills)) for resource, skills in resources.items()}
        for tenant, resources in orjson.loads(encoded).items()
    }


def _encode_offsets(offsets: Mapping[int, int]) -> bytes:
    return orjson.dumps({str(partition): offset for partition, offset in sorted(offsets.items())})


def _decode_offsets(encoded: bytes) -> dict[int, int]:
    return {int(partition): offset for partition, offset in orjson.loads(encoded).items()}
