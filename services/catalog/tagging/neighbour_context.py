"""Suspected mistags: resources that learners meet among resources of another skill than their own.

Learners work on a skill for a while before they move on, so the resources they answer just before and after a resource,
its neighbours, are mostly about its skill. For a resource i and a skill s:

    share = mean over the learners of i of the share of the neighbours of i that carry s
    y = arcsin(sqrt(share)),  variance of y = 1 / (4 learners) + between

The usual share of s is the median over the resources tagged with s, and the variance between them comes from their
median absolute deviation, so that a few wrong tags change neither. A tag is suspected when its share is significantly
below the usual, at a false-discovery rate over all judged tags (Benjamini and Hochberg 1995), and another skill has a
clearly higher share of the neighbours, which is usual for that skill's own resources. Each learner counts once: a block
that was assigned to them is one piece of evidence.

Limits: it finds nothing where skills are practised mixed (neighbours are then not informative), tags by which the
platform itself orders resources, and skills that are wrong on most of their resources. A resource used in an unusual
place looks like a wrongly tagged one. It flags tags for a person and changes nothing.
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
# Number of resources before and after one that are its neighbours.
_REACH = 5
# Another skill's share is clearly higher when it is this many standard errors above.
_CLEAR_Z_MIN = 1.645
# Another skill's share is usual when it is at most this many standard errors below that skill's median.
_USUAL_Z_MIN = -1.0
# The standard deviation of a normal distribution in median absolute deviations.
_DEVIATIONS = 1.4826


@dataclass(frozen=True, slots=True)
class SuspectedMistag:
    """A tag whose resource has neighbours of another skill.

    Attributes:
        resource_id: the resource.
        skill: the skill it is tagged with.
        learners: number of learners whose neighbours are known.
        share: the share of neighbours that carry the skill, averaged over learners.
        usual: the median share over the resources tagged with the skill.
        z: the difference from the usual in standard errors; negative.
        p_value: the probability of a share this low by chance.
        fits_better: the most frequent skill of the neighbours with a usual share that the resource does not have.
        better_share: its share of the neighbours.
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
    """The suspected mistags, most significant first; the number of tags that could be judged; the number of tags."""

    suspected_mistags: tuple[SuspectedMistag, ...]
    judged: int
    tags: int


def suspected_mistags(
    responses: Responses, tags: Mapping[str, Sequence[str]], *, false_discovery_rate: float = 0.05
) -> NeighbourContextVerdict:
    """Tags whose resources have neighbours of another skill.

    Args:
        responses: of all learners; each learner's in the order they were given.
        tags: skills by resource; resources without responses are ignored.
        false_discovery_rate: the proportion of unusually low shares that may be due to chance.
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
        difference = (_transformed(of_other) - _transformed(share[place])) / np.sqrt(
            2.0 / (4.0 * learners[resource[place]])
        )
        likelier = (difference >= _CLEAR_Z_MIN) & ~np.isnan(usual[other])
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
    """(resources, skills): each skill's mean share of a resource's neighbours; and (resources): number of learners."""
    # A resource that a learner answers again counts where they first met it.
    meeting = responses.learner * len(responses.resources) + responses.resource
    first = np.sort(np.unique(meeting, return_index=True)[1])
    first = first[np.argsort(responses.learner[first], kind="stable")]
    learner, resource = responses.learner[first], responses.resource[first]
    near = [(place, place + step) for step in range(1, _REACH + 1) for place in [_same_learner_after(learner, step)]]
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


def _same_learner_after(learner: Ints, step: int) -> Ints:
    """Indices at which the response `step` positions later is the same learner's."""
    return np.flatnonzero(learner[step:] == learner[:-step]) if step < len(learner) else np.zeros(0, np.int64)


def _usual(shares: scipy.sparse.csr_matrix, learners: Ints, carried: scipy.sparse.csr_matrix) -> tuple[Floats, Floats]:
    """By skill: the median of its resources' transformed shares, NaN with too few, and the variance between them."""
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
