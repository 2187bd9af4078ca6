"""`cairn evaluate`, from files in the shape of the published data to a report."""

from __future__ import annotations

import gzip
import re

import numpy as np
import orjson
import pytest
import scipy.sparse
from typer.testing import CliRunner

from services.recommender.cli.evaluate import app
from services.recommender.evaluation import laws as laws_of_lists

LEARNERS, ITEMS, SKILLS = 60, 24, 4


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def tracing_folder(tmp_path):
    rng = np.random.default_rng(3)
    matrix = scipy.sparse.csr_matrix((np.ones(ITEMS), (np.arange(ITEMS), np.arange(ITEMS) % SKILLS)))
    scipy.sparse.save_npz(tmp_path / "q_mat.npz", matrix)
    difficulty = rng.normal(0, 1.5, ITEMS)
    lines = ["user_id\titem_id\ttimestamp\tcorrect\tskill_id"]
    for learner in range(LEARNERS):
        ability = rng.normal(0, 1)
        for at, item in enumerate(rng.permutation(ITEMS)):
            correct = int(rng.random() < 1 / (1 + np.exp(difficulty[item] - ability)))
            lines.append(f"{learner}\t{item}\t{at}\t{correct}\t{item % SKILLS}")
    with gzip.open(tmp_path / "responses.tsv.gz", "wt") as file:
        file.write("\n".join(lines) + "\n")
    rows = lines[1:]
    half = len(rows) // 2
    (tmp_path / "train.tsv").write_text("\n".join([lines[0], *rows[:half]]) + "\n")
    (tmp_path / "test.tsv").write_text("\n".join([lines[0], *rows[half:]]) + "\n")
    return tmp_path


@pytest.fixture
def ranking_folder(tmp_path):
    """Learners go through the problems of their skill in order; a problem has two skills, so a response two rows."""
    lines = ["user_id,seq,problem_id,skill_id,skill_name,correct,fold"]
    rng = np.random.default_rng(5)
    for learner in range(LEARNERS):
        group, first = learner % 2, int(rng.integers(0, 6))
        for seq in range(first, first + 22):
            correct = int(rng.random() < 0.6)
            skills = (f"skill-{group}", f"part-{group}-{seq // 10}")
            lines += [f"{learner},{seq},{group}{seq:02},1,{skill},{correct},1" for skill in skills]
    (tmp_path / "interactions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("protocol", ["algebra05", "assistments2009-kt", "tracing/algebra05"])
def test_learner_models_are_measured_on_learners_they_have_not_seen(tracing_folder, protocol):
    report = tracing_folder / "report.json"
    result = run("tracing", "--data", tracing_folder, "--protocol", protocol, "--json", report)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    assert found["protocol"] == f"tracing/{protocol.removeprefix('tracing/')}"
    models = found["models"]
    assert models["constant"]["auc"]["mean"] == 0.5
    for name in ("elo", "rasch_online", "best_lr", "filter", "cairn"):
        auc = models[name]["auc"]
        assert 0.65 < auc["low"] < auc["mean"] < auc["high"] < 0.95
    difference = found["differences"]["constant"]["auc"]
    assert difference["mean"] == pytest.approx(models["cairn"]["auc"]["mean"] - 0.5)
    assert difference["low"] > 0
    assert re.fullmatch("([0-9a-f]{40})?", found["commit"])
    assert set(found["slices"]) == {"attempt 1", "attempts 2-5", "attempts 6+", "new items"}
    assert [check["claim"] for check in found["checks"]] == [
        "items added after the fit are predicted no worse than by the filter alone"
    ]


def test_learner_models_are_measured_on_responses_in_the_generic_form(tmp_path):
    rng = np.random.default_rng(3)
    lines = ["learner,item,skills,correct,time"]
    for learner in range(20):
        for at in range(20):
            skills = "adding;taking away" if at % 2 else "adding"
            lines.append(
                f"pupil-{learner},item {rng.integers(9)},{skills},{rng.integers(2)},{1_700_000_000 + at * 4_000}"
            )
    (tmp_path / "responses.csv").write_text("\n".join(lines) + "\n")
    report = tmp_path / "report.json"
    result = run("tracing", "--data", tmp_path, "--protocol", "algebra05", "--json", report)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    assert "fitted on 280 responses of 14 learners, evaluated on 120 responses of 6 learners" in found["data"]
    assert 0 < found["models"]["cairn"]["log_loss"]["mean"] < 1


def test_the_same_data_gives_the_same_measures(tracing_folder):
    found = []
    for name in ("first.json", "second.json"):
        run("tracing", "--data", tracing_folder, "--protocol", "algebra05", "--json", tracing_folder / name)
        found.append(orjson.loads((tracing_folder / name).read_bytes())["models"])
    assert found[0] == found[1]


def test_rankings_are_measured_on_what_learners_worked_on_next(ranking_folder):
    report = ranking_folder / "report.json"
    result = run("ranking", "--data", ranking_folder, "--protocol", "assistments2009", "--json", report)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    assert "60 learners, 1,320 responses" in found["data"]
    models = found["models"]
    assert models["sequential"]["ndcg_at_10"]["low"] > models["random"]["ndcg_at_10"]["high"]
    assert models["popular_in_current_skills"]["gap_next_at_10"]["mean"] > 0.7
    assert 0 <= models["cairn"]["recall_at_50"]["mean"] <= 1
    assert set(found["differences"]) == set(models) - {"cairn"}
    (reasons,) = (check for check in found["checks"] if check["claim"] == "every reason is true")
    assert reasons["holds"], reasons
    assert "0 false, 0 crashed" in reasons["figures"]
    assert "every reason is true: cairn: " in result.output
    laws = {check["claim"].partition(":")[0]: check for check in found["checks"] if check["claim"].startswith("law ")}
    assert list(laws) == ["law urgent", "law missed", "law level", "law variety", "law mastered"]
    assert all(check["holds"] and check["required"] for check in laws.values()), laws
    assert set(found["laws"]) >= {"cairn", "next_item", "need"}
    # Some of the 60 learners have a gap, and an answer in five or two was wrong; the data have no grades.
    for law, of_law in found["laws"]["cairn"].items():
        assert of_law["held"] == of_law["cases"]
        assert (of_law["cases"] == 0) == (law == "level")
    assert "law level: nothing is over a level above the working level" in result.output


def test_the_command_fails_where_a_law_of_lists_is_broken(ranking_folder, monkeypatch):
    monkeypatch.setattr(laws_of_lists, "_URGENT_WITHIN", 0)
    result = run("ranking", "--data", ranking_folder, "--protocol", "sequences")
    assert result.exit_code == 1
    assert "NO: law urgent: the first three serve the most urgent gap that is named: cairn: 0 of " in result.output
    assert "error: it does not hold that law urgent" in result.output


def clone(lines, *, learner, twin, separator):
    """The rows of a learner again, under another id; the last response, of two rows, is missing."""
    copied = [line.replace(learner, twin, 1) for line in lines if line.startswith(f"{learner}{separator}")]
    return [*lines, *copied[:-2]]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["assistments2009", "assistments2009-skills"])
