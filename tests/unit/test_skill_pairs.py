"""What responses say about pairs of skills, compared with a second computation, one response after another."""

import math

import numpy as np
import pytest

from services.recommender.domain.learner.parameters import FilterSettings
from services.recommender.domain.training.prerequisites import Verdict, judge
from services.recommender.domain.training.responses import ResponseTableBuilder
from services.recommender.models.tracing import skill_pairs as measured
from services.recommender.models.tracing.difficulty_fit import fit_difficulties
from services.recommender.models.tracing.skill_pairs import skill_pairs
from tests.courses import taken

SETTINGS = FilterSettings(learner_variance=1.0, skill_variance=0.8)


def mixed(learners, seed):
    """Responses with no, one and two skills, to items and to none."""
    rng = np.random.default_rng(seed)
    builder = ResponseTableBuilder()
    for learner in range(learners):
        ability, on = rng.normal(), rng.normal(0.0, 1.0, 4)
        for _ in range(14):
            skills = rng.choice(4, size=rng.choice([0, 1, 1, 1, 2]), replace=False)
            logit = ability + (on[skills].mean() if len(skills) else 0.0)
            item = f"{'-'.join(map(str, sorted(skills)))}#{rng.integers(3)}" if rng.random() < 0.9 else ""
            right = rng.random() < 1.0 / (1.0 + math.exp(-logit))
            builder.append(
                learner=f"{learner:04d}", item=item, skills=[f"s{skill}" for skill in skills], response=float(right)
            )
    return builder.build()


def filtered(rows, difficulties, table):
    """The filter by its formulas, over one learner: before each row the ability and those on skills, and the last."""
    settings = difficulties.settings
    ability, variance, on = 0.0, settings.learner_variance, {}
    before = []
    for row in rows:
        skills = table.skill[table.skill_start[row] : table.skill_start[row + 1]].tolist()
        before.append((ability, {skill: mean for skill, (mean, _, _) in on.items()}))
        share = 1.0 / max(len(skills), 1)
        variance = min(variance + settings.learner_noise, settings.learner_variance)
        item = int(table.item[row])
        logit = settings.base + ability - (difficulties.item_mean[item] if item >= 0 else 0.0)
        spread = variance + (difficulties.item_variance[item] if item >= 0 else settings.item_difficulty_variance)
        for skill in skills:
            mean, own, count = on.get(skill, (0.0, settings.skill_variance, 0))
            own = min(own + settings.skill_noise, settings.skill_variance)
            on[skill] = mean, own, count + 1
            logit += share * (mean - difficulties.skill_mean[skill])
            spread += share * share * (own + difficulties.skill_variance[skill])
        chance = 1.0 / (1.0 + math.exp(-logit))
        information, surprise = chance * (1.0 - chance), float(table.response[row]) - chance
        damping = 1.0 + information * spread
        ability += variance * surprise / damping
        variance = max(variance - variance**2 * information / damping, settings.variance_floor)
        for skill in skills:
            mean, own, count = on[skill]
            moved = max(own - share**2 * own**2 * information / damping, settings.variance_floor)
            on[skill] = mean + share * own * surprise / damping, moved, count
    return before, (ability, variance, on)


def second_computation(table, difficulties):
    """Rows of the regression by pair of skills, and what each learner knows at the end."""
    terms, ends = {}, []
    for learner in range(len(table.learners)):
        rows = np.flatnonzero(table.learner == learner).tolist()
        about = [table.skill[table.skill_start[row] : table.skill_start[row + 1]].tolist() for row in rows]
        before, end = filtered(rows, difficulties, table)
        ends.append(end)
        for second in {skill for skills in about for skill in skills}:
            places = [place for place, skills in enumerate(about) if second in skills][:3]
            ability, means = before[places[0]]
            for first, mean in means.items():
                surprise = information = 0.0
                for place in places:
                    if first in about[place]:
                        continue
                    item = int(table.item[rows[place]])
                    logit = difficulties.settings.base + ability - (difficulties.item_mean[item] if item >= 0 else 0.0)
                    logit += np.mean([means.get(one, 0.0) - difficulties.skill_mean[one] for one in about[place]])
                    chance = 1.0 / (1.0 + math.exp(-logit))
                    surprise += float(table.response[rows[place]]) - chance
                    information += chance * (1.0 - chance)
                if information:
                    terms.setdefault((first, second), []).append((surprise, information, 1.0, ability, mean))
    return terms, ends


