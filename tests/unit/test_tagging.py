"""The skill tagger: its parts against refitting and brute force, all of it on texts with an obvious answer."""

import json

import lightgbm
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from services.catalog.domain.model import Resource, Skill, SkillTag
from services.catalog.tagging import growing
from services.catalog.tagging.contexts import fit_contexts
from services.catalog.tagging.examples import (
    Example,
    NotEnoughExamplesError,
    Statement,
    example_of,
    statements_for,
    statements_of,
    with_equivalents,
)
from services.catalog.tagging.manifest import MANIFEST, TaggerUnusableError
from services.catalog.tagging.near_duplicates import near_duplicate_groups
from services.catalog.tagging.precision import precision_curve
from services.catalog.tagging.ridge import fit_leaving_groups_out
from services.catalog.tagging.scores import WAYS, fit_scorer
from services.catalog.tagging.stacking import candidates_of, carried, fit_stacker, ranks
from services.catalog.tagging.store import load_tagger, save_tagger
from services.catalog.tagging.tagger import fit_tagger, targets_of, within_memory
from services.catalog.tagging.trees import LEAF, Trees
from services.catalog.tagging.vectors import TextVectors
from services.common.resource_kinds import ResourceKindName

TOPICS = {
    "fractions": "numerator denominator fraction half third simplify common",
    "triangles": "triangle angle hypotenuse side right opposite adjacent",
    "decimals": "decimal tenths hundredths point place value round",
    "probability": "dice coin chance outcome event likely sample",
    "equations": "solve variable equation unknown balance both sides",
}
FILLER = [
    "find",
    "look",
    "write",
    "show",
    "answer",
    "explain",
    "give",
    "each",
    "name",
    "tell",
    "choose",
    "work",
    "check",
    "draw",
    "use",
]


def corpus(per_topic, seed=0):
    """Texts that each draw words of one topic, and filler."""
    rng = np.random.default_rng(seed)
    examples = []
    for topic, words in TOPICS.items():
        for number in range(per_topic):
            drawn = [*rng.choice(words.split(), 3, replace=False), *rng.choice(FILLER, 6, replace=False)]
            rng.shuffle(drawn)
            examples.append(Example(f"{topic}-{number}", " ".join(drawn), (topic,)))
    return examples


@pytest.fixture(scope="module")
def fitted():
    return fit_tagger(corpus(30))


class TestNearDuplicates:
    def test_texts_that_differ_in_numbers_only_are_one_group(self):
        groups = near_duplicate_groups(["Solve x + 3 = 7 for x today", "Solve x + 5 = 9 for x today", "Name the angle"])
        assert groups.tolist() == [0, 0, 1]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("Solve for x", "Solve for x"),
            ("Add 12 and 345", "Add 6 and 78901"),
            ("Round 3.75 and 1,250 to 10ths", "Round 12 and 4 to 100ths"),
            ("Write 25% as 1/4", "Write 5% as 1/20"),
            (r"Find $$\frac{10}{24}x+16y_{12}$$", r"Find $$\frac{1}{2}x+105y_{3}$$"),
            ("12 + 345 = ", "6 +  7.5 ="),
            ("Addera ١٢ och ٣", "Addera 450 och 16"),
        ],
    )
    def test_numbers_of_any_length_make_no_difference(self, one, other):
        # The other texts make numbers rare, and therefore heavy if they counted.
        rest = ["Name the angle", "Draw 17 dice", "Is it 2023 or 1999?", ""]
        assert near_duplicate_groups([one, *rest, other]).tolist() == [0, 1, 2, 3, 4, 0]

    def test_a_chain_of_near_duplicates_is_one_group(self):
        words = [f"word{letter}" for letter in "abcdefghijkl"]
        texts = [" ".join(words[start : start + 9]) for start in (0, 1, 2, 3)]
        ends_only = near_duplicate_groups([texts[0], texts[3]], similarity_min=0.6)
        assert ends_only.tolist() == [0, 1]
        assert near_duplicate_groups(texts, similarity_min=0.6).tolist() == [0, 0, 0, 0]

    def test_texts_without_words_are_one_group_only_when_they_differ_in_numbers_only(self):
        assert near_duplicate_groups(["+ -", "= =", ""]).tolist() == [0, 1, 2]
        assert near_duplicate_groups(["", "half of it", "half of it", ""]).tolist() == [0, 1, 1, 2]
        assert near_duplicate_groups(["12 + 5", "12 - 5", "Half of it", "7 + 35"]).tolist() == [0, 1, 2, 0]


