"""`cairn plan` and `cairn class`, against a fake service."""

from __future__ import annotations

from concurrent import futures

import grpc
import orjson
import pytest
from typer.testing import CliRunner

from cairn.v1 import catalog_pb2, recommender_pb2, recommender_pb2_grpc
from services.recommender.cli.plan import app

MASTERY = recommender_pb2.SkillMastery(
    skill="add", probability=0.42, low=0.2, high=0.6, responses=6, successes=2, mastered=False
)
PLAN = recommender_pb2.PlanGroupResponse(
    groups=[
        recommender_pb2.Group(
            skill="add",
            statement="Adding [whole] numbers",
            members=[recommender_pb2.GroupMember(learner_id="amy", mastery=MASTERY)],
            steps=[
                recommender_pb2.PlanStep(
                    step=recommender_pb2.STEP_TEACH,
                    resource_id="v1",
                    title="Adding on a line",
                    kind=catalog_pb2.RESOURCE_KIND_VIDEO,
                    minutes=8,
                    reason="42 % likely to succeed on the skill; new to the learner",
                )
            ],
            minutes=8,
        )
    ],
    unplaced=[
        recommender_pb2.UnplacedLearner(
            learner_id="ben",
            reason=recommender_pb2.UNPLACED_REASON_NEW_LEARNER,
            text="nothing is known of them yet: assess them first",
        )
    ],
)
BATCH = recommender_pb2.RecommendBatchResponse(
    results=[
        recommender_pb2.LearnerResult(
            learner_id="amy",
            gap=MASTERY,
            recommendations=[recommender_pb2.Recommendation(resource_id="v1", title="Adding on a line")],
        ),
        recommender_pb2.LearnerResult(
            learner_id="ben", problem=recommender_pb2.LearnerProblem(code=14, message="Redis did not answer")
        ),
        recommender_pb2.LearnerResult(
            learner_id="cat", gap=MASTERY, degraded=[recommender_pb2.DEGRADATION_GAP_WITHOUT_RESOURCE]
        ),
    ]
)


class Service(recommender_pb2_grpc.RecommendationServiceServicer):
    def __init__(self):
        self.requests = []

    def PlanGroup(self, request, context):  # noqa: N802 - the name of the RPC.
        self.requests.append(request)
        return PLAN

    def RecommendBatch(self, request, context):  # noqa: N802 - the name of the RPC.
        self.requests.append(request)
        return BATCH


@pytest.fixture
def service():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    service = Service()
    recommender_pb2_grpc.add_RecommendationServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    service.target = f"127.0.0.1:{port}"
    yield service
    server.stop(None).wait()


@pytest.fixture
def roster(tmp_path):
    file = tmp_path / "class.csv"
    file.write_text("learner,name\namy,A\nben,B\namy,A\n")
    return file


def run(service, *arguments):
    environment = {"CAIRN_API_KEY": "key", "CAIRN_TARGET_RECOMMENDER": service.target, "COLUMNS": "120"}
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)


def test_a_plan_is_printed_with_its_groups_and_the_learners_without_a_group(service, roster):
    done = run(service, "plan", roster, "--groups", 2, "--minutes", 45, "--class", "6b", "--grade", "6")
    assert done.exit_code == 0
    assert "Group 1: Adding [whole] numbers (1 learner, 8 min)" in done.stdout
    assert "amy 42 %" in done.stdout
    assert "1. teach: Adding on a line (video, 8 min)" in done.stdout
    assert "in no group: ben: nothing is known of them yet: assess them first" in done.stdout
    assert "1 of 2 learners in 1 groups" in done.stdout
    (request,) = service.requests
    assert list(request.learner_ids) == ["amy", "ben"]
    assert (request.groups_max, request.minutes_max, request.class_id) == (2, 45, "6b")
    assert list(request.filter.grades) == ["6"]


def test_a_class_is_printed_with_one_line_per_learner(service, roster):
    done = run(service, "class", roster)
    assert done.exit_code == 0
    assert "42 % (20-60)" in done.stdout
    assert "2 of 6" in done.stdout
    assert "Redis did not answer" in done.stdout
    amy, cat = (line for line in done.stdout.splitlines() if "42 %" in line)
    assert "no resource" not in amy
    assert "add (no resource is about it)" in cat


def test_the_reply_can_be_printed_as_json(service, roster):
    assert orjson.loads(run(service, "plan", roster, "--json").stdout)["groups"][0]["skill"] == "add"
    assert orjson.loads(run(service, "class", roster, "--json").stdout)["results"][0]["gap"]["responses"] == 6


@pytest.mark.parametrize(
    "text",
    [
        "amy\nben\n",
        "\ufeffid\namy\nben\n",
        "name,student\nA,amy\nB,ben\nC,\n",
        "learner;name\namy;A\nben;B, junior\n",
        "name\tID\nA\tamy\nB\tben\n",
        'learner|form|"last, first"\namy|1|"A, B"\nben|2|C\n',
    ],
)
def test_a_roster_is_a_column_of_ids(service, tmp_path, text):
    file = tmp_path / "class.csv"
    file.write_text(text)
    assert run(service, "plan", file).exit_code == 0
    assert list(service.requests[0].learner_ids) == ["amy", "ben"]


def test_a_column_of_another_name_can_be_selected(service, tmp_path):
    file = tmp_path / "class.csv"
    file.write_text("pupil,grade\namy,6\n")
    done = run(service, "plan", file)
    assert done.exit_code == 2
    assert "pupil, grade: name one with --column" in done.stderr
    assert run(service, "plan", file, "--column", "pupil").exit_code == 0
    assert list(service.requests[0].learner_ids) == ["amy"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"learner,name\namy,A\nben\n", "line 3 of "),
        (b"learner,name\namy,A\nben\n", "has 1 columns, the header 2: fix its delimiters and quotes"),
        (b"learner\nam\xc2\xady\n", "the cell of column 'learner' has the format character U+00AD SOFT HYPHEN"),
        (b"learner\n\n", "names no learner"),
        (b"learner\n\xff\xfe\n", "is not utf-8: the byte 0xFF at position 1"),
        ("\n".join(f"learner-{number}" for number in range(501)).encode(), "at most 500"),
    ],
)
def test_an_unusable_roster_is_reported_with_the_remedy(service, tmp_path, content, said):
    file = tmp_path / "class.csv"
    file.write_bytes(content)
    done = run(service, "class", file)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not service.requests


def test_a_roster_may_be_a_parquet_file(service, tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"name": ["A", "B"], "student_id": [4711, 4712]}), tmp_path / "class.parquet")
    assert run(service, "plan", tmp_path / "class.parquet").exit_code == 0
    assert list(service.requests[0].learner_ids) == ["4711", "4712"]
