"""Output of the stack and the demo, the same in a terminal of 80 columns and in a pipe."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from cairn.v1 import recommender_pb2
from deploy.local.learning import Worked
from deploy.local.live import Answered
from deploy.local.stack import Component, Report
from deploy.local.summary import Summary
from services.ingest.domain.kinds.assessment import Assessment

_COLUMNS = 80
_NAME_COLUMNS = 9
_ADDRESS_COLUMNS = 48
_BAR_COLUMNS = 25
_LABEL_COLUMNS = 22

_STEPS = {
    recommender_pb2.STEP_TEACH: "learn",
    recommender_pb2.STEP_PRACTISE: "practise",
    recommender_pb2.STEP_REASSESS: "re-assess",
    recommender_pb2.STEP_FIND_OUT: "find out",
}
_DEGRADATIONS = {
    recommender_pb2.DEGRADATION_NEW_LEARNER: "a learner without responses",
    recommender_pb2.DEGRADATION_NO_BUNDLE: "no fitted models yet",
    recommender_pb2.DEGRADATION_NO_COLLABORATIVE_FILTERING: "no collaborative filtering",
    recommender_pb2.DEGRADATION_EMPTY_CATALOG: "an empty catalog",
    recommender_pb2.DEGRADATION_STALE_STATE: "a state that is out of date",
    recommender_pb2.DEGRADATION_STALE_CATALOG: "a catalog that may be out of date",
    recommender_pb2.DEGRADATION_GAP_WITHOUT_RESOURCE: "no resource about the most urgent gap",
}


def console() -> Console:
    """Standard output: coloured in a terminal, plain text of 80 columns in a pipe."""
    if hasattr(sys.stdout, "reconfigure"):
        # A terminal that cannot show a character shows a question mark; the run must not fail because of it.
        sys.stdout.reconfigure(errors="replace")
    plain = Console(highlight=False)
    return Console(highlight=False, width=min(plain.width, _COLUMNS) if plain.is_terminal else _COLUMNS)


def component_reporter(to: Console, *, addresses: bool = True) -> Report:
    """Prints one line per component when it is ready, with its address or without."""

    def report(component: Component) -> None:
        line = Text("  ")
        line.append("✓ ", style="green")
        line.append(component.name.ljust(_NAME_COLUMNS), style="bold")
        address = component.address if addresses or not component.pid else ""
        line.append(address.ljust(_ADDRESS_COLUMNS))
        if component.ready_after_s:
            line.append(f"{component.ready_after_s:6.1f} s", style="dim")
        line.rstrip()
        to.print(line, soft_wrap=True)

    return report


def print_how_to_use(to: Console, environment_file: Path, kept: str) -> None:
    """Print what to type after `up`, and what of the data is `kept`."""
    to.print()
    to.print("Everything is running. Set the environment for the commands and for your own clients:")
    to.print(f"  set -a; . {environment_file}; set +a", style="bold", soft_wrap=True)
    to.print("Then, for example:")
    to.print("  cairn status", style="bold")
    to.print("  cairn catalog import --skills deploy/local/sample/skills.jsonl \\", style="bold")
    to.print("                       --resources deploy/local/sample/resources.jsonl", style="bold")
    to.print("  cairn ingest load events.ndjson --format ndjson", style="bold")
    to.print("Stop everything with: make down")
    to.print(kept, soft_wrap=True)


class Story:
    """The output of a demo: numbered stages, commands, their results, and the duration of each stage."""

    def __init__(self, to: Console) -> None:
        self._console = to
        self.stages_s: dict[str, float] = {}

    @property
    def console(self) -> Console:
        """Where the output goes."""
        return self._console

    def begin(self, title: str) -> None:
        """Print the headline."""
        self._console.print(Text("Cairn", style="bold cyan"), Text(f"on {title}"), soft_wrap=True)

    @contextmanager
    def stage(self, name: str, heading: str) -> Iterator[None]:
        """Print a stage: its heading, what is printed within it, and its duration."""
        self._console.print()
        self._console.print(Text(f"{len(self.stages_s) + 1}  {heading}", style="bold"))
        begun = time.monotonic()
        yield
        self.stages_s[name] = round(time.monotonic() - begun, 3)

    def command(self, words: Sequence[str]) -> None:
        """Print a command that is about to run, as a person would type it."""
        for line in _as_typed(("$", "cairn", *words)):
            self._console.print(Text(line, style="dim"), soft_wrap=True)

    def done(self, text: str) -> None:
        """Print a result."""
        first, *rest = textwrap.wrap(text, _COLUMNS - 4)
        line = Text("  ")
        line.append("✓ ", style="green")
        line.append(first)
        self._console.print(line)
        for more in rest:
            self._console.print(Text(f"    {more}"))

    def note(self, text: str) -> None:
        """Print a remark."""
        self._wrapped(text, "  ", "dim")

    @contextmanager
    def progress(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a progress bar in a terminal, nothing in a pipe; call the result with the number done."""
        columns = (TextColumn(f"  {what}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bars:
            task = bars.add_task(what, total=total)
            yield lambda done: bars.update(task, completed=done)

    def recommendations(self, heading: str, reply: recommender_pb2.RecommendResponse) -> None:
        """Print a list, best first, with the reasons of each entry."""
        self._console.print()
        self._console.print(Text(f"  {heading}", style="bold"))
        for number, recommended in enumerate(reply.recommendations, 1):
            self._entry(f"  {number} ", recommended)
            for reason in recommended.reasons[:2]:
                self._wrapped(reason.text, "    ", "dim italic")
        if reply.degraded:
            missing = ", ".join(_DEGRADATIONS.get(flag, "unknown") for flag in reply.degraded)
            self._wrapped(f"made with {missing}", "  ", "yellow")

    def answer(self, number: int, answered: Answered) -> None:
        """One live response."""
        body = answered.submission.body
        right = isinstance(body, Assessment) and body.outcome is True
        line = Text("    ")
        line.append("right  " if right else "wrong  ", style="green" if right else "red")
        line.append(f"answer {number:2}", style="bold")
        line.append(f"  new list after {answered.milliseconds:6.1f} ms   top: ")
        top = answered.recommended.recommendations[0].title if answered.recommended.recommendations else "nothing"
        line.append(_cut(top, 34), style="dim")
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def recommended(
        self, followed: recommender_pb2.Recommendation, before: Sequence[recommender_pb2.Recommendation]
    ) -> None:
        """The recommendation that is followed, with its reasons, and what the list has before it."""
        self._console.print()
        self._entry("  → ", followed)
        for reason in followed.reasons[:2]:
            self._wrapped(reason.text, "    ", "dim italic")
        if before:
            named = ", ".join(f"{each.title} ({each.skill})" for each in before)
            self._wrapped(f"before it in the list: {named}", "    ", "yellow")

    def reassessed(self, title: str, skill: str) -> None:
        """What the recommendation before named to re-assess with."""
        self._console.print()
        self._line("  → ", title, "re-assess", skill)
        self._wrapped("named by that recommendation to re-assess with", "    ", "dim italic")

    def worked(self, worked: Worked, milliseconds: float, mastery: recommender_pb2.SkillMastery | None) -> None:
        """What the learner did with it, and what is known then."""
        line = Text(f"    {worked.day:%a %d %b}  ", style="bold")
        line.append(f"{worked.right} of {worked.answers} right".ljust(14) if worked.answers else "completed".ljust(14))
        line.append(f"chance {mastery.probability:.2f}".ljust(13) if mastery else "".ljust(13))
        line.append("mastered".ljust(11) if mastery and mastery.mastered else "".ljust(11), style="bold green")
        line.append(f"new list after {milliseconds:6.1f} ms", style="dim")
        self._console.print(line, no_wrap=True)

    def mastery(
        self,
        skills: Sequence[str],
        before: recommender_pb2.GetLearnerResponse,
        after: recommender_pb2.GetLearnerResponse,
    ) -> None:
        """Print bars of mastery with 95 % intervals, before and after."""
        known_before = {mastery.skill: mastery for mastery in before.skills}
        known_after = {mastery.skill: mastery for mastery in after.skills}
        self._console.print()
        self._console.print(
            Text("  Mastery: probability of success on the skill, with its 95 % interval", style="bold")
        )
        for skill in skills:
            if skill not in known_after:
                continue
            self._console.print(Text(f"    {_cut(skill, 70)}", style="cyan"))
            if skill in known_before:
                self._console.print(_mastery_line("before", known_before[skill]), no_wrap=True)
            self._console.print(_mastery_line("after", known_after[skill]), no_wrap=True)

    def reassess(self, entries: Sequence[tuple[str, str]]) -> None:
        """Print what to re-assess: pairs of the resource worked on and the one that measures it."""
        self._console.print()
        self._console.print(Text("  Then re-assess", style="bold"))
        if not entries:
            self._console.print("    the catalog has nothing that assesses these skills")
        for worked_on, measured_with in entries:
            line = Text("    ")
            line.append(_cut(worked_on, 34).ljust(35))
            line.append("→ ", style="dim")
            line.append(_cut(measured_with, 37))
            self._console.print(line, no_wrap=True)

    def summary(self, figures: Summary) -> None:
        """Print the table at the end."""
        latency = figures.event_to_recommendation_ms
        same = figures.state_digest == figures.replay_digest
        stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in figures.stages_s.items())
        self._console.print()
        self._console.print(Text("Summary", style="bold"))
        self._row("events read", f"{figures.events_read:,}")
        self._row("accepted, applied", f"{figures.accepted:,}, {figures.applied:,}")
        self._row("duplicates, rejected", f"{figures.duplicates:,}, {figures.rejected:,}")
        self._row("dead letters", f"{figures.dlt:,}")
        self._row("learners, resources", f"{figures.learners:,}, {figures.resources:,}")
        self._row("skills mastered", f"{figures.mastered_share:.1%} of the learners' skills")
        self._row("event to fresh list", f"p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms")
        self._row("state digest", f"{figures.state_digest[:32]}…")
        self._row(
            "replay digest",
            f"{figures.replay_digest[:32]}… {'the same' if same else 'DIFFERENT'}",
            "green" if same else "bold red",
        )
        self._row("seconds", f"{sum(figures.stages_s.values()):.1f} in all: {stages}")

    def explore(self, lead: str, commands: Sequence[str]) -> None:
        """Print commands to go on with, each on one line, so that it can be pasted."""
        self._console.print()
        self._console.print(Text(lead, style="bold"))
        for command in commands:
            self._console.print(Text(f"  {command.rstrip()}"), soft_wrap=True)

    def _entry(self, mark: str, recommended: recommender_pb2.Recommendation) -> None:
        self._line(mark, recommended.title, _STEPS.get(recommended.step, ""), recommended.skill)

    def _line(self, mark: str, title: str, step: str, skill: str) -> None:
        line = Text(mark, style="cyan")
        line.append(_cut(title, 46).ljust(47), style="bold")
        line.append(f"{step:10}")
        line.append(_cut(skill, 18), style="dim")
        self._console.print(line, no_wrap=True, overflow="ellipsis")

    def _row(self, label: str, text: str, style: str = "") -> None:
        first, *rest = textwrap.wrap(text, _COLUMNS - _LABEL_COLUMNS - 2)
        self._console.print(Text(f"  {label.ljust(_LABEL_COLUMNS)}", "bold") + Text(first, style))
        for more in rest:
            self._console.print(Text(" " * (_LABEL_COLUMNS + 2) + more, style))

    def _wrapped(self, text: str, indent: str, style: str) -> None:
        for line in textwrap.wrap(text, _COLUMNS, initial_indent=indent, subsequent_indent=indent):
            self._console.print(Text(line, style=style))


def _mastery_line(when: str, mastery: recommender_pb2.SkillMastery) -> Text:
    line = Text(f"      {when:7}")
    low, middle, high = (
        min(_BAR_COLUMNS - 1, int(share * _BAR_COLUMNS)) for share in (mastery.low, mastery.probability, mastery.high)
    )
    colour = "green" if mastery.mastered else "yellow"
    for column in range(_BAR_COLUMNS):
        if column == middle:
            line.append("●", style=f"bold {colour}")
        elif low <= column <= high:
            line.append("━", style=colour)
        else:
            line.append("·", style="dim")
    responses = "response" if mastery.responses == 1 else "responses"
    line.append(
        f"  {mastery.probability:.2f} ({mastery.low:.2f} to {mastery.high:.2f})  {mastery.responses} {responses}"
    )
    if mastery.mastered:
        line.append("  mastered", style="green")
    return line


def _as_typed(words: Sequence[str]) -> list[str]:
    """A command wrapped to the terminal's width, with backslashes as in a shell."""
    lines = [" "]
    for word in words:
        if len(lines[-1]) + len(word) + 1 > _COLUMNS - 2:
            lines[-1] += " \\"
            lines.append("     ")
        lines[-1] += f" {word}"
    return lines


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "…"