class TestRidge:
    @given(seed=st.integers(0, 10_000), size=st.integers(3, 12))
    @settings(max_examples=25, deadline=None)
    def test_left_out_scores_equal_those_of_a_fit_without_the_group(self, seed, size):
        rng = np.random.default_rng(seed)
        rows = rng.normal(size=(size, 4)).astype(np.float32)
        targets = (rng.random((size, 3)) < 0.4).astype(np.float32)
        groups = rng.integers(0, 3, size)
        kernel = rows @ rows.T
        weights, left_out = fit_leaving_groups_out(kernel.copy(), scipy.sparse.csr_matrix(targets), groups, 0.5)

        whole = np.linalg.solve(kernel + 0.5 * np.eye(size), targets)
        np.testing.assert_allclose(weights, whole, atol=1e-3)
        for group in np.unique(groups):
            out, rest = groups == group, groups != group
            refitted = np.linalg.solve(kernel[np.ix_(rest, rest)] + 0.5 * np.eye(rest.sum()), targets[rest])
            np.testing.assert_allclose(left_out[out], kernel[np.ix_(out, rest)] @ refitted, atol=2e-3)


class TestScores:
    def fit(self, examples, groups):
        skills = sorted({skill for example in examples for skill in example.skills} | {"untaught"})
        vectors, rows = TextVectors.fit([example.text for example in examples])
        statements = vectors.transform(skills)
        scorer, blocks = fit_scorer(
            rows, statements, targets_of(examples, skills), np.asarray(groups), [""] * len(examples)
        )
        return skills, vectors, scorer, blocks

    def test_the_nearest_example_of_each_skill_is_as_by_brute_force(self):
        examples = corpus(12)
        skills, vectors, scorer, _blocks = self.fit(examples, range(len(examples)))
        new = vectors.transform(["triangle side chance", "round the decimal"])
        (scored,) = scorer.score(new, ["", ""])
        similar = (new.words @ scorer.examples.words.T).toarray()
        for column, skill in enumerate(skills):
            of_skill = [row for row, example in enumerate(examples) if skill in example.skills]
            expected = similar[:, of_skill].max(axis=1) if of_skill else np.zeros(2)
            np.testing.assert_allclose(scored.values[WAYS.index("nearest by words"), :, column], expected, rtol=1e-6)

    def test_a_held_out_example_gets_no_evidence_from_its_own_group(self):
        examples = [
            *corpus(6),
            Example("a", "zebra crossing", ("zebras",)),
            Example("b", "zebra crossing", ("zebras",)),
        ]
        groups = [*range(len(examples) - 2), len(examples), len(examples)]
        skills, _, _, blocks = self.fit(examples, groups)
        (block,) = blocks
        zebras = skills.index("zebras")
        for way in WAYS[:4]:
            assert abs(block.values[WAYS.index(way), -1, zebras]) < 1e-4, way
        assert block.counts[-1, zebras] == 0
        assert block.counts[0, zebras] == 2

    def test_the_share_in_a_context_counts_groups_once_and_leaves_out_the_own_one(self):
        # Context A has the groups 0 (two copies of fractions), 1 (fractions) and 2 (decimals); B has 2 and 3.
        groups = np.array([0, 0, 1, 2, 2, 3, 4])
        targets = scipy.sparse.csr_matrix(np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 0], [1, 1]], float))
        shares, left_out = fit_contexts(["A", "A", "A", "A", "B", "B", ""], targets, groups)
        # A group that is in two contexts is shared between them; one resource without skills is added.
        np.testing.assert_allclose(shares.of(["B", "A", "unknown", ""]), [[1, 0.5], [2, 0.5], [0, 0], [0, 0]]
                                   / np.array([[2.5], [3.5], [1], [1]]), rtol=1e-6)  # fmt: skip
        expected = np.array([[1, 0.5], [1, 0.5], [1, 0.5], [2, 0], [1, 0], [0, 0.5], [0, 0]])
        sizes = np.array([[2.5], [2.5], [2.5], [3], [2], [1.5], [1]])
        np.testing.assert_allclose(left_out.rows(slice(0, 7)), expected / sizes, atol=1e-6)

    def test_the_statement_within_a_text_does_not_fade_in_a_long_one(self):
        examples = corpus(12)
        skills, vectors, scorer, _blocks = self.fit(examples, range(len(examples)))
        short, long = "fractions", "fractions " + " ".join(FILLER)
        (scored,) = scorer.score(vectors.transform([short, long, "of"]), [""] * 3)
        column = skills.index("fractions")
        for kind in ("words", "pieces"):
            within = scored.values[WAYS.index(f"statement within by {kind}"), :, column]
            np.testing.assert_allclose(within, [within[0], within[0], 0], rtol=1e-5)

    def test_places_are_counted_within_each_text(self):
        texts = np.array([0, 0, 0, 2, 2])
        assert ranks(texts, np.array([0.1, 0.9, 0.9, -1.0, 3.0])).tolist() == [2, 0, 1, 1, 0]


