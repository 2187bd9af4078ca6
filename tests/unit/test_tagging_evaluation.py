"""The evaluation of the tagger on data with a known answer, and the input and output of its command."""

import gzip
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from services.catalog.cli.evaluate import app
from services.catalog.tagging.data_files import DataUnusableError, read_examples
from services.catalog.tagging.evaluation import evaluate
from services.catalog.tagging.examples import Example, NotEnoughExamplesError, Statement
from services.catalog.tagging.new_framework import evaluate_new_framework
from services.catalog.tagging.vectors import TextVectors

DATA = Path(os.environ.get("CAIRN_DATA", "../shared/data")) / "oatutor"
WORDS = [
    first + second for first in ("ba", "ke", "li", "mo", "nu", "ra", "se") for second in ("dor", "fin", "gul", "pat")
]

runner = CliRunner(env={"COLUMNS": "80"})


def separable(count, skills, seed=0):
    """Each skill has four words of its own; each text draws three of them and four common words."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(count):
        skill = number % skills
        drawn = [*rng.choice(WORDS[4 * skill : 4 * skill + 4], 3), *rng.choice(["of", "and", "with", "for", "by"], 4)]
        examples.append(Example(f"r{number}", " ".join([*drawn, f"own{rng.integers(60)}"]), (f"s{skill}",)))
    return examples


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(separable(180, 6), protocol="tagging/test", commit="abc")


def test_skills_named_in_the_words_are_found(evaluation):
    assert evaluation.models["cairn"]["micro_f1"].mean > 0.95
    assert evaluation.models["cairn"]["recall_at_5"].mean > 0.95
    assert evaluation.models["majority"]["precision_at_1"].mean < 0.3


def test_tags_are_applied_only_if_they_are_right_often_enough(evaluation):
    served = evaluation.models["cairn"]
    assert served["auto_apply_coverage"].mean > 0.8
    assert served["auto_apply_precision"].mean > 0.9
    assert "auto_apply_precision" not in evaluation.models["majority"]


def test_every_measure_lies_within_its_interval(evaluation):
    for models in (evaluation.models, evaluation.differences):
        for measures in models.values():
            for measure, estimate in measures.items():
                assert estimate.low <= estimate.mean + 1e-9, measure
                if measure != "ece":  # A sum of absolute values grows under resampling.
                    assert estimate.mean <= estimate.high + 1e-9, measure


def test_the_differences_are_those_of_the_models(evaluation):
    for name, measures in evaluation.differences.items():
        for measure, difference in measures.items():
            expected = evaluation.models["cairn"][measure].mean - evaluation.models[name][measure].mean
            assert difference.mean == pytest.approx(expected)


def test_a_copy_of_a_held_out_text_is_never_used_for_training():
    # Only its copy reveals the skill of a text: skills are random, and each text occurs twice.
    rng = np.random.default_rng(0)
    examples = []
    for number in range(100):
        words, skill = " ".join(rng.choice(WORDS, 8)), f"s{rng.integers(20)}"
        examples += [Example(f"a{number}", words, (skill,)), Example(f"b{number}", words, (skill,))]
    measured = evaluate(examples, [Statement(f"s{number}", f"s{number}") for number in range(20)], protocol="t")
    assert measured.models["nearest neighbour"]["precision_at_1"].mean < 0.2
    assert measured.models["cairn"]["precision_at_1"].mean < 0.2
    assert measured.models["cairn"]["auto_apply_coverage"].mean < 0.1


def test_the_same_seed_gives_the_same_figures(evaluation):
    assert evaluate(separable(180, 6), protocol="tagging/test", commit="abc").as_json() == evaluation.as_json()


def test_too_few_examples_for_five_folds_are_refused():
    with pytest.raises(NotEnoughExamplesError, match="there are 60 tagged resources; five folds need at least 100"):
        evaluate(separable(60, 6), protocol="t")


def test_texts_that_differ_in_their_numbers_only_are_too_few_groups_for_five_folds():
    examples = [Example(f"r{number}", f"add {number} and {number % 7} apples", ("s1",)) for number in range(120)]
    with pytest.raises(NotEnoughExamplesError, match=r"there are 1 groups .* five folds need at least 13"):
        evaluate(examples, protocol="tagged")


class TestNewFramework:
    def examples(self, count, skills):
        """Texts that name their skill, as its statement does: the evaluation sees no example of it."""
        found = separable(count, skills)
        return [replace(one, skills=(f"skill {int(one.id[1:]) % skills}",)) for one in found]

    def statements(self, skills):
        return [
            Statement(f"skill {number}", " ".join(WORDS[4 * number : 4 * number + 4]), "whatever the data says")
            for number in range(skills)
        ]

    def test_skills_without_examples_are_found_by_their_statements_and_not_applied(self):
        measured = evaluate_new_framework(self.examples(280, 7), self.statements(7), protocol="t")
        served = measured.models["cairn"]
        assert served["precision_at_1"].mean > 0.95
        assert served["recall_at_5"].mean > 0.95
        assert served["confident_coverage"].mean > 0.5
        assert served["auto_apply_coverage"].mean == 0
        assert "auto_apply_precision" not in served
        assert measured.data.endswith("7 skills without examples, 5 folds of skills")

    def test_statements_that_say_nothing_are_found_by_chance(self):
        silent = [Statement(f"skill {number}", f"zz{number}") for number in range(7)]
        measured = evaluate_new_framework(self.examples(140, 7), silent, protocol="t")
        # A fold has one or two skills.
        assert measured.models["cairn"]["precision_at_1"].mean < 0.85

    def test_the_tagger_may_learn_from_another_framework(self):
        other = separable(140, 5, seed=1)
        names = [Statement(f"s{number}", " ".join(WORDS[4 * number : 4 * number + 3])) for number in range(5)]
        measured = evaluate_new_framework(
            self.examples(140, 7), self.statements(7), learned_from=(other, names), protocol="t"
        )
        assert measured.models["cairn"]["precision_at_1"].mean > 0.9
        assert measured.data.endswith("7 skills without examples, learned from another framework")

    def test_data_to_learn_from_that_has_the_skills_is_refused(self):
        data = self.examples(140, 7)
        with pytest.raises(NotEnoughExamplesError, match="the skill 'skill 0' is in both data sets"):
            evaluate_new_framework(data, learned_from=(data, ()), protocol="t")


class TestReading:
    def test_resources_with_text_context_and_skills(self, tmp_path):
        lines = [{"id": 1, "text": "Add halves.", "context": "Unit 2", "skills": ["a", {"skill": "b"}, "a"]}]
        (tmp_path / "resources.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n\n")
        (tmp_path / "skills.jsonl").write_text('{"id": "a_b", "statement": ""}\n{"id": "c", "statement": "Count."}\n')
        examples, statements = read_examples(tmp_path, with_context=True)
        assert examples == [Example("1", "Unit 2\nAdd halves.", ("a", "b"), "Add halves.")]
        assert statements == [Statement("a_b", "a b"), Statement("c", "Count.")]
        assert read_examples(tmp_path, with_context=False)[0][0].text == "Add halves."

    def test_skills_with_their_parents_frameworks_and_equivalents(self, tmp_path):
        (tmp_path / "resources.jsonl").write_text('{"id": "r", "text": "t", "skills": ["a"]}\n')
        skills = [
            {"id": "a", "statement": "Halves.", "code": "1.G", "parent": "b", "framework": "f", "equivalents": ["u"]},
            {"id": "b", "statement": "Shapes."},
        ]
        (tmp_path / "skills.jsonl").write_text("\n".join(map(json.dumps, skills)))
        _, statements = read_examples(tmp_path, with_context=True)
        assert statements == [Statement("a", "1.G Halves. Shapes.", "f", ("u",)), Statement("b", "Shapes.")]
        (tmp_path / "skills.jsonl").write_text('{"id": "a", "equivalents": "u"}')
        with pytest.raises(DataUnusableError, match=r"skills.jsonl:1: equivalents is 'u'; write a list of names"):
            read_examples(tmp_path, with_context=True)

    def test_exercises_of_the_coherence_map_without_the_code_that_gives_them_away(self, tmp_path):
        content = {
            "standards": {
                "1": {"ccmathcluster_id": "7", "ordinal": "2", "desc": "<p>Add&nbsp;halves.</p>",
                      "example_problem": "<h1>4.NF, OA Cakes</h1>\r\n<p>Cut 4 cakes.</p>"},
                "2": {"ccmathcluster_id": "7", "ordinal": "3", "desc": "Compare.",
                      "example_problem": "<h1>Cakes</h1><p>Cut 4 cakes.</p>"},
                "3": {"ccmathcluster_id": "8", "ordinal": "1", "desc": "Prove.", "example_problem": None},
            },
            "clusters": {
                "7": {"ccmathdomain_id": "5", "ordinal": "A", "name": "Build Fractions."},
                "8": {"ccmathdomain_id": "6", "ordinal": "C", "name": "Triangles."},
            },
            "domains": {"5": {"grade": "4", "ordinal": "NF"}, "6": {"grade": "HS", "ordinal": "G-CO"}},
        }  # fmt: skip
        with gzip.open(tmp_path / "coherence.json.gz", "wt") as file:
            file.write(json.dumps(content))
        examples, statements = read_examples(tmp_path, with_context=True)
        assert examples == [Example("exercise 0", "Cakes Cut 4 cakes.", ("4.NF.A.2", "4.NF.A.3"))]
        assert statements == [
            Statement("4.NF.A.2", "4.NF.A.2 Add halves. Build Fractions.", "Common Core"),
            Statement("4.NF.A.3", "4.NF.A.3 Compare. Build Fractions.", "Common Core"),
            Statement("G-CO.C.1", "G-CO.C.1 Prove. Triangles.", "Common Core"),
        ]
        (tmp_path / "coherence.json.gz").write_bytes(gzip.compress(b'{"standards": {}}'))
        with pytest.raises(DataUnusableError, match=r"coherence.json.gz is not in the format .*clusters"):
            read_examples(tmp_path, with_context=True)

    def test_problems_of_oatutor(self, tmp_path):
        step = {
            "stepTitle": "Solve",
            "stepBody": "",
            "choices": ["one", "two"],
            "stepAnswer": ["hidden"],
            "skills": ["z"],
        }
        problem = {
            "id": "p",
            "title": "T",
            "body": "B",
            "steps": [step],
            "lesson": "L",
            "courseName": "C",
            "skills": ["z"],
        }
        with gzip.open(tmp_path / "problems.jsonl.gz", "wt") as file:
            file.write(json.dumps(problem))
        (example,), _ = read_examples(tmp_path, with_context=True)
        assert example == Example("p", "C\nL\nT\nB\nSolve\none\ntwo", ("z",), "T\nB\nSolve\none\ntwo")

    @pytest.mark.parametrize(
        ("line", "reason"),
        [
            ("{", r"resources.jsonl:2 is not JSON"),
            ("[]", r"resources.jsonl:2 is not a JSON object"),
            ('{"id": "x", "text": "t", "skills": [], "text": "u"}', r"resources.jsonl:2 gives 'text' twice"),
            ('{"id": "x", "text": "t"}', r"resources.jsonl:2 is not in the format .*skills"),
            ('{"id": "x", "text": "t", "skills": "a"}', r"resources.jsonl:2 .*skills must be a list"),
        ],
    )
    def test_a_malformed_line_is_named(self, tmp_path, line, reason):
        (tmp_path / "resources.jsonl").write_text('{"id": "r", "text": "t", "skills": []}\n' + line)
        with pytest.raises(DataUnusableError, match=reason):
            read_examples(tmp_path, with_context=True)

    def test_a_file_that_is_not_gzip_is_reported(self, tmp_path):
        (tmp_path / "resources.jsonl.gz").write_bytes(b"plain")
        with pytest.raises(DataUnusableError, match=r"resources.jsonl.gz cannot be read"):
            read_examples(tmp_path, with_context=True)

    @pytest.mark.skipif(not DATA.is_dir(), reason=f"the OATutor content is not in {DATA}; set CAIRN_DATA to its parent")
    def test_the_real_problems_are_all_read(self):
        examples, _ = read_examples(DATA, with_context=True)
        assert len(examples) == 12_814
        assert len({skill for example in examples for skill in example.skills}) == 1_233
        assert all(example.skills and example.own_text for example in examples)
        assert not any(example.id in example.text for example in examples)


class TestCommand:
    def write(self, folder, examples):
        lines = [json.dumps({"id": one.id, "text": one.text, "skills": one.skills}) for one in examples]
        (folder / "resources.jsonl").write_text("\n".join(lines))

    def test_the_figures_are_printed_and_written(self, tmp_path):
        self.write(tmp_path, separable(120, 4))
        file = tmp_path / "figures.json"
        file.write_text("older")
        done = runner.invoke(app, ["--data", str(tmp_path), "--protocol", "tagging", "--json", str(file)])
        assert done.exit_code == 0, done.stderr
        assert max(map(len, done.stdout.splitlines()[:24])) <= 80
        assert "120 tagged resources" in done.stdout
        assert "fold 5 of 5" in done.stderr
        written = json.loads(file.read_text())
        assert written["protocol"] == "tagging/tagged"
        assert {"protocol", "data", "commit", "models"} <= written.keys()
        assert set(written["models"]) == {"cairn", "nearest neighbour", "ridge", "majority"}
        for measure in ("micro_f1", "recall_at_5", "auto_apply_coverage", "auto_apply_precision", "ece"):
            assert written["models"]["cairn"][measure].keys() == {"mean", "low", "high"}

    def test_an_unknown_protocol_is_refused_with_the_known_ones(self, tmp_path):
        done = runner.invoke(app, ["--data", str(tmp_path), "--protocol", "tagging/oat"])
        assert done.exit_code == 2
        assert (
            "--protocol tagging/oat is not known; choose one of tagged, tagged-text, oatutor, oatutor-text"
            in done.stderr
        )

    def test_a_file_in_a_missing_folder_is_refused_before_the_evaluation(self, tmp_path):
        done = runner.invoke(app, ["--data", str(tmp_path), "--json", str(tmp_path / "absent" / "figures.json")])
        assert done.exit_code == 2
        assert "does not exist; create it first" in done.stderr

    def test_a_folder_without_data_is_named(self, tmp_path):
        done = runner.invoke(app, ["--data", str(tmp_path)])
        assert done.exit_code == 2
        assert "has none of resources.jsonl, problems.jsonl and coherence.json" in done.stderr

    def test_too_little_data_is_an_error(self, tmp_path):
        self.write(tmp_path, separable(20, 4))
        done = runner.invoke(app, ["--data", str(tmp_path)])
        assert done.exit_code == 2
        assert "there are 20 tagged resources" in done.stderr


@pytest.mark.parametrize("text", ["", "the same words"])
def test_texts_without_anything_that_tells_them_apart_are_refused(text):
    examples = [Example(f"r{number}", text, (f"s{number % 8}",)) for number in range(120)]
    statements = [Statement(f"s{number}", text) for number in range(8)]
    for learned_from in (None, (examples, statements)):
        new = [replace(one, skills=(f"n{one.skills[0]}",)) for one in examples] if learned_from else examples
        with pytest.raises(NotEnoughExamplesError):
            evaluate_new_framework(new, statements, learned_from=learned_from, protocol="tagging/new-framework")


def test_a_vocabulary_without_terms_is_refused_with_the_remedy():
    with pytest.raises(NotEnoughExamplesError, match=r"nothing in the texts of 120 .* add their texts"):
        TextVectors.fit(["the same words"] * 120)


def test_the_command_says_how_much_data_a_new_framework_takes(tmp_path):
    line = json.dumps({"id": "r", "text": "one", "skills": ["s"]})
    (tmp_path / "resources.jsonl").write_text(line + "\n", encoding="utf-8")
    arguments = ["--data", str(tmp_path), "--protocol", "new-framework"]
    for more, said in ([], "at least 5 tagged resources and 5 skills"), (["--json", str(tmp_path)], "is a folder"):
        result = runner.invoke(app, [*arguments, *more])
        assert (result.exit_code, said in result.output) == (2, True), result.output