def test_learners_with_a_twin_are_as_if_they_had_never_been_in_the_data(ranking_folder, protocol):
    log, report = ranking_folder / "interactions.csv", ranking_folder / "report.json"
    alone, *_ = found_twice(ranking_folder, protocol)
    log.write_text("\n".join(clone(log.read_text().splitlines(), learner="7", twin="770", separator=",")) + "\n")
    dropped, kept, output = found_twice(ranking_folder, protocol)
    assert alone["twins"] == {"found": 0, "left_out": 0}
    assert dropped["twins"] == {"found": 1, "left_out": 1}
    assert dropped["models"] == alone["models"]
    assert "60 learners (1 near-identical to others left out)" in dropped["data"]
    assert "1 learners are left out: each is near-identical to another one" in output
    assert kept["twins"] == {"found": 1, "left_out": 0}
    assert "61 learners, " in kept["data"]
    assert kept["notes"][0].startswith("ALERT: 1 learners are near-identical to another one and were kept.")
    assert report.is_file()


def found_twice(folder, protocol):
    """The report without and with twins, and the output without."""
    arguments = ("ranking", "--data", folder, "--protocol", protocol, "--json", folder / "report.json")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    dropped = orjson.loads((folder / "report.json").read_bytes())
    assert run(*arguments, "--keep-twins").exit_code == 0
    return dropped, orjson.loads((folder / "report.json").read_bytes()), result.output


