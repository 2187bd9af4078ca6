"""`cairn recommend` and `cairn learner show`, against a fake service."""

from __future__ import annotations

from concurrent import futures

import grpc
import orjson
import pytest
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2, recommender_pb2, recommender_pb2_grpc
from services.recommender.cli.learners import app

RECOMMENDATION = recommender_pb2.Recommendation(
    recommendation_id="1f",
    resource_id="vid-7",
    title="Adding [fractions]",
    kind=catalog_pb2.RESOURCE_KIND_VIDEO,
    minutes=8,
    score=1.25,
    skill="fractions",
    step=recommender_pb2.STEP_TEACH,
    reasons=[
        recommender_pb2.Reason(text="Fractions: 41 % likely to succeed (26-58 %), 5 responses, 2 right"),
        recommender_pb2.Reason(text="41 % likely to succeed on it: to be taught first"),
    ],
    reassess_with="quiz-3",
)
LEARNER = recommender_pb2.GetLearnerResponse(
    responses=17,
    epoch=3,
    skills=[
        recommender_pb2.SkillMastery(
            skill="6.RP.A.1", probability=0.9, low=0.8, high=0.95, responses=12, successes=11.5, mastered=True
        ),
        recommender_pb2.SkillMastery(skill="6.RP.A.2", probability=0.3, low=0.1, high=0.6, responses=5, successes=1),
    ],
)


class Service(recommender_pb2_grpc.RecommendationServiceServicer):
    def __init__(self):
        self.requests = []
        self.metadata = {}
        self.reply = recommender_pb2.RecommendResponse(recommendations=[RECOMMENDATION])
        self.refuse = None

    def Recommend(self, request, context):  # noqa: N802 - the name of the RPC.
        return self._answer(request, context, self.reply)

    def GetLearner(self, request, context):  # noqa: N802 - the name of the RPC.
        return self._answer(request, context, LEARNER)

    def _answer(self, request, context, reply):
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        if self.refuse is not None:
            context.abort(*self.refuse)
        return reply


@pytest.fixture
def service():
    service = Service()
    server = grpc.server(futures.ThreadPoolExecutor(1))
    recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(service, server)
    service.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield service
    server.stop(None)


def run(service, *arguments, **environment):
    settings = {"CAIRN_TARGET_RECOMMENDER": service.target, "CAIRN_API_KEY": "secret", "COLUMNS": "80"} | environment
    return CliRunner(env=settings).invoke(app, list(arguments))


def test_a_list_shows_resources_reasons_and_what_to_measure_afterwards(service):
    result = run(service, "recommend", "amy")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "  1  Adding [fractions]",
        "     teach: video vid-7, 8 min",
        "     Fractions: 41 % likely to succeed (26-58 %), 5 responses, 2 right",
        "     41 % likely to succeed on it: to be taught first",
        "     then check with quiz-3",
    ]
    assert service.metadata["authorization"] == "Bearer secret"


def test_options_become_the_request(service):
    options = (
        "recommend amy --limit 3 --kind practice --kind game --skill s --grade 3 --grade 4 --language es "
        "--max-minutes 20 --exclude r1 --as-of 2024-03-05T14:00:00 --freshness-token abc"
    )
    assert run(service, *options.split()).exit_code == 0
    (request,) = service.requests
    assert (request.learner_id, request.limit, request.freshness_token) == ("amy", 3, "abc")
    assert list(request.filter.kinds) == [catalog_pb2.RESOURCE_KIND_PRACTICE, catalog_pb2.RESOURCE_KIND_GAME]
    assert (list(request.filter.skills), list(request.filter.grades)) == (["s"], ["3", "4"])
    assert (list(request.filter.languages), request.filter.max_minutes) == (["es"], 20)
    assert list(request.filter.exclude_resource_ids) == ["r1"]
    assert request.as_of.seconds == 1_709_647_200


def test_missing_parts_are_reported_with_the_remedy(service):
    service.reply = recommender_pb2.RecommendResponse(
        degraded=[recommender_pb2.DEGRADATION_EMPTY_CATALOG, recommender_pb2.DEGRADATION_NO_BUNDLE]
    )
    result = run(service, "recommend", "amy")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Nothing in the catalog fits.",
        "note: the catalog has no active resource (cairn catalog import)",
        "note: no models were fitted yet: all items count as equally hard (cairn train)",
    ]


def test_a_learner_is_shown_with_bars_and_intervals(service):
    result = run(service, "learner", "show", "amy")
    assert result.exit_code == 0, result.stderr
    _, mastered, weak, total = result.stdout.splitlines()
    assert mastered.split() == ["6.RP.A.1", "█" * 18 + "░", "90", "%", "80-95", "11.5", "of", "12", "mastered"]
    assert weak.split() == ["6.RP.A.2", "█" * 6 + "░" * 6, "30", "%", "10-60", "1", "of", "5"]
    assert total == "17 responses to 2 skills, epoch 3"
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", [("recommend", "amy"), ("learner", "show", "amy")])
def test_json_is_the_reply(service, command):
    reply = orjson.loads(run(service, *command, "--json").stdout)
    assert "recommendations" in reply or reply["responses"] == 17


@pytest.mark.parametrize(
    ("code", "exit_code"), [(grpc.StatusCode.INVALID_ARGUMENT, 2), (grpc.StatusCode.FAILED_PRECONDITION, 1)]
)
def test_the_message_of_a_refused_call_is_printed(service, code, exit_code):
    service.refuse = (code, "limit: 101 is more than 100")
    result = run(service, "recommend", "amy")
    assert result.exit_code == exit_code
    assert result.stderr == f"{code.name}: limit: 101 is more than 100\n"


def test_an_unreachable_recommender_is_named_with_the_remedy(service):
    result = run(service, "recommend", "amy", "--target", "127.0.0.1:9")
    assert result.exit_code == 1
    assert result.stderr.startswith("no recommendation service answers at 127.0.0.1:9: start it, or name another")


def test_without_an_api_key_nothing_is_sent(service):
    result = run(service, "recommend", "amy", CAIRN_API_KEY="")
    assert result.exit_code == 2
    assert "CAIRN_API_KEY" in result.stderr
    assert not service.requests


def test_the_api_key_may_be_in_a_file(service, tmp_path):
    file = tmp_path / "key"
    file.write_text("from-file\n")
    assert run(service, "learner", "show", "amy", "--api-key-file", str(file)).exit_code == 0
    assert service.metadata["authorization"] == "Bearer from-file"
    missing = run(service, "learner", "show", "amy", "--api-key-file", str(tmp_path / "absent"))
    assert missing.exit_code == 2
    assert "absent" in missing.stderr
