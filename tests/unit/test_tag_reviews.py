"""The order of the review queue of suggestions."""

from hypothesis import given
from hypothesis import strategies as st

from services.catalog.domain.model import Resource, SkillTag, TagOrigin
from services.catalog.domain.reviews import (
    QueuePlace,
    ReviewQueue,
    WaitingTag,
    accepted,
    answers_to_random_ones,
    rejected,
)
from services.common.resource_kinds import ResourceKindName

waiting = st.lists(
    st.builds(
        WaitingTag,
        resource_id=st.integers(0, 200).map(lambda number: f"r{number}"),
        title=st.just(""),
        skill=st.sampled_from("abc"),
        confidence=st.floats(0, 1),
        traffic=st.integers(0, 1_000),
    ),
    max_size=60,
    unique_by=lambda tag: (tag.resource_id, tag.skill),
)


def whole(queue, size=1_000):
    place, seen = QueuePlace(), []
    while not queue.is_at_end(place):
        page, place = queue.page(place, size)
        seen += page
    return seen


@given(waiting, st.integers(1, 9))
def test_pages_of_any_size_are_the_whole_queue(tags, size):
    queue = ReviewQueue(tags)
    assert whole(queue, size) == whole(queue)
    assert sorted(map(repr, whole(queue))) == sorted(map(repr, tags))


@given(waiting, st.randoms())
def test_the_order_suggestions_come_in_does_not_matter(tags, rng):
    mixed = list(tags)
    rng.shuffle(mixed)
    assert whole(ReviewQueue(mixed)) == whole(ReviewQueue(tags))


@given(waiting, st.integers(0, 40), st.data())
def test_answers_between_two_pages_move_nothing_else(tags, seen, data):
    queue = ReviewQueue(tags)
    page, place = queue.page(QueuePlace(), seen)
    answered = data.draw(st.sets(st.sampled_from(page))) if page else set()
    left = ReviewQueue([tag for tag in tags if tag not in answered])
    following, _ = left.page(place, 1_000)
    assert following == whole(queue)[len(page) :]


def test_each_tenth_is_drawn_at_random_and_the_others_are_ordered_by_traffic_times_uncertainty():
    tags = [WaitingTag(f"r{n}", "", "s", (n % 97) / 97, n % 13) for n in range(3_000)]
    listed = whole(ReviewQueue(tags))
    drawn = [tag.drawn_at_random for tag in listed[:1_000]]
    assert [place % 10 == 9 for place in range(1_000)] == drawn
    priorities = [tag.priority for tag in listed if not tag.drawn_at_random]
    assert priorities == sorted(priorities, reverse=True)
    assert 0.08 < sum(tag.drawn_at_random for tag in tags) / len(tags) < 0.12


def test_the_random_tenth_does_not_depend_on_traffic_or_confidence():
    one, other = WaitingTag("r1", "", "s", 0.1, 5), WaitingTag("r1", "Title", "s", 0.9, 0)
    assert one.draw == other.draw


def test_the_unsure_and_much_used_come_first():
    sure, unsure = WaitingTag("r1", "", "s", 0.99, 10), WaitingTag("r2", "", "s", 0.5, 10)
    unused = WaitingTag("r3", "", "s", 0.5, 0)
    assert unsure.priority > unused.priority > sure.priority


def test_precision_is_counted_on_answers_to_the_random_tenth_alone():
    plain = Resource("r0", "R", ResourceKindName.PRACTICE)
    skills = [f"s{number}" for number in range(400)]
    drawn = [skill for skill in skills if WaitingTag("r0", "", skill, 0.0).drawn_at_random]
    resource = plain
    for skill in drawn[:3]:
        resource = accepted(resource, skill, 0.5)
    resource = rejected(resource, drawn[3])
    resource = accepted(resource, next(skill for skill in skills if skill not in drawn), 0.5)
    own = SkillTag(drawn[4], 1.0, TagOrigin.SOURCE)
    assert answers_to_random_ones([resource, Resource("r1", "R", ResourceKindName.GAME, teaches=(own,))]) == (3, 4)
