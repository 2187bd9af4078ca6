"""Resources that learners meet in the company of another skill than the one they are tagged with.

Learners work on a skill for a while before they go on to the next, so what they answer just before and after a resource
is mostly about its skill. For a resource i and a skill s:

    share = mean over the learners of i of the share of the resources answered nearest to i that carry s
    y = arcsin(sqrt(share)),  variance of y = 1 / (4 learners) + between

What is usual for resources tagged with s is their median, and how much they differ besides is taken from their median
absolute deviation, so that a few wrong tags change neither. A tag is shown when its share is below the usual by more
than chance, at a false-discovery rate over all tags that could be judged (Benjamini and Hochberg 1995), and when
another skill has clearly more of the company, and as much of it as is usual for that skill's own resources. A learner
counts once: what they are assigned as a block is one piece of evidence.

What it cannot see: anything where skills are practised mixed (another resource's skill then says nothing), a tag by
which the platform itself put the resource where it stands, and skills tagged wrongly on most of their resources. A
resource that is used in an unusual place looks like one that is tagged wrongly. It flags for a person; it changes
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy import stats

from services.catalog.tagging.contradictions import Responses, discoveries

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEARNERS_MIN = 5
TAGS_MIN = 8
# So many resources before and after one are its company.
_REACH = 5
# Another skill has clearly more of the company from so many standard errors on.
_CLEAR_Z_MIN = 1.645
# Another skill's share is as usual when it is at most so many standard errors below that skill's median.
_USUAL_Z_MIN = -1.0
# The standard deviation of a normal distribution in median absolute deviations.
_DEVIATIONS = 1.4826


@dataclass(frozen=True, slots=True)
class SuspectedMistag:
    """A tag whose resource stands among resources of another skill.

    Attributes:
        resource_id: the resource.
        skill: the skill it is tagged with.
        learners: of how many the company is known.
        share: of the company that carries the skill, the mean over learners.
        usual: the median of that over the resources tagged with the skill.
        z: how far below the usual, in standard errors; negative.
        p_value: how likely so low a share is by chance.
        fits_better: the skill, not among the resource's own, of which the company has most, and as much as is usual.
        better_share: of the company that carries that one.
    """

    resource_id: str
    skill: str
    learners: int
    share: float
    usual: float
    z: float
    p_value: float
    fits_better: str
    better_share: float


@dataclass(frozen=True, slots=True)
class NeighbourContextVerdict:
    """The strangers, the likeliest wrong first, and how many tags could be judged, of how many."""

    suspected_mistags: tuple[SuspectedMistag, ...]
    judged: int
    tags: int


def suspected_mistags(
    responses: Responses, tags: Mapping[str, Sequence[str]], *, false_discovery_rate: float = 0.05
) -> NeighbourContextVerdict:
    """Tags whose resources stand among resources of another skill.

    Args:
        responses: of all learners; those of one learner in the order in which they were given.
        tags: skills by resource; resources without responses do not matter.
        false_discovery_rate: the share of unusually low shares that may be chance.
    """
    skills = sorted({skill for resource in responses.resources for skill in tags.get(resource, ())})
    carried = _carried(responses.resources, tags, skills)
    if not carried.nnz:
        return NeighbourContextVerdict((), 0, 0)
    shares, learners = _neighbour_context(responses, carried)
    usual, between = _usual(shares, learners, carried)

    def z_of(resource: Ints, skill: Ints, share: Floats) -> Floats:
        error = np.sqrt(between[skill] + 1.0 / (4.0 * learners[resource]))
        return np.asarray((_transformed(share) - usual[skill]) / error)

    resource, skill = (codes.astype(np.int64) for codes in carried.nonzero())
    judged = (learners[resource] >= LEARNERS_MIN) & ~np.isnan(usual[skill])
    resource, skill = resource[judged], skill[judged]
    if not len(resource):
        return NeighbourContextVerdict((), 0, carried.nnz)
    share = np.asarray(shares[resource, skill], np.float64).ravel()
    z = z_of(resource, skill, share)
    p_values = stats.norm.cdf(z)
    found = []
    for place in np.flatnonzero(discoveries(p_values, false_discovery_rate)):
        row = shares[int(resource[place])]
        other, of_other = row.indices.astype(np.int64), row.data
        lead = (_transformed(of_other) - _transformed(share[place])) / np.sqrt(2.0 / (4.0 * learners[resource[place]]))
        likelier = (lead >= _CLEAR_Z_MIN) & ~np.isnan(usual[other])
        likelier &= ~np.isin(other, carried[int(resource[place])].indices)
        likelier[likelier] = z_of(resource[place], other[likelier], of_other[likelier]) >= _USUAL_Z_MIN
        if not likelier.any():
            continue
        better = int(np.argmax(np.where(likelier, of_other, 0.0)))
        found.append(
            SuspectedMistag(
                resource_id=responses.resources[resource[place]],
                skill=skills[skill[place]],
                learners=int(learners[resource[place]]),
                share=float(share[place]),
                usual=float(np.sin(usual[skill[place]]) ** 2),
                z=float(z[place]),
                p_value=float(p_values[place]),
                fits_better=skills[other[better]],
                better_share=float(of_other[better]),
            )
        )
    found.sort(key=lambda one: (one.p_value, one.resource_id, one.skill))
    return NeighbourContextVerdict(tuple(found), len(z), carried.nnz)


def _carried(
    resources: Sequence[str], tags: Mapping[str, Sequence[str]], skills: Sequence[str]
) -> scipy.sparse.csr_matrix:
    """(resources, skills), 1 where a resource carries a skill."""
    column_of = {skill: column for column, skill in enumerate(skills)}
    pairs = [
        (row, column_of[skill])
        for row, resource in enumerate(resources)
        for skill in dict.fromkeys(tags.get(resource, ()))
    ]
    rows, columns = np.array(pairs, np.int64).reshape(-1, 2).T
    return scipy.sparse.csr_matrix((np.ones(len(pairs)), (rows, columns)), (len(resources), len(skills)))


def _neighbour_context(responses: Responses, carried: scipy.sparse.csr_matrix) -> tuple[scipy.sparse.csr_matrix, Ints]:
    """(resources, skills): each skill's mean share of a resource's company; and the mean of how many learners."""
    # What a learner answers again stands where they first met it.
    meeting = responses.learner * len(responses.resources) + responses.resource
    first = np.sort(np.unique(meeting, return_index=True)[1])
    first = first[np.argsort(responses.learner[first], kind="stable")]
    learner, resource = responses.learner[first], responses.resource[first]
    near = [(place, place + step) for step in range(1, _REACH + 1) for place in [_followed(learner, step)]]
    one = np.concatenate([side for pair in near for side in pair])
    other = np.concatenate([side for pair in near for side in reversed(pair)])
    neighbours = np.bincount(one, minlength=len(learner))
    neighbour_context = scipy.sparse.csr_matrix((1.0 / neighbours[one], (one, other)), (len(learner), len(learner)))
    known = np.flatnonzero(neighbours)
    learners = np.bincount(resource[known], minlength=carried.shape[0])
    mean = scipy.sparse.csr_matrix(
        (1.0 / learners[resource[known]], (resource[known], known)), (carried.shape[0], len(learner))
    )
    return (mean @ (neighbour_context @ carried[resource])).tocsr(), learners


def _followed(learner: Ints, step: int) -> Ints:
    """Places at which the one so many steps on is the same learner's."""
    return np.flatnonzero(learner[step:] == learner[:-step]) if step < len(learner) else np.zeros(0, np.int64)


def _usual(shares: scipy.sparse.csr_matrix, learners: Ints, carried: scipy.sparse.csr_matrix) -> tuple[Floats, Floats]:
    """Per skill the median of its own resources' transformed shares, NaN when they are too few, and their variance."""
    count = carried.shape[1]
    usual, between = np.full(count, np.nan), np.zeros(count)
    of_skill, own_shares = carried.tocsc(), shares.tocsc()
    for skill in range(count):
        members = of_skill.indices[of_skill.indptr[skill] : of_skill.indptr[skill + 1]]
        members = members[learners[members] >= LEARNERS_MIN]
        if len(members) < TAGS_MIN:
            continue
        values = _transformed(own_shares[:, skill].toarray().ravel()[members])
        usual[skill] = np.median(values)
        deviation = _DEVIATIONS * np.median(np.abs(values - usual[skill]))
        between[skill] = max(0.0, deviation**2 - np.median(1.0 / (4.0 * learners[members])))
    return usual, between


def _transformed(share: Floats) -> Floats:
    return np.asarray(np.arcsin(np.sqrt(np.clip(share, 0.0, 1.0))))
