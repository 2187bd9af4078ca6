"""Reading the Coherence Map of the Common Core as data for evaluation: standards, and an exercise for most of them.

The file is a JSON object with `standards`, `clusters` and `domains` by number. An exercise may stand at two standards.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

from services.catalog.domain.model import Skill
from services.catalog.tagging.examples import Example, Statement, statements_of

_FRAMEWORK = "Common Core"
_TAG = re.compile(r"<[^>]*>")
_HIGH_SCHOOL = "HS"


def examples_and_statements(content: Mapping[str, Any]) -> tuple[list[Example], list[Statement]]:
    """The exercises with their standards, and the statements of the standards.

    Some titles begin with the code of the standard's domain, such as `5.NF`. It is taken out: it would give it away.

    Raises:
        KeyError, TypeError, AttributeError: when it is not such a file.
    """
    clusters, domains = content["clusters"], content["domains"]
    codes = "|".join(sorted({re.escape(_domain_code(domain)) for domain in domains.values()}, key=len, reverse=True))
    given_away = re.compile(rf"(?<!\w)(?:{codes})(?:, ?(?:{codes}|[A-Z]{{1,4}}))*(?!\w)(?: and )?")
    skills = [Skill(f"cluster {key}", statement=_text(cluster["name"])) for key, cluster in clusters.items()]
    carrying: dict[str, list[str]] = {}
    for standard in content["standards"].values():
        key = standard["ccmathcluster_id"]
        domain = domains[clusters[key]["ccmathdomain_id"]]
        code = f"{_domain_code(domain)}.{clusters[key]['ordinal']}.{standard['ordinal']}"
        skills.append(Skill(code, _FRAMEWORK, code, _text(standard["desc"]), parent=f"cluster {key}"))
        if exercise := _text(given_away.sub(" ", standard["example_problem"] or "")):
            carrying.setdefault(exercise, []).append(code)
    examples = [Example(f"exercise {number}", text, tuple(of)) for number, (text, of) in enumerate(carrying.items())]
    return examples, [one for one in statements_of(skills) if one.framework]


def _domain_code(domain: Mapping[str, str]) -> str:
    grade, ordinal = domain["grade"], domain["ordinal"]
    return str(ordinal) if grade == _HIGH_SCHOOL else f"{grade}.{ordinal}"


def _text(marked_up: str) -> str:
    return " ".join(html.unescape(_TAG.sub(" ", marked_up)).split())
