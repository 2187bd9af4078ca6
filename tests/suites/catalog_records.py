"""Hypothesis strategies for skills and resources."""

from hypothesis import strategies as st

from services.catalog.domain.model import Resource, ResourceStatus, Skill, SkillTag, TagOrigin
from services.common.resource_kinds import ResourceKindName

texts = st.text(st.characters(codec="utf-8"), max_size=20)
parts = st.floats(0, 1)
tags = st.lists(st.builds(SkillTag, texts, parts, st.sampled_from(TagOrigin), st.none() | parts), max_size=3).map(tuple)
lists = st.lists(texts, max_size=3).map(tuple)
skills = st.builds(Skill, texts, texts, texts, texts, lists, lists, st.none() | parts)
resources = st.builds(
    Resource,
    id=texts,
    title=texts,
    kind=st.sampled_from(ResourceKindName),
    description=texts,
    provider=texts,
    url=texts,
    teaches=tags,
    assesses=tags,
    grades=lists,
    language=texts,
    minutes=st.none() | st.integers(0, 2**32 - 1),
    license=texts,
    difficulty=st.none() | parts,
    status=st.sampled_from(ResourceStatus),
    topics=lists,
    rejected_skills=lists,
)