class TestStacking:
    def test_confidences_rise_with_the_sums_and_are_never_certain(self, fitted):
        tagger, _held_out = fitted
        confidences = tagger.stacker.confidence(np.linspace(-50, 50, 1_000))
        assert (np.diff(confidences) >= 0).all()
        assert 0 < confidences[0] < confidences[-1] < 1

    def test_calibration_uses_folds_that_the_weights_have_not_seen(self):
        # Random features carry no information: fitted sums would look informative; held-out ones must not.
        rng = np.random.default_rng(0)
        examples = corpus(12)
        skills = sorted(TOPICS)
        targets = targets_of(examples, skills)
        vectors, rows = TextVectors.fit([example.text for example in examples])
        statements = vectors.transform(skills)
        _, blocks = fit_scorer(rows, statements, targets, np.arange(len(examples)), [""] * len(examples))
        candidates = candidates_of(blocks, np.ones(len(skills), bool))
        candidates.features[:] = rng.normal(size=candidates.features.shape)
        _, held_out, _ = fit_stacker(candidates, targets, np.arange(len(examples)), seed=0)
        right = np.asarray(targets[candidates.texts, candidates.skills]).ravel() > 0
        assert abs(held_out[right].mean() - held_out[~right].mean()) < 0.5 * held_out.std()


class TestTrees:
    def test_a_row_takes_the_value_of_the_leaf_that_each_tree_leads_it_to(self):
        # feature 0 at most 1: 10; else feature 1 at most 5: 20, else 30. And a tree that is a leaf: 1.
        trees = Trees(
            roots=np.array([0, 5], np.int32),
            split_features=np.array([0, LEAF, 1, LEAF, LEAF, LEAF], np.int32),
            thresholds=np.array([1.0, 0, 5.0, 0, 0, 0]),
            lefts=np.array([1, 1, 3, 3, 4, 5], np.int32),
            rights=np.array([2, 1, 4, 3, 4, 5], np.int32),
            leaf_values=np.array([0, 10.0, 0, 20.0, 30.0, 1.0]),
        )
        rows = np.array([[1, 9], [1.5, 5], [1.5, 5.5]], np.float32)
        assert trees.total(rows).tolist() == [11, 21, 31]
        assert trees.total(np.repeat(rows, 600, axis=0)).tolist() == np.repeat([11.0, 21.0, 31.0], 600).tolist()

    def test_grown_trees_predict_what_lightgbm_does(self):
        rng = np.random.default_rng(0)
        features = rng.normal(size=(2_000, 5)).astype(np.float32)
        right = features[:, 0] * features[:, 1] + rng.normal(size=2_000) > 0
        data = lightgbm.Dataset(features, right)
        booster = lightgbm.train(growing._PARAMETERS | {"seed": 4}, data, num_boost_round=growing._TREES)
        expected = booster.predict(features, raw_score=True, num_threads=1)
        np.testing.assert_allclose(growing.grow_trees(features, right, 4).total(features), expected, atol=1e-12)


