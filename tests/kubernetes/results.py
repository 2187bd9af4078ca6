"""What is checked, in order, and what came of it."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deploy.processes import StackError

if TYPE_CHECKING:
    from tests.kubernetes.site import Site


class CheckFailedError(AssertionError):
    """Something does not hold; the message is a sentence."""


@dataclass(frozen=True)
class Check:
    """One thing to check.

    Attributes:
        name: to choose it by.
        sentence: what must hold.
        run: checks it, and returns figures worth printing.
    """

    name: str
    sentence: str
    run: Callable[[Site], str]


def check(name: str, sentence: str) -> Callable[[Callable[[Site], str]], Check]:
    """Turn a function into a check."""
    return lambda run: Check(name, sentence, run)


def must(holds: object, otherwise: str) -> None:
    """Fail the check with a sentence unless a condition holds."""
    if not holds:
        raise CheckFailedError(otherwise)


@dataclass
class Results:
    """The checks that were run.

    Attributes:
        checked: how many.
        failed: the names of those that failed.
    """

    checked: int = 0
    failed: list[str] = field(default_factory=list)

    def run(self, each: Check, site: Site) -> None:
        """Run one and print a line; a failed one also prints what the pods say."""
        self.checked += 1
        begun_s = time.monotonic()
        try:
            figures = each.run(site)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong, the next check is run.
            self.failed.append(each.name)
            said = (
                str(error)
                if isinstance(error, CheckFailedError | StackError)
                else "".join(traceback.format_exception(error))
            )
            tell(f"FAILED after {time.monotonic() - begun_s:.0f} s: {each.sentence} ({each.name}): {said}")
            site.tell_state()
        else:
            tell(f"ok {time.monotonic() - begun_s:6.1f} s  {each.sentence}{f' ({figures})' if figures else ''}")

    def last_line(self) -> str:
        """How many were checked and how many failed."""
        return f"test-k8s: {self.checked} checked, {len(self.failed)} failed"


def tell(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)