@pytest.mark.parametrize(
    ("protocol", "sides"),
    [("assistments2009-kt", "train"), ("assistments2009-kt", "test"), ("algebra05", "both")],
)
def test_no_learner_is_predicted_by_models_that_have_seen_their_twin(tracing_folder, protocol, sides):
    """The copy has fewer rows, so it is the one left out, on whichever side."""
    names = {"train": ["train.tsv"], "test": ["test.tsv"], "both": ["responses.tsv"]}[sides]
    with gzip.open(tracing_folder / "responses.tsv.gz", "rt") as file:
        every = file.read().splitlines()
    report = tracing_folder / "report.json"
    arguments = ("tracing", "--data", tracing_folder, "--protocol", protocol, "--json", report)
    run(*arguments)
    alone = orjson.loads(report.read_bytes())
    # Learner 50 is in test.tsv, learner 5 in train.tsv.
    learner = "50" if sides == "train" else "5"
    copied = [line.replace(learner, "999", 1) for line in every if line.startswith(f"{learner}\t")][:-1]
    (tracing_folder / "responses.tsv.gz").unlink()
    (tracing_folder / "responses.tsv").write_text("\n".join([*every, *copied]) + "\n")
    for name in set(names) - {"responses.tsv"}:
        file = tracing_folder / name
        file.write_text(file.read_text() + "\n".join(copied) + "\n")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    # A class of 60 with the same 24 items has a pair that is near-identical by chance.
    assert alone["twins"] == {"found": 1, "left_out": 1}
    assert found["twins"] == {"found": 2, "left_out": 2}
    if protocol == "assistments2009-kt":
        assert found["models"] == alone["models"]
    assert run(*arguments, "--keep-twins").exit_code == 0
    kept = orjson.loads(report.read_bytes())
    assert kept["twins"] == {"found": 2, "left_out": 0}
    assert kept["models"] != found["models"]


def models_of(folder, family, *arguments):
    report = folder / "report.json"
    result = run(family, "--data", folder, "--json", report, *arguments)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    return found["protocol"], found["models"], found


def test_protocols_are_named_by_the_shape_of_the_data_and_data_sets_are_other_names(ranking_folder):
    # From 8 learners no ranking is learned, which would take most of the time.
    log = ranking_folder / "interactions.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[: 1 + 44 * 8]))
    assert models_of(ranking_folder, "ranking", "--protocol", "sequences")[:2] == (
        "ranking/sequences",
        models_of(ranking_folder, "ranking", "--protocol", "assistments2009")[1],
    )
    assert models_of(ranking_folder, "ranking", "--protocol", "ranking/sequences", "--skills")[:2] == (
        "ranking/sequences-skills",
        models_of(ranking_folder, "ranking", "--protocol", "assistments2009-skills")[1],
    )


@pytest.mark.parametrize("data_set", ["assistments2009-kt", "algebra05"])
def test_learners_are_split_as_in_the_files_if_there_are_two(tracing_folder, data_set):
    for name in ("train.tsv", "test.tsv") if data_set == "algebra05" else ("responses.tsv.gz",):
        (tracing_folder / name).unlink()
    protocol, models, _ = models_of(tracing_folder, "tracing", "--protocol", "sequences")
    assert protocol == "tracing/sequences"
    assert models == models_of(tracing_folder, "tracing", "--protocol", data_set)[1]