class TestPrecision:
    def curve(self, confidences, right, groups=None, carried=10):
        size = len(confidences)
        groups = np.arange(size) if groups is None else np.asarray(groups)
        return precision_curve(np.asarray(confidences, float), np.asarray(right), np.arange(size), groups, carried)

    def test_the_obvious_answer(self):
        curve = self.curve([0.9, 0.8, 0.8, 0.1], [True, True, False, False], carried=2)
        assert [level.confidence for level in curve.levels] == [0.1, 0.8, 0.9]
        at = curve.at(0.5)
        assert (at.tags, at.precision, at.recall, at.coverage) == (3, 2 / 3, 1.0, 0.75)
        assert curve.best_f1().confidence == 0.8
        assert curve.at(0.95) is None

    def test_a_few_right_tags_do_not_support_a_precision(self):
        assert self.curve([0.99] * 5, [True] * 5).supporting(0.9) is None
        assert self.curve([0.99] * 40, [True] * 40).supporting(0.9).coverage == 1

    def test_near_duplicates_count_as_one_observation(self):
        right = [True] * 190 + [False] * 10
        alone = self.curve([0.9] * 200, right).levels[0].precision_low
        together = self.curve([0.9] * 200, right, groups=[place // 10 for place in range(200)]).levels[0].precision_low
        assert together < alone - 0.02

    def test_the_supported_level_with_the_most_coverage_is_taken(self):
        confidences = np.linspace(1, 0, 1_000)
        right = np.arange(1_000) % 20 != 0
        right[500:] = np.arange(500) % 2 == 0
        level = self.curve(confidences, right, carried=1_000).supporting(0.9)
        assert 0.45 < level.coverage < 0.6
        assert level.precision_low >= 0.9


class TestTagger:
    def test_new_texts_get_the_skill_of_their_topic(self, fitted):
        tagger, _ = fitted
        hidden = corpus(8, seed=1)
        suggestions = tagger.suggest(hidden)
        right = [found[0].skill in example.skills for found, example in zip(suggestions, hidden, strict=True)]
        assert np.mean(right) > 0.9
        for found in suggestions:
            confidences = [suggestion.confidence for suggestion in found]
            assert confidences == sorted(confidences, reverse=True)
            assert len(found) <= 5

    def test_a_context_that_all_resources_share_makes_no_difference(self, fitted):
        # Each left-out example takes one from its own skill's count; that must not be learned.
        def inside(examples):
            return [Example(one.id, f"School\n{one.text}", one.skills, one.text) for one in examples]

        tagger, _ = fit_tagger(inside(corpus(30)))
        hidden = corpus(8, seed=1)
        expected = [found[0] for found in fitted[0].suggest(hidden)]
        found = [found[0] for found in tagger.suggest(inside(hidden))]
        assert [one.skill for one in found] == [one.skill for one in expected]
        confidences = np.array([[one.confidence for one in firsts] for firsts in (found, expected)])
        assert abs(np.subtract(*confidences)).mean() < 0.02
        (found,) = tagger.suggest([Example("new", "School\nqqq zzz", own_text="qqq zzz")])
        assert all(suggestion.confidence < 0.5 for suggestion in found)

    def test_the_card_names_the_quality_and_the_number_of_examples(self, fitted):
        card = fitted[0].card
        assert card.examples == 150
        assert card.examples_per_skill == dict.fromkeys(sorted(TOPICS), 30)
        assert card.recall_at_5 > 0.95
        assert card.curve.best_f1().f1 > 0.8

    def test_the_same_inputs_give_the_same_suggestions(self, fitted):
        again, _ = fit_tagger(corpus(30))
        texts = corpus(4, seed=2)
        assert again.suggest(texts) == fitted[0].suggest(texts)

    def test_a_skill_without_examples_is_suggested_by_its_statement(self):
        tagger, _ = fit_tagger(corpus(30), [Statement("astronomy", "planets and stars of the solar system")])
        (found,) = tagger.suggest([Example("new", "the planets and stars of our solar system")])
        assert "astronomy" in [suggestion.skill for suggestion in found]
        assert tagger.card.examples_per_skill["astronomy"] == 0

    def test_a_text_of_unknown_words_gets_no_confidence(self, fitted):
        (found,) = fitted[0].suggest([Example("new", "qqq zzz")])
        assert all(suggestion.confidence < 0.5 for suggestion in found)

    def test_suggestions_for_a_text_do_not_depend_on_the_other_texts(self, fitted):
        texts = corpus(2, seed=3)
        assert fitted[0].suggest(texts)[3] == fitted[0].suggest(texts[3:4])[0]

    @pytest.mark.parametrize("examples", [[], corpus(3), [Example(str(n), "the same", ("a",)) for n in range(50)]])
    def test_too_few_examples_are_an_error(self, examples):
        with pytest.raises(NotEnoughExamplesError, match="tag more resources by hand first"):
            fit_tagger(examples)

    def test_a_framework_without_examples_is_ranked_by_its_statements_and_never_applied(self):
        new = [
            Statement("m.1", "numerator and denominator of a fraction", "new"),
            Statement("m.2", "the hypotenuse of a right triangle", "new"),
        ]
        tagger, _ = fit_tagger(corpus(60), [*(Statement(topic, topic) for topic in TOPICS), *new])
        found = tagger.suggest([Example("x", "look at the hypotenuse of this right triangle")], limit=9)[0]
        confidences = {one.skill: one.confidence for one in found}
        assert confidences["m.2"] > confidences["m.1"]
        assert found[0].skill == "triangles"
        # All topics are applied: so much is right that it is no lack of examples that keeps the others back.
        assert tagger.applied_from(0.9).keys() == TOPICS.keys()

    def test_skills_with_and_without_examples_have_thresholds_of_their_own(self):
        # Fifty skills have one example each, whose text says nothing of the skill.
        rng = np.random.default_rng(0)
        alone = [Example(f"a{n}", " ".join(rng.permutation(FILLER)[:9]) + f" only{n}", (f"t{n}",)) for n in range(50)]
        tagger, held_out = fit_tagger([*corpus(60), *alone])
        with_examples, without = tagger.card.applied
        assert (with_examples.with_examples, without.with_examples) == (True, False)
        assert with_examples.curve.supporting(0.9)
        assert without.curve.supporting(0.9) is None
        assert tagger.applied_from(0.9).keys() >= TOPICS.keys()
        assert not held_out.assessment.candidates.with_examples.all()

    def test_a_crosswalk_gives_a_skill_the_examples_of_those_that_are_the_same(self):
        known = [
            Statement("fractions", "fractions", "ours", ("urn:f",)),
            Statement("F.1", "parts of a whole", "theirs", ("urn:f",)),
            Statement("F.2", "something else", "theirs"),
        ]
        assert with_equivalents([Example("r", "text", ("fractions",)), Example("s", "text")], known) == [
            Example("r", "text", ("fractions", "F.1")),
            Example("s", "text"),
        ]
        tagger, _ = fit_tagger(corpus(30), known)
        assert tagger.card.examples_per_skill["F.1"] == 30
        found = tagger.suggest([Example("new", "numerator denominator half third")], limit=2)[0]
        assert {one.skill for one in found} == {"fractions", "F.1"}

    def test_equal_numbers_of_examples_give_nothing_away(self):
        # Each skill has 30 examples with texts that say nothing: a left-out one leaves its own skill 29.
        rng = np.random.default_rng(0)
        examples = [Example(str(n), " ".join(rng.permutation(FILLER)[:7]), (f"s{n % 5}",)) for n in range(150)]
        _, held_out = fit_tagger(examples)
        first = ranks(held_out.assessment.candidates.texts, held_out.assessment.sums) == 0
        assert carried(held_out.assessment.candidates, held_out.targets)[first].mean() < 0.4

    def test_untagged_resources_are_skipped(self):
        assert fit_tagger([*corpus(30), Example("bare", "no skills here")])[0].card.examples == 150

    def test_when_memory_is_short_the_largest_skills_are_reduced(self):
        examples = [*corpus(20)[:20], *(Example(f"rare-{n}", "text", ("fractions", "rare")) for n in range(3))]
        kept = within_memory(examples, skills=2, memory_bytes_max=4 * 10**2 + 4 * (len(WAYS) + 3) * 2 * 10, seed=0)
        assert len(kept) == 10
        assert sum("rare" in example.skills for example in kept) == 3
        assert within_memory(examples, skills=2, memory_bytes_max=10**6, seed=0) == examples


class TestExamples:
    def test_a_resource_has_its_words_and_all_its_skills(self):
        resource = Resource(
            id="r", title="Halves", kind=ResourceKindName.VIDEO, description="Cut a cake.", provider="Cake school",
            teaches=(SkillTag("a", 1), SkillTag("b", 0.5)), assesses=(SkillTag("a", 1),),
        )  # fmt: skip
        assert example_of(resource) == Example(
            "r", "Cake school\nHalves\nCut a cake.", ("a", "b"), "Halves\nCut a cake."
        )

    def test_a_skill_without_words_is_known_by_its_id(self):
        standard = Skill("x", "ccss", code="3.NF.1", statement="Halves.", parent="y", equivalents=("z",))
        cluster = Skill("y", "ccss", statement="Fractions as numbers.", parent="not in the catalog")
        assert statements_of([Skill("add_fractions"), standard, cluster]) == [
            Statement("add_fractions", "add fractions"),
            Statement("x", "3.NF.1 Halves. Fractions as numbers.", "ccss", ("z",)),
            Statement("y", "Fractions as numbers.", "ccss"),
        ]
        found = statements_for([Example("r", "", ("b_c",))], [Statement("a", "first")])
        assert found == [Statement("a", "first"), Statement("b_c", "b c")]


class TestStore:
    def test_a_saved_tagger_suggests_the_same(self, fitted, tmp_path):
        save_tagger(fitted[0], tmp_path / "tagger")
        loaded = load_tagger(tmp_path / "tagger")
        texts = corpus(4, seed=2)
        assert loaded.suggest(texts) == fitted[0].suggest(texts)
        assert loaded.card == fitted[0].card

    def test_a_saved_tagger_still_ranks_a_framework_without_examples(self, tmp_path):
        tagger, _ = fit_tagger(corpus(20), [Statement("m.1", "hypotenuse", "new")])
        save_tagger(tagger, tmp_path / "tagger")
        (found,) = load_tagger(tmp_path / "tagger").suggest([Example("x", "hypotenuse")])
        assert (found,) == tuple(tagger.suggest([Example("x", "hypotenuse")]))
        assert "m.1" in [one.skill for one in found]

    def test_saving_the_same_tagger_gives_the_same_files(self, fitted, tmp_path):
        for name in ("one", "two"):
            save_tagger(fitted[0], tmp_path / name)
        one, two = (json.loads((tmp_path / name / MANIFEST).read_text()) for name in ("one", "two"))
        assert one == two

    @pytest.mark.parametrize("name", ["arrays.npz", "names.json"])
    def test_a_damaged_file_is_noticed(self, fitted, tmp_path, name):
        save_tagger(fitted[0], tmp_path)
        content = bytearray((tmp_path / name).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TaggerUnusableError, match=f"{name} is not the file that was saved"):
            load_tagger(tmp_path)

    def test_a_folder_without_a_tagger_is_reported(self, tmp_path):
        with pytest.raises(TaggerUnusableError, match="there is no tagger in"):
            load_tagger(tmp_path / "absent")

    def test_another_format_is_refused_with_the_remedy(self, fitted, tmp_path):
        save_tagger(fitted[0], tmp_path)
        manifest = json.loads((tmp_path / MANIFEST).read_text()) | {"format": "cairn-skill-tagger/9"}
        (tmp_path / MANIFEST).write_text(json.dumps(manifest))
        with pytest.raises(TaggerUnusableError, match="fit the tagger again"):
            load_tagger(tmp_path)
