"""`cairn catalog tag`: skills for resources that have none."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from services.catalog.cli.calls import DEFAULT_TARGET, Kind, Target, calling, listed, send
from services.catalog.domain.model import Resource, Skill
from services.catalog.domain.reviews import answers_to_random_ones
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, TimeoutS

if TYPE_CHECKING:
    from services.catalog.tagging.precision import PrecisionLevel
    from services.catalog.tagging.tagger import AppliedCurve, ModelCard, SkillTagger
    from services.catalog.tagging.untagged import Proposal

# The tagger is unreliable on skills with fewer examples than this.
_FEW = 5

app = typer.Typer(rich_markup_mode="markdown")


_ApplyAbove = Annotated[
    float | None,
    typer.Option(
        min=0.5,
        max=0.999,
        metavar="PRECISION",
        help="Write tags of which at least this share is right.",
        show_default=False,
    ),
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")]
_PerResource = Annotated[int, typer.Option(min=1, max=20, help="Suggest at most this many skills each.")]
_Limit = Annotated[int, typer.Option(min=1, help="Show at most this many resources.")]
_Json = Annotated[bool, typer.Option("--json", help="Print every suggestion, one JSON object for each resource.")]
_Model = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the tagger: an existing one is used, else one is fitted and saved there.",
        file_okay=False,
        show_default=False,
    ),
]
_Refit = Annotated[
    bool, typer.Option("--refit", help="Fit the tagger again, also on tags reviewed since; needs --model.")
]
_Traffic = Annotated[
    Path | None,
    typer.Option(
        help="CSV with the columns resource_id and responses, which orders the reviews; saved in the --model folder.",
        dir_okay=False,
        show_default=False,
    ),
]


@app.command("tag", epilog="Example: cairn catalog tag --apply-above 0.9 --dry-run")
def tag(
    *,
    apply_above: _ApplyAbove = None,
    dry_run: _DryRun = False,
    per_resource: _PerResource = 3,
    limit: _Limit = 20,
    json_lines: _Json = False,
    model: _Model = None,
    refit: _Refit = False,
    traffic: _Traffic = None,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 120.0,
) -> None:
    """Suggest skills for resources that have none, learned from those that have.

    Shows the most confident suggestions first, each with its confidence. With `--apply-above 0.9`, tags are written
    from the confidence at which at least 90 % of the tags of held-out resources were right (with 95 % confidence), if
    any, judged apart for each framework and for its skills with and without examples. Written tags have the origin
    `suggested` and their confidence, and the tagger never learns from them until a person has reviewed them.

    A service whose CAIRN_CATALOG_TAGGERS has the `--model` folder, under the tenant's name, loads it within seconds. It
    then serves SuggestTags, and a queue of reviews by traffic times uncertainty. `--refit` learns from the answers.

    Exits with 1 when the service cannot be reached, or when there are too few tagged resources to learn from.
    """
    if model is None and (refit or traffic is not None):
        fail("--refit and --traffic are for a saved tagger: name its folder with --model", BAD_INPUT)
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        skills = [one for one in listed(stub, metadata, Kind.SKILL, sys.maxsize, timeout_s) if isinstance(one, Skill)]
        resources = [
            one for one in listed(stub, metadata, Kind.RESOURCE, sys.maxsize, timeout_s) if isinstance(one, Resource)
        ]
        from services.catalog.tagging import untagged as found  # noqa: PLC0415 - scikit-learn takes a second to import.

        if model is not None and traffic is not None:
            _save_traffic(traffic, model)
        bare = found.untagged(resources)
        if not bare and not refit:
            typer.echo("every resource has skills already: there is nothing to suggest", err=json_lines)
            return
        tagger = _tagger(skills, resources, model, refit=refit)
        proposals = found.propose(tagger, bare, per_resource)
        confidences = tagger.applied_from(apply_above) if apply_above is not None else {}
        if json_lines:
            _print_lines(proposals, confidences)
        else:
            _print_table(proposals, confidences, limit)
        console = Console(stderr=json_lines, highlight=False)
        _print_about(tagger.card, resources, console)
        if apply_above is None:
            return
        console.print(_about_applying(tagger.card, apply_above), soft_wrap=True)
        records = [found.tagged(one, confidences) for one in proposals if one.above(confidences)]
        count = sum(len(one.above(confidences)) for one in proposals)
        if records and not dry_run:
            send(stub, metadata, records, timeout_s)
        verb = "would be written" if dry_run else "written"
        console.print(f"{count:,} tags of {len(records):,} resources {verb}, of {len(bare):,} without skills")


def _save_traffic(file: Path, folder: Path) -> None:
    from services.catalog.tagging.served import (  # noqa: PLC0415 - as above.
        TRAFFIC,
        TrafficUnusableError,
        read_traffic,
        write_traffic,
    )

    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_traffic(folder / TRAFFIC, read_traffic(file))
    except TrafficUnusableError as error:
        fail(str(error), BAD_INPUT)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"the traffic in {file} cannot be saved in {folder}: {error}", BAD_INPUT)


def _tagger(skills: Sequence[Skill], resources: Sequence[Resource], folder: Path | None, *, refit: bool) -> SkillTagger:
    from services.catalog.tagging.examples import (  # noqa: PLC0415 - as above.
        NotEnoughExamplesError,
        example_of,
        statements_of,
    )
    from services.catalog.tagging.manifest import MANIFEST, TaggerUnusableError  # noqa: PLC0415 - as above.
    from services.catalog.tagging.store import load_tagger, save_tagger  # noqa: PLC0415 - as above.
    from services.catalog.tagging.tagger import fit_tagger  # noqa: PLC0415 - as above.

    console = Console(stderr=True)
    try:
        if folder is not None and (folder / MANIFEST).is_file() and not refit:
            loaded = load_tagger(folder)
            known = {skill.id for skill in skills}
            if gone := [skill for skill in loaded.skills if skill not in known]:
                fail(
                    f"the tagger in {folder} knows the skill {gone[0]!r}, which the catalog does not have: it is for "
                    "another or an older catalog; name another folder with --model",
                    BAD_INPUT,
                )
            return loaded
        with console.status("learning") as status:
            tagger, _ = fit_tagger(
                [example_of(resource) for resource in resources],
                statements_of(skills),
                progress=lambda stage: status.update(f"learning: {stage}"),
            )
        if folder is not None:
            save_tagger(tagger, folder)
    except NotEnoughExamplesError as error:
        fail(str(error), FAILED)
    except TaggerUnusableError as error:
        fail(str(error), BAD_INPUT)
    except OSError as error:
        fail(f"the tagger cannot be saved in {folder}: {error}. Name another folder with --model", BAD_INPUT)
    return tagger


def _print_about(card: ModelCard, resources: Sequence[Resource], console: Console) -> None:
    console.print(_about(card), soft_wrap=True)
    if reviewed := _about_reviews(resources):
        console.print(reviewed, soft_wrap=True)


def _about(card: ModelCard) -> str:
    left_out = f" ({card.examples_left_out:,} more did not fit into memory)" if card.examples_left_out else ""
    best = card.curve.best_f1()
    few = sum(count < _FEW for count in card.examples_per_skill.values())
    return (
        f"learned from {card.examples:,} tagged resources{left_out} of {len(card.examples_per_skill):,} skills, "
        f"{few:,} of them with fewer than {_FEW}; on held-out resources {card.recall_at_5:.0%} of the skills are among "
        f"the first 5 suggestions, and tags from {best.confidence:.2f} on are right in {best.precision:.0%}"
    )


def _about_reviews(resources: Sequence[Resource]) -> str:
    """How many of the reviewed suggestions of the random sample were right; empty when none was reviewed."""
    right, answered = answers_to_random_ones(resources)
    if not answered:
        return ""
    return (
        f"of {answered:,} suggestions drawn at random and reviewed, {right:,} were right ({right / answered:.0%}): "
        "an unbiased sample of all suggestions in the queue"
    )


def _about_applying(card: ModelCard, precision: float) -> str:
    found = [(one, level) for one in card.applied if (level := one.curve.supporting(precision))]
    if not found:
        return (
            f"no tag is sure enough to be written: on held-out resources no confidence reached a precision of "
            f"{precision:g} (with 95 % confidence); tag more resources by hand, or review the suggestions"
        )
    return "\n".join(_about_level(one, level) for one, level in found)


def _about_level(one: AppliedCurve, level: PrecisionLevel) -> str:
    of = f" of {one.framework}" if one.framework else ""
    having = "with" if one.with_examples else "without"
    return (
        f"tags of skills{of} {having} examples are sure enough from confidence {level.confidence:.2f} on: "
        f"{level.precision:.1%} of {level.tags:,} such tags of held-out resources were right, at least "
        f"{level.precision_low:.1%} with 95 % confidence, and {level.coverage:.0%} of the resources got one"
    )


def _print_table(proposals: Sequence[Proposal], confidences: Mapping[str, float], limit: int) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("resource", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("title", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("skill", no_wrap=True, overflow="ellipsis", ratio=3)
    table.add_column("sure", justify="right")
    table.add_column("")
    for proposal in proposals[:limit]:
        names = (proposal.resource.id, proposal.resource.title)
        applied = proposal.above(confidences)
        for one in proposal.suggestions:
            applies = "apply" if one in applied else ""
            table.add_row(*map(escape, (*names, one.skill)), f"{one.confidence:.2f}", applies)
            names = ("", "")
    Console(highlight=False).print(table)
    if len(proposals) > limit:
        typer.echo(f"... and {len(proposals) - limit:,} more resources: show them with --limit or --json")


def _print_lines(proposals: Sequence[Proposal], confidences: Mapping[str, float]) -> None:
    for proposal in proposals:
        applied = proposal.above(confidences)
        suggestions = [
            {"skill": one.skill, "confidence": round(one.confidence, 4), "apply": one in applied}
            for one in proposal.suggestions
        ]
        typer.echo(orjson.dumps({"id": proposal.resource.id, "suggestions": suggestions}))
