"""What docs/deploy.md says exists: the table is computed, commands have the options shown, the chart has the values."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from itertools import chain, pairwise
from pathlib import Path

import orjson
import pytest
import typer
import yaml

from deploy.kafka.acls import commands
from deploy.sizing import BENCH, LEARNERS, Assumptions, document, measured, size
from services.cli import COMMANDS

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "deploy.md").read_text()
CHART = ROOT / "deploy" / "helm" / "cairn"
SCHEMA = CHART / "values.schema.json"
COMPOSE = ROOT / "deploy" / "compose.yaml"
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}

KINDS = {"--topic": "topics", "--group": "groups", "--transactional-id": "transactional_ids"}


def fenced(language):
    """The contents of the document's blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, flags=re.DOTALL | re.MULTILINE)


def lines():
    """Every line of the blocks of commands."""
    return [line.strip() for block in fenced("sh") for line in block.splitlines() if line.strip()]


def named():
    """Every command that the text names; what follows may be left out."""
    text = re.sub(r"\s+", " ", DOCUMENT)
    return re.findall(r"`((?:cairn|python -m|pytest) [^`]+)`", text)


def words_of(line):
    """The words of a command, without where its output goes."""
    return shlex.split(line.partition(" > ")[0])


def test_the_sizes_are_those_that_the_command_prints_from_the_measured_figures():
    found, assumed = measured(orjson.loads(BENCH.read_bytes())), Assumptions()
    computed = document([size(each, found, assumed) for each in LEARNERS], found, assumed)
    table = re.search(r"<!-- sizing -->\n(.*?)\n<!-- /sizing -->", DOCUMENT, flags=re.DOTALL)
    assert table is not None
    assert table[1] == computed, "paste this into docs/deploy.md:\n" + computed


@pytest.mark.parametrize("line", [line for line in (*lines(), *named()) if line.startswith("cairn ")])
def test_a_cairn_command_of_the_document_takes_what_it_is_given(line):
    name, *rest = words_of(line)[1:]
    command = next(each for each in COMMANDS if each.name == name).load()
    while hasattr(command, "commands") and rest:
        command = command.commands[rest.pop(0)]
    given = {word for word in rest if word.startswith("--")}
    assert given <= {name for option in command.params for name in option.opts}
    if line in lines():
        required = {option.opts[0] for option in command.params if option.required}
        assert {name for name in required if name.startswith("--")} <= given


def test_modules_test_files_and_faults_that_the_document_runs_exist():
    for line in (*lines(), *named()):
        words = words_of(line)
        if words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, line
            module = importlib.import_module(words[2])
            command = typer.main.get_command(_single(getattr(module, words[2].rpartition(".")[2])))
            options = {name for option in command.params for name in option.opts}
            assert {word for word in words if word.startswith("--")} <= options, line
        if words[0] == "pytest":
            assert (ROOT / words[1]).exists(), line
    scenarios = "".join(path.read_text() for path in (ROOT / "tests" / "faults").glob("*.py"))
    for name in re.findall(r"make faults ONLY=([\w-]+)", DOCUMENT):
        assert f'"{name}"' in scenarios, name


def _single(function):
    app = typer.Typer()
    app.command()(function)
    return app


def test_the_commands_of_kafka_allow_what_the_list_of_rights_says():
    listed = yaml.safe_load((ROOT / "deploy" / "acls.yaml").read_text())["users"]
    said = {}
    for words in commands(ROOT / "deploy" / "acls.yaml", []):
        pairs = dict(pairwise(words))
        operations = [word for before, word in pairwise(words) if before == "--operation"]
        (option,) = KINDS.keys() & set(words)
        name, kind = pairs[option] + ("*" if "prefixed" in words else ""), KINDS[option]
        user = pairs["--allow-principal"].removeprefix("User:")
        said.setdefault(user, {}).setdefault(kind, {})[name] = operations
    expected = {
        user: {
            kind: {name: [_spelt(each) for each in operations] for name, operations in names.items()}
            for kind, names in resources.items()
        }
        for user, resources in listed.items()
    }
    assert said == expected


def _spelt(operation):
    """As kafka-acls.sh of Apache Kafka lists operations in its help."""
    return {
        "READ": "Read",
        "WRITE": "Write",
        "CREATE": "Create",
        "DELETE": "Delete",
        "ALTER": "Alter",
        "DESCRIBE_CONFIGS": "DescribeConfigs",
    }[operation]


def values():
    """The values of the chart that the document sets, in files and on command lines."""
    found = [yaml.safe_load(block) for block in fenced("yaml")]
    for path, value in re.findall(r"--set\s+([\w.]+)=(\S+?)(?=[`\s])", DOCUMENT):
        nested = yaml.safe_load(value)
        for name in reversed(path.split(".")):
            nested = {name: nested}
        found.append(nested)
    return found


@pytest.mark.skipif(not SCHEMA.exists(), reason="there is no chart")
@pytest.mark.parametrize("given", values(), ids=str)
def test_the_chart_has_the_values_that_the_document_sets(given):
    schema = json.loads(SCHEMA.read_text())
    assert not list(problems(given, schema, schema, "values"))


def problems(value, schema, root, where):
    """What a schema of the kind that the chart has refuses."""
    schema = root["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    kinds = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type", [])
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):
        yield f"{where} is {value!r}, not {kinds}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, not one of {schema['enum']}"
    if isinstance(value, dict):
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            if known is False:
                yield f"{where}.{name} does not exist"
            elif isinstance(known, dict):
                yield from problems(inner, known, root, f"{where}.{name}")
    if isinstance(value, list):
        yield from chain.from_iterable(
            problems(each, schema["items"], root, where) for each in value if "items" in schema
        )


@pytest.mark.skipif(not SCHEMA.exists(), reason="there is no chart")
def test_jobs_that_the_document_starts_are_in_the_chart():
    templates = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    for job in re.findall(r"--from=cronjob/cairn-(\w+)", DOCUMENT):
        assert f'"role" "{job}"' in templates


@pytest.mark.skipif(not COMPOSE.exists(), reason="there is no compose file")
def test_the_compose_file_has_the_services_ports_and_volumes_that_the_document_uses():
    composed = yaml.safe_load(COMPOSE.read_text())
    published = {
        port.rpartition(":")[0] for service in composed["services"].values() for port in service.get("ports", ())
    }
    assert set(re.findall(r"--target (127\.0\.0\.1:\d+)", DOCUMENT)) <= published
    assert set(re.findall(r"run --rm (\w+)", DOCUMENT)) <= composed["services"].keys()
    assert {"kafka", "bundles"} <= composed["volumes"].keys()
