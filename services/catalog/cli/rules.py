"""`cairn catalog rules`: the rules of teachers and the tenant about resources."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import grpc
import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cairn.v1 import catalog_pb2, catalog_pb2_grpc, recommender_pb2
from services.catalog.cli.calls import DEFAULT_TARGET, Target, calling, calling_recommender
from services.catalog.domain.model import Rule
from services.catalog.formats.jsonl import FileUnreadableError
from services.catalog.formats.rules_file import RulesInvalidError, read_rules, rule_as_columns
from services.catalog.wire.rules import rule_from_proto, rule_to_proto
from services.common.command_line import BAD_INPUT, FAILED, fail
from services.common.rpc.calls import ApiKeyFile, Insecure, Metadata, TimeoutS
from services.common.rpc.statuses import violations_of

_LEARNERS_MAX = 50

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

_File = Annotated[Path, typer.Argument(help="YAML or JSON: one rule, or a list of rules.")]


@app.callback()
def _rules() -> None:
    """Pin, block and boost resources.

    A rule in YAML:

        id: unit-3-review
        action: pin               # or block, or boost
        resource_ids: [vid-12, quiz-7]
        author: teacher-204       # your platform's id of the author; not a name
        classes: ["4b"]           # only for requests for this class; left out: for all
        expires_at: 2026-03-20T15:00:00Z
        note: The test is on Friday.

    A rule is about its `resource_ids` and the resources of its `providers`; with `skills`, only those about one of
    them; with `grades`, only for requests for one of them. A boost has a `factor` from 0.1 to 10. A block always wins,
    pins keep their order, boosts multiply.
    """


@app.command("list", epilog="Example: cairn catalog rules list --json > rules.json")
def list_rules(
    *,
    expired: Annotated[bool, typer.Option("--expired", help="List rules that have ended, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rules in the form that `put` reads.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """List the rules in the order of their ids."""
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        rules = list(_listed(stub, metadata, timeout_s, expired=expired))
    if as_json:
        kept = [
            {name: value for name, value in rule_as_columns(rule).items() if not name.startswith("updated_")}
            for rule in rules
        ]
        typer.echo(orjson.dumps(kept, option=orjson.OPT_INDENT_2))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "action", "about", "for", "ends", "author", "note"):
        table.add_column(heading, overflow="fold")
    for rule in rules:
        action = f"{rule.action} x{rule.factor:g}" if rule.factor is not None else str(rule.action or "?")
        about = [*rule.resource_ids, *(f"provider {name}" for name in rule.providers)]
        whom = [*(f"class {name}" for name in rule.classes), *(f"grade {name}" for name in rule.grades)]
        ends = "" if rule.expires_at is None else rule.expires_at.strftime("%Y-%m-%d %H:%MZ")
        if rule.skills:
            about.append(f"(only {', '.join(rule.skills)})")
        table.add_row(
            *map(escape, (rule.id, action, _short(about), _short(whom) or "all", ends, rule.author, rule.note))
        )
    Console(highlight=False).print(table)


@app.command(
    "put", epilog="Example: cairn catalog rules preview rules.yaml --learner amy && cairn catalog rules put rules.yaml"
)
def put_rules(
    file: _File,
    *,
    new: Annotated[bool, typer.Option("--new", help="Only if there is no rule with that id yet.")] = False,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Add rules; a rule with the same id is replaced. They are active within a second.

    Exits with 2, naming the field, when a rule is not accepted; the rules before it in the file have been added.
    """
    for rule in _read(file):
        with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
            request = catalog_pb2.PutRuleRequest(rule=rule_to_proto(rule), must_be_new=new)
            try:
                reply = stub.PutRule(request, metadata=metadata, timeout=timeout_s)
            except grpc.RpcError as error:
                # gRPC types its errors as RpcError only; the error of a call is also the call.
                if violations := violations_of(error):  # type: ignore[arg-type]  # as above.
                    wrong = "; ".join(f"{one.field}: {one.reason}" for one in violations)
                    fail(f"rule {rule.id!r} was not accepted: {wrong}", BAD_INPUT)
                raise
        typer.echo(f"rule {rule.id} saved; etag {reply.etag}")