@pytest.fixture(scope="module", params=["mixed", "course"])
def case(request):
    table = mixed(150, 5) if request.param == "mixed" else taken(120, seed=3)
    difficulties = fit_difficulties(table, SETTINGS)
    return table, difficulties, skill_pairs(table, difficulties)


def test_slopes_and_errors_are_those_of_a_regression_by_learner(case):
    table, difficulties, pairs = case
    terms, _ = second_computation(table, difficulties)
    found = dict(
        zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), range(len(pairs.first)), strict=True)
    )
    places = [table.skills.index(skill) for skill in pairs.skills]
    assert {(places[first], places[second]) for first, second in found} == set(terms)
    for (first, second), row in found.items():
        rows = np.array(terms[places[first], places[second]])
        assert pairs.learners[row] == len(rows)
        if len(rows) < 10:
            # A regression on a handful of learners has no solution that two computations agree on.
            continue
        surprise, weight, known = rows[:, 0], rows[:, 1], rows[:, 2:]
        bread = np.linalg.inv(known.T @ (weight[:, None] * known))
        coefficients = bread @ (known.T @ surprise)
        meat = (known * surprise[:, None]).T @ (known * surprise[:, None])
        # The kernel keeps abilities in single precision.
        assert pairs.slope[row] == pytest.approx(coefficients[2], abs=1e-4)
        assert pairs.error[row] == pytest.approx(math.sqrt((bread @ meat @ bread)[2, 2]), rel=1e-3)


def test_learners_are_counted_by_what_they_know_at_the_end(case):
    table, difficulties, pairs = case
    _, ends = second_computation(table, difficulties)
    bar = math.log(0.7 / 0.3)
    items = {skill: set() for skill in range(len(table.skills))}
    for row, skill in zip(table.skill_rows().tolist(), table.skill.tolist(), strict=True):
        if table.item[row] >= 0:
            items[skill].add(int(table.item[row]))
    states = []
    for ability, variance, on in ends:
        known = {}
        for skill, (mean, own, count) in on.items():
            hardness = difficulties.skill_mean[skill] + np.mean([difficulties.item_mean[item] for item in items[skill]])
            sure = 0.8416212335729143 * math.sqrt(variance + own)
            logit = difficulties.settings.base + ability + mean - hardness
            known[skill] = count >= 3 and (logit - bar) / sure
        states.append({skill: 1 if value >= 1.0 else -1 for skill, value in known.items() if abs(value) >= 1.0})
    for row, (first, second) in enumerate(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)):
        one, other = (table.skills.index(pairs.skills[number]) for number in (first, second))
        together = [(state[one], state[other]) for state in states if one in state and other in state]
        counts = (pairs.both[row], pairs.first_only[row], pairs.second_only[row], pairs.neither[row])
        assert counts == tuple(together.count(each) for each in ((1, 1), (1, -1), (-1, 1), (-1, -1)))
    assert pairs.learners_of == {
        skill: sum(place in on for _, _, on in ends) for place, skill in enumerate(table.skills)
    }


def test_only_the_skills_with_the_most_learners_are_measured(monkeypatch):
    table = taken(40, seed=4)
    difficulties = fit_difficulties(table, SETTINGS)
    monkeypatch.setattr(measured, "SKILLS_MAX", 3)
    pairs = skill_pairs(table, difficulties)
    by_learners = sorted(pairs.learners_of, key=lambda skill: -pairs.learners_of[skill])
    assert sorted(pairs.skills) == sorted(by_learners[:3])


def test_a_skill_that_all_answer_alike_has_no_slope():
    builder = ResponseTableBuilder()
    for learner in range(40):
        for skill in ("a", "b"):
            builder.append(learner=f"{learner:02d}", item="", skills=[skill], response=1.0)
    table = builder.build()
    pairs = skill_pairs(table, fit_difficulties(table, SETTINGS))
    assert pairs.learners.tolist() == [40]
    assert np.isnan(pairs.slope).all()
    assert np.isnan(pairs.error).all()


@pytest.mark.parametrize("responses", [0, 1])
def test_hardly_any_responses_have_no_pairs(responses):
    builder = ResponseTableBuilder()
    for _ in range(responses):
        builder.append(learner="ada", item="i", skills=[], response=1.0)
    table = builder.build()
    pairs = skill_pairs(table, fit_difficulties(table, SETTINGS))
    assert (len(pairs.first), pairs.skills) == (0, ())
    assert judge(pairs, {"a": (), "b": ("a",)}).count(Verdict.CANNOT_TELL) == 0
