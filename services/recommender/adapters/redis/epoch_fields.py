"""The fields of an epoch's hash in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import orjson

from services.common.encryption.values import KeyTopicSeen
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus


def encode_meta(meta: EpochMeta) -> dict[str, str | bytes]:
    """The fields to store."""
    fields: dict[str, str | bytes] = {"accepts_lost_keys": "1"} if meta.accepts_lost_keys else {}
    if meta.keys is not None:
        fields["keys"] = orjson.dumps(asdict(meta.keys))
    return fields | {
        "status": meta.status.value,
        "fold_id": meta.fold_id,
        "parameters_id": meta.parameters_id,
        "parameters_bundle": meta.parameters_bundle,
        "log_identity": meta.log_identity,
        "end_positions": orjson.dumps({str(p): offset for p, offset in sorted(meta.end_positions.items())}),
    }


def decode_meta(epoch: int, fields: Mapping[bytes, bytes]) -> EpochMeta:
    """The epoch of these fields; some are absent where an earlier release created it."""
    return EpochMeta(
        epoch=epoch,
        status=EpochStatus(fields[b"status"].decode()),
        parameters_id=fields[b"parameters_id"].decode(),
        parameters_bundle=fields[b"parameters_bundle"].decode(),
        log_identity=fields[b"log_identity"].decode(),
        end_positions={int(p): offset for p, offset in orjson.loads(fields[b"end_positions"]).items()},
        accepts_lost_keys=fields.get(b"accepts_lost_keys") == b"1",
        keys=KeyTopicSeen(**orjson.loads(keys)) if (keys := fields.get(b"keys")) else None,
    )
