"""How commands call the RecommendationService: shared options, the connection, and error messages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import grpc
import typer
from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import Console

from cairn.v1 import recommender_pb2, recommender_pb2_grpc
from services.common.auth.identity import normalised_id, unusable_character
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.rpc.calls import Metadata, channel_to, key_metadata, what_went_wrong

DEFAULT_TARGET = "127.0.0.1:50053"

Target = Annotated[
    str, typer.Option(envvar="CAIRN_TARGET_RECOMMENDER", help="host:port of the recommendation service.")
]


def checked_learner(learner: str) -> str:
    """A learner's id; the command ends with the name of a character that no id may have."""
    # Also what the shell could not decode, which would end a command with a traceback.
    if unusable := unusable_character(normalised_id(learner)):
        fail(f"LEARNER has the {unusable.what} {unusable.shown} at position {unusable.position}: remove it", BAD_INPUT)
    return learner


Learner = Annotated[
    str,
    typer.Argument(metavar="LEARNER", help="The learner's id, as your platform knows it.", callback=checked_learner),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the reply as JSON.")]


def print_degraded(console: Console, degraded: Sequence[recommender_pb2.Degradation.ValueType]) -> None:
    """A line for each degradation."""
    for each in degraded:
        console.print(f"note: {_NOTES.get(each, recommender_pb2.Degradation.Name(each))}", soft_wrap=True)


_NOTES = {
    recommender_pb2.DEGRADATION_NEW_LEARNER: "nothing is known about this learner yet",
    recommender_pb2.DEGRADATION_NO_BUNDLE: "no models were fitted yet: all items count as equally hard (cairn train)",
    recommender_pb2.DEGRADATION_NO_COLLABORATIVE_FILTERING: "too little data to compare with other learners",
    recommender_pb2.DEGRADATION_EMPTY_CATALOG: "the catalog has no active resource (cairn catalog import)",
    recommender_pb2.DEGRADATION_STALE_STATE: "the event of the token is not yet included",
    recommender_pb2.DEGRADATION_STALE_CATALOG: "Kafka is away: the catalog may have changed since",
    recommender_pb2.DEGRADATION_GAP_WITHOUT_RESOURCE: "no resource is about the most urgent gap, so the list is about "
    "other skills (cairn class shows the gap; cairn catalog import)",
}


def print_json(reply: Message) -> None:
    """The reply in Protobuf's JSON."""
    typer.echo(json_format.MessageToJson(reply, ensure_ascii=False))


def nothing_is_known(reply: recommender_pb2.GetLearnerResponse, learner: str) -> str:
    """A sentence that says so when no event of a learner was applied; empty otherwise."""
    known = reply.HasField("applied") or reply.responses or reply.HasField("preferences")
    return "" if known else f"nothing is known of {learner!r}: check the id"


@contextmanager
def calling(
    target: str, api_key_file: Path | None, *, insecure: bool
) -> Iterator[tuple[recommender_pb2_grpc.RecommendationServiceStub, Metadata]]:
    """The service and the metadata of every call; an error ends the command with its message."""
    metadata = key_metadata(api_key_file)
    with channel_to(target, insecure=insecure) as channel:
        try:
            yield recommender_pb2_grpc.RecommendationServiceStub(channel), metadata
        except grpc.RpcError as error:
            fail_with(error, target)


def fail_with(error: Any, target: str, *, service: str = "recommendation service") -> NoReturn:
    """End the command with the message of an error."""
    bad_input = error.code() is grpc.StatusCode.INVALID_ARGUMENT
    fail(what_went_wrong(error, target, service), BAD_INPUT if bad_input else FAILED)