@app.command("delete", epilog="Example: cairn catalog rules delete unit-3-review")
def delete_rule(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The rule's id.")],
    *,
    target: Target = DEFAULT_TARGET,
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Remove one rule. It is inactive within a second."""
    with calling(target, api_key_file, insecure=insecure) as (stub, metadata):
        stub.DeleteRule(catalog_pb2.DeleteRuleRequest(id=identifier), metadata=metadata, timeout=timeout_s)
    typer.echo(f"rule {identifier} removed")


@app.command("preview", epilog="Example: cairn catalog rules preview rule.yaml --learner amy --learner ben --class 4b")
def preview(
    file: _File,
    *,
    learner: Annotated[list[str], typer.Option(help="A learner's id on your platform; may be given several times.")],
    removed: Annotated[
        bool, typer.Option("--removed", help="Show what removing the rule with that id would change.")
    ] = False,
    class_id: Annotated[str, typer.Option("--class", help="The class the lists are made for.")] = "",
    grade: Annotated[
        list[str] | None, typer.Option(help="A grade the lists are made for; may be given several times.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="The length of the lists.")] = 10,
    target_recommender: Annotated[
        str, typer.Option(envvar="CAIRN_TARGET_RECOMMENDER", help="host:port of the recommendation service.")
    ] = "127.0.0.1:50053",
    api_key_file: ApiKeyFile = None,
    insecure: Insecure = False,
    timeout_s: TimeoutS = 10.0,
) -> None:
    """Show what one rule would change in the lists of some learners, without writing it.

    Needs an API key with the scope `recommend`. `+` is added, `-` is removed, and the numbers are the ranks before and
    after.
    """
    rules = _read(file)
    if len(rules) != 1:
        fail(f"{file} holds {len(rules)} rules; a preview takes one", BAD_INPUT)
    if len(learner) > _LEARNERS_MAX:
        fail(f"{len(learner)} learners are given; give at most {_LEARNERS_MAX}", BAD_INPUT)
    request = recommender_pb2.PreviewRuleRequest(
        rule=rule_to_proto(rules[0]), removed=removed, learner_ids=learner, limit=limit, class_id=class_id
    )
    if grade:
        request.filter.grades.extend(grade)
    with calling_recommender(target_recommender, api_key_file, insecure=insecure) as (stub, metadata):
        reply = stub.PreviewRule(request, metadata=metadata, timeout=timeout_s)
    for shown in reply.learners:
        _print_preview(shown)
    if all(shown.HasField("problem") for shown in reply.learners):
        raise typer.Exit(FAILED)


def _print_preview(shown: recommender_pb2.RulePreview) -> None:
    console = Console(highlight=False)
    if shown.HasField("problem"):
        console.print(f"{escape(shown.learner_id)}: {escape(shown.problem.message)}")
        return
    before, after = list(shown.before), list(shown.after)
    if before == after:
        console.print(f"{escape(shown.learner_id)}: nothing changes")
        return
    console.print(f"{escape(shown.learner_id)}:")
    for place, resource in enumerate(after, start=1):
        was = before.index(resource) + 1 if resource in before else None
        mark = "+" if was is None else " " if was == place else "~"
        moved = "" if was in {None, place} else f"  (was {was})"
        console.print(f"  {mark} {place:>3} {escape(resource)}{moved}")
    for resource in before:
        if resource not in after:
            console.print(f"  -     {escape(resource)}")


def _listed(
    stub: catalog_pb2_grpc.CatalogServiceStub, metadata: Metadata, timeout_s: float, *, expired: bool
) -> Iterator[Rule]:
    token = ""
    while True:
        request = catalog_pb2.ListRulesRequest(page_size=1_000, page_token=token, include_expired=expired)
        reply = stub.ListRules(request, metadata=metadata, timeout=timeout_s)
        yield from map(rule_from_proto, reply.rules)
        token = reply.next_page_token
        if not token:
            return


def _read(file: Path) -> list[Rule]:
    try:
        return read_rules(file)
    except (FileUnreadableError, RulesInvalidError) as error:
        fail(str(error), BAD_INPUT)


def _short(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
