"""Exports as a data team reads them: Parquet files that DuckDB queries."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from cairn.v1 import catalog_pb2, events_pb2
from services.common.kafka.envelope import JSON, LogIdentity, record_key
from services.common.kafka.partitioner import partition_of
from services.recommender.adapters.files.exported_tables import ExportExistsError
from services.recommender.adapters.files.parquet_tables import ParquetTable
from services.recommender.application.answers.prepared_catalogs import by_default
from services.recommender.application.answers.rank_learner import RecommendQuery
from services.recommender.application.operations.columns import Column, ColumnType
from services.recommender.application.operations.export import (
    RECOMMENDATION_COLUMNS,
    STATE_COLUMNS,
    export_recommendations,
    export_state,
)
from services.recommender.application.ports.epochs import EpochMeta, EpochStatus
from services.recommender.application.ports.learners import LearnerKey
from services.recommender.application.state.fold_events import FoldEvents
from services.recommender.application.state.partition_batch import PartitionBatch
from services.recommender.bootstrap.server import AnswerAdapters, answer_dependencies
from services.recommender.domain.learner.events import AssessmentEvent, ErasureEvent, Grain
from services.recommender.domain.learner.fold import LearnerFold
from services.recommender.domain.learner.parameters import PRIOR_PARAMETERS_ID, TracingParameters
from services.recommender.domain.ranking.render import render
from services.recommender.wire.event_kinds import EVENT_COLUMNS
from services.recommender.wire.export import EventUnreadableError, event_row
from tests.adapters.memory_catalog import MemoryCatalog
from tests.adapters.memory_states import MemoryDeadLetters, MemoryStates
from tests.component.test_recommender_server import RESOURCES, SKILLS, Bundles
from tests.learner_events import WHEN, message, pseudonym

LOG = LogIdentity(bytes(16), 2)
NOW = datetime(2026, 3, 5, 14, 37, tzinfo=UTC)
AT_S = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
PLAIN = (
    Column("tenant", ColumnType.TEXT, "whose"),
    Column("n", ColumnType.INTEGER, "a number"),
    Column("texts", ColumnType.TEXTS, "some texts"),
    Column("at", ColumnType.TIME, "when"),
)


@pytest.fixture
async def states():
    """Forty learners in riverbend, one in hilltop, one who was erased."""
    states = MemoryStates()
    await states.create(EpochMeta(1, EpochStatus.LIVE, PRIOR_PARAMETERS_ID, "", str(LOG), {}))
    await states.make_current(1)
    batches = [PartitionBatch(partition, 1_000) for partition in range(LOG.partitions)]
    offset = 0
    for tenant, name in [*(("riverbend", f"learner-{n}") for n in range(41)), ("hilltop", "learner-0")]:
        key = record_key(tenant, pseudonym(name))
        events = batches[partition_of(key, LOG.partitions)].learners.setdefault(key, (tenant, []))[1]
        for number, skill in enumerate(("add", "add", "fractions")):
            offset += 1
            fingerprint = offset.to_bytes(8, "little")
            events.append((offset, AssessmentEvent(fingerprint, number % 2, AT_S, "i", "", (skill,), Grain.ITEM, "")))
        if name == "learner-40":
            offset += 1
            events.append((offset, ErasureEvent(offset.to_bytes(8, "little"))))
    fold = FoldEvents(states.fold_store(1), MemoryDeadLetters(), LearnerFold(TracingParameters()), clock_s=lambda: 0.0)
    await fold.on_assigned(dict.fromkeys(range(LOG.partitions), 0))
    await fold.fold(batches)
    return states


async def written(batches, tmp_path, name, columns, **options):
    with ParquetTable(tmp_path, name, "riverbend", columns, **options) as table:
        async for batch in batches:
            table.add(batch.rows)
    return table


def query(tmp_path, name, sql):
    """Run SQL on the exported table, named `t`."""
    files = f"{tmp_path}/{name}/**/*.parquet"
    with duckdb.connect() as database:
        database.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{files}', hive_partitioning = true)")
        return database.execute(sql).fetchall()


async def test_state_has_a_row_per_learner_and_skill_of_the_tenant_alone(states, tmp_path):
    parameters = TracingParameters().for_tenant("riverbend")
    await written(export_state(states, 1, "riverbend", parameters), tmp_path, "state", STATE_COLUMNS)
    assert query(tmp_path, "state", "SELECT tenant, count(*), count(DISTINCT learner) FROM t GROUP BY tenant") == [
        ("riverbend", 80, 40)
    ]
    ((responses, successes, all_responses, at, low, mastery, high, mastered),) = query(
        tmp_path,
        "state",
        "SELECT responses, successes, learner_responses, last_response_at, mastery_low, mastery, mastery_high, "
        f"mastered FROM t WHERE learner = '{pseudonym('learner-7')}' AND skill = 'add'",
    )
    assert (responses, successes, all_responses, mastered) == (2, 1.0, 3, False)
    assert at.timestamp() == AT_S
    assert 0 < low < mastery < high < 1


async def test_lists_equal_those_that_recommend_returns(states, tmp_path):
    catalog = MemoryCatalog()
    catalog.put("riverbend", RESOURCES, SKILLS)
    adapters = AnswerAdapters(
        learners=states, epochs=states, catalog=catalog, bundles=Bundles(), policies=by_default, clock=lambda: NOW
    )
    answers = answer_dependencies(adapters)
    await answers.active_models.refresh_epoch()
    lists = export_recommendations(states, answers, 1, "riverbend", limit=3)
    await written(lists, tmp_path, "recommendations", RECOMMENDATION_COLUMNS)
    assert query(tmp_path, "recommendations", "SELECT count(DISTINCT learner), min(rank), max(rank) FROM t") == [
        (40, 1, 3)
    ]
    fresh = await answers.states.read(LearnerKey("riverbend", pseudonym("learner-3")), None, 5.0)
    snapshot = await answers.catalogs.snapshot("riverbend", fresh.epoch)
    expected = answers.ranking.rank(snapshot, RecommendQuery(pseudonym("learner-3"), 3), fresh)
    rows = query(
        tmp_path,
        "recommendations",
        "SELECT resource, recommendation_id, score, reasons, as_of FROM t "
        f"WHERE learner = '{pseudonym('learner-3')}' ORDER BY rank",
    )
    assert [row[0] for row in rows] == [expected.catalog.resource_ids[one.row] for one in expected.resources]
    assert [row[1] for row in rows] == list(expected.recommendation_ids)
    assert rows[0][3] == [render(reason.message) for reason in expected.resources[0].explanation.reasons]
    assert rows[0][4].timestamp() == NOW.replace(minute=0).timestamp()


def test_a_table_describes_its_columns_and_is_compressed(tmp_path):
    with ParquetTable(tmp_path, "table", "riverbend", PLAIN) as table:
        table.add([{"n": 1, "texts": ["a", "b"], "at": NOW}, {"n": None}])
    (file,) = table.files
    assert file == tmp_path / "table" / "tenant=riverbend" / "part-00000.parquet"
    found = pq.ParquetFile(file)
    assert found.schema_arrow.field("n").metadata[b"description"] == b"a number"
    assert found.metadata.row_group(0).column(0).compression == "ZSTD"
    assert "tenant" not in found.schema_arrow.names
    assert query(tmp_path, "table", "SELECT tenant, n, texts FROM t") == [
        ("riverbend", 1, ["a", "b"]),
        ("riverbend", None, None),
    ]


def test_rows_are_written_in_groups_and_files_of_a_bounded_size(tmp_path):
    with ParquetTable(tmp_path, "table", "riverbend", PLAIN, rows_per_group=10, rows_per_file=30) as table:
        for start in range(0, 95, 19):
            table.add([{"n": n} for n in range(start, start + 19)])
            assert len(table._waiting) < 10
    assert [pq.ParquetFile(file).metadata.num_rows for file in table.files] == [30, 30, 30, 5]
    assert query(tmp_path, "table", "SELECT count(*), sum(n) FROM t") == [(95, sum(range(95)))]


def test_an_export_without_rows_is_still_a_table(tmp_path):
    with ParquetTable(tmp_path, "table", "riverbend", PLAIN):
        pass
    assert query(tmp_path, "table", "SELECT count(*) FROM t") == [(0,)]


def test_an_export_that_fails_leaves_no_table_and_the_next_one_cleans_up(tmp_path):
    folder = tmp_path / "table" / "tenant=riverbend"

    def fail():
        with ParquetTable(tmp_path, "table", "riverbend", PLAIN, rows_per_group=1) as table:
            table.add([{"n": 1}])
            table.add([{"n": "one"}])

    with pytest.raises(pa.ArrowInvalid):
        fail()
    assert [path.suffix for path in folder.iterdir()] == [".unfinished"]
    with ParquetTable(tmp_path, "table", "riverbend", PLAIN) as table:
        table.add([{"n": 2}])
    assert [path.name for path in folder.iterdir()] == ["part-00000.parquet"]
    with pytest.raises(ExportExistsError, match="remove it, or name another with --to"):
        ParquetTable(tmp_path, "table", "riverbend", PLAIN)


def row_of(**body):
    event = message(1)
    event.ClearField("assessment")
    for name, value in body.items():
        getattr(event, name).CopyFrom(value)
    key = record_key(event.tenant, event.learner)
    return event_row(key, event.SerializeToString(), [])


def test_every_kind_of_event_becomes_a_row_of_the_columns_that_are_declared():
    score = events_pb2.Score(raw=3, min=0, max=4)
    rows = [
        row_of(assessment=message(1, attempt=2, hints=0, activity="quiz").assessment),
        row_of(
            interaction=events_pb2.InteractionEvent(resource="r", kind=events_pb2.INTERACTION_KIND_DISMISSED),
        ),
        row_of(
            preference=events_pb2.PreferenceEvent(
                goals=events_pb2.GoalSkills(),
                formats=events_pb2.PreferredKinds(kinds=[catalog_pb2.RESOURCE_KIND_GAME]),
                pace=events_pb2.PACE_GENTLE,
            )
        ),
        row_of(
            correction=events_pb2.CorrectionEvent(
                target_source="s", target_event_id="e", regrade=events_pb2.Regrade(score=score, response=0.75)
            )
        ),
        row_of(correction=events_pb2.CorrectionEvent(target_event_id="e", voided=events_pb2.Void())),
        row_of(erasure=events_pb2.ErasureEvent()),
    ]
    declared = {column.name for column in EVENT_COLUMNS}
    assert all(row.keys() <= declared for row in rows)
    assert [row["kind"] for row in rows] == [
        "assessment",
        "interaction",
        "preference",
        "correction",
        "correction",
        "erasure",
    ]
    assert (rows[0]["correct"], rows[0]["attempt"], rows[0]["hints"], rows[0]["duration_ms"]) == (True, 2, 0, None)
    assert (rows[0]["grain"], rows[0]["skills_from"], rows[0]["occurred_at"]) == ("item", "event", WHEN)
    assert (rows[1]["interaction"], rows[1]["recommendation_id"]) == ("dismissed", None)
    assert (rows[2]["goals"], rows[2]["interests"], rows[2]["formats"], rows[2]["pace"]) == (
        [],
        None,
        ["game"],
        "gentle",
    )
    assert (rows[3]["change"], rows[3]["response"], rows[3]["score_max"]) == ("regrade", 0.75, 4.0)
    assert rows[4]["change"] == "void"


@pytest.mark.parametrize("value", [b"\xff\xff", None, b"", events_pb2.LearnerEvent(tenant="x").SerializeToString()])
def test_a_record_that_is_not_an_event_is_reported(value):
    with pytest.raises(EventUnreadableError):
        event_row(record_key("riverbend", pseudonym("ada")), value, [])


@pytest.mark.parametrize("time", ["occurred_at", "received_at"])
@pytest.mark.parametrize("given", [{"nanos": -1}, {"nanos": 10**9}, {"seconds": 2**60}, {"seconds": -(2**60)}], ids=str)
def test_a_record_with_a_time_that_is_none_is_reported(time, given):
    event = message(1)
    getattr(event, time).CopyFrom(Timestamp(**given))
    with pytest.raises(EventUnreadableError):
        event_row(record_key(event.tenant, event.learner), event.SerializeToString(), [])


def test_a_record_in_json_is_read_too():
    from google.protobuf import json_format

    event = message(1)
    key = record_key(event.tenant, event.learner)
    value = json_format.MessageToJson(event).encode()
    assert event_row(key, value, [("content-type", JSON.encode())])["item"] == "item-1"