@pytest.fixture
def interactions_folder(tmp_path):
    """18 learners take up a new resource every day, each in their own order within a season of ten."""
    rng = np.random.default_rng(2)
    lines = ["learner,resource,time"]
    for learner in range(18):
        for day in range(30):
            resource = day // 10 * 10 + int(rng.integers(10))
            lines.append(f"{learner},r{resource},{1_700_000_000 + day * 86_400 + learner}")
    (tmp_path / "interactions.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_interactions_are_split_at_random_or_at_one_time(interactions_folder):
    protocol, at_random, found = models_of(interactions_folder, "ranking", "--protocol", "interactions")
    assert (protocol, at_random) == (
        "ranking/interactions",
        models_of(interactions_folder, "ranking", "--protocol", "movielens-100k")[1],
    )
    assert "fitted on a random 75 % of each learner's" in found["data"]
    protocol, in_time, found = models_of(interactions_folder, "ranking", "--protocol", "interactions", "--time-split")
    assert protocol == "ranking/interactions-time-split"
    # Day 24 of 30, counted from 0, begins at 22:13:20.
    assert "fitted on the 80% before 2023-12-08T22:13+00:00; evaluated on 18 learners; 0 who began" in found["data"]
    # Of the season's ten resources, a learner has met a few in its first four days; the past seasons are over.
    # So the inner split chooses a week, and the model agrees with the baseline, which counts it in another way.
    assert any("popular days=7" in note for note in found["notes"])
    assert in_time["popular"] == in_time["popular_last_week"]
    assert models_of(interactions_folder, "ranking", "--protocol", "movielens-100k", "--time-split")[:2] == (
        "ranking/movielens-100k-time-split",
        in_time,
    )


def test_interactions_are_split_as_in_the_files_if_there_are_two(tmp_path):
    rng = np.random.default_rng(2)
    for name in ("train", "test"):
        rows = [f"{learner},r{resource}" for learner in range(18) for resource in rng.permutation(30)[:8]]
        (tmp_path / f"{name}.csv").write_text("\n".join(["learner,resource", *rows]) + "\n")
    protocol, models, found = models_of(tmp_path, "ranking", "--protocol", "interactions")
    assert protocol == "ranking/interactions"
    assert "split as in the files" in found["data"]
    assert models == models_of(tmp_path, "ranking", "--protocol", "mooccubex")[1]
    assert "popular_last_week" not in models


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--protocol", "sequences", "--time-split"), "a time split needs a time for every row; add the column time"),
        (("--protocol", "interactions", "--skills"), "--skills does not go with --protocol interactions"),
        (
            ("--protocol", "movies"),
            "use one of sequences, interactions, assistments2009, assistments2009-skills, mooccubex, movielens-100k",
        ),
    ],
)
def test_options_that_do_not_fit_the_data_are_reported(ranking_folder, arguments, message):
    result = run("ranking", "--data", ranking_folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_ranking_that_cannot_be_fitted_is_left_out_with_the_reason(ranking_folder):
    log = ranking_folder / "interactions.csv"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[: 1 + 44 * 8]))
    report = ranking_folder / "report.json"
    result = run("ranking", "--data", ranking_folder, "--protocol", "assistments2009", "--json", report)
    assert result.exit_code == 0, result.output
    found = orjson.loads(report.read_bytes())
    assert "als" not in found["models"]
    assert "cairn" in found["models"]
    assert any(note.startswith("als is not among the rankings: 8 learners") for note in found["notes"])


def test_the_report_is_one_page_that_needs_nothing_else(tracing_folder):
    page = tracing_folder / "report.html"
    result = run("tracing", "--data", tracing_folder, "--protocol", "algebra05", "--html", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert text.count("<svg") == 10
    assert "best_lr" in text
    assert "http" not in text
    assert "<script" not in text


def test_the_summary_names_every_model_with_its_interval(tracing_folder):
    result = run("tracing", "--data", tracing_folder, "--protocol", "algebra05")
    for name in ("constant", "elo_multi_concept", "bkt", "pfa", "filter", "cairn"):
        assert re.search(rf"{name} .*0\.\d{{3}} \[0\.\d{{3}}, 0\.\d{{3}}\]", result.stdout)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "responses.tsv.gz").unlink(), "holds neither responses.tsv.gz nor responses.tsv"),
        (lambda folder: (folder / "q_mat.npz").write_bytes(b"no"), "q_mat.npz is not a sparse matrix"),
        (
            lambda folder: (folder / "responses.tsv.gz").write_bytes(gzip.compress(b"user_id\titem_id\n1\t2\n")),
            "lacks the column timestamp",
        ),
        (
            lambda folder: (folder / "responses.tsv.gz").write_bytes(
                gzip.compress(b"user_id\titem_id\ttimestamp\tcorrect\n1\t2\t0\t7\n")
            ),
            "line 2: correct is 7, not in [0, 1]",
        ),
        (
            lambda folder: (folder / "responses.tsv.gz").write_bytes(
                gzip.compress(b"user_id\titem_id\ttimestamp\tcorrect\n1\t999\t0\t1\n")
            ),
            "line 2: item_id 999",
        ),
    ],
)
def test_unusable_files_are_reported_with_line_and_remedy(tracing_folder, change, message):
    change(tracing_folder)
    result = run("tracing", "--data", tracing_folder, "--protocol", "algebra05")
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--protocol", "nowhere"),
            "--protocol nowhere is not known; use one of sequences, assistments2009-kt, algebra05",
        ),
        (("--protocol", "algebra05", "--json", "/nowhere/at/all.json"), "the folder /nowhere/at does not exist"),
    ],
)
def test_invalid_arguments_are_reported(tracing_folder, arguments, message):
    result = run("tracing", "--data", tracing_folder, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_learner_on_both_sides_of_a_split_is_reported(tracing_folder):
    (tracing_folder / "test.tsv").write_text((tracing_folder / "train.tsv").read_text())
    result = run("tracing", "--data", tracing_folder, "--protocol", "assistments2009-kt")
    assert result.exit_code == 2
    assert "learners are in both train.tsv and test.tsv" in result.stderr
