"""The fields of an epoch's hash in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import orjson

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus, FoldOrder


def encode_meta(meta: EpochMeta) -> dict[str, str | bytes]:
    """The fields to store when it is created."""
    fields: dict[str, str | bytes] = {"accepts_lost_keys": "1"} if meta.accepts_lost_keys else {}
    if meta.keys is not None:
        fields["keys"] = orjson.dumps(asdict(meta.keys))
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
        last_switch=int(fields.get(b"last_switch", b"0")),
    )


def _encode_offsets(offsets: Mapping[int, int]) -> bytes:
    return orjson.dumps({str(partition): offset for partition, offset in sorted(offsets.items())})


def _decode_offsets(encoded: bytes) -> dict[int, int]:
    return {int(partition): offset for partition, offset in orjson.loads(encoded).items()}
