"""`cairn catalog` without a running service."""

import pytest
from typer.testing import CliRunner

from services.catalog.cli.catalog import app

runner = CliRunner(env={"CAIRN_API_KEY": "key", "COLUMNS": "200"})


@pytest.fixture
def skills_file(tmp_path):
    file = tmp_path / "skills.jsonl"
    file.write_text('{"id": "a"}\n')
    return file


def test_an_import_of_nothing_is_refused_with_the_options(tmp_path):
    result = runner.invoke(app, ["import"])
    assert result.exit_code == 2
    assert "name a file with --skills FILE, --resources FILE or both" in result.stderr


def test_every_problem_is_shown_with_its_line_and_exit_code_2(tmp_path, skills_file):
    skills_file.write_text('{"id": "a"}\n\n{"id": "a", "importance": 3}\n{"id": "b", "colour": "red"}\n')
    resources = tmp_path / "resources.jsonl"
    resources.write_text('{"id": "r", "title": "R", "kind": "film"}\n')
    # Wide enough for any folder that tests run in.
    result = runner.invoke(
        app, ["import", "--skills", str(skills_file), "--resources", str(resources)], env={"COLUMNS": "300"}
    )
    assert result.exit_code == 2
    shown = [line.split(None, 2) for line in result.stderr.splitlines()[1:-1]]
    assert [(where, field) for where, field, _ in shown] == [
        (f"{skills_file}:4", "colour"),
        (f"{resources}:1", "kind"),
        (f"{skills_file}:3", "importance"),
        (f"{skills_file}:3", "id"),
    ]
    assert shown[0][2].startswith("is not a known column; known are id, framework, code, statement")
    assert result.stderr.splitlines()[-1] == "nothing was imported: fix these lines, then import again"


def test_only_the_first_problems_are_shown_and_the_others_counted(skills_file):
    skills_file.write_text("\n".join(["{}"] * 80))
    result = runner.invoke(app, ["import", "--skills", str(skills_file)])
    assert "... and 30 more" in result.stderr


def test_a_missing_file_is_named():
    result = runner.invoke(app, ["import", "--skills", "absent.jsonl"])
    assert result.exit_code == 2
    assert "absent.jsonl cannot be read (No such file or directory); name a file you may read" in result.stderr


def test_a_missing_api_key_is_refused_with_the_remedy(skills_file):
    result = runner.invoke(app, ["import", "--skills", str(skills_file)], env={"CAIRN_API_KEY": ""})
    assert result.exit_code == 2
    assert "set CAIRN_API_KEY or name its file with --api-key-file" in result.stderr


def test_an_api_key_file_that_cannot_be_read_is_named(skills_file):
    result = runner.invoke(app, ["list", "skill", "--api-key-file", "absent.key"])
    assert result.exit_code == 2
    assert "the API key file absent.key cannot be read" in result.stderr


def test_an_unreachable_service_is_named_with_the_remedy(skills_file):
    result = runner.invoke(app, ["import", "--skills", str(skills_file), "--target", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "no catalog service answers at 127.0.0.1:1: start it, or name another with --target" in result.stderr


def test_help_shows_a_line_of_each_kind_of_file():
    result = runner.invoke(app, ["import", "--help"])
    assert result.exit_code == 0
    for word in ('"prerequisites"', '"teaches"', "lesson, video, practice, game, assessment, activity", "Exits with 2"):
        assert word in result.stdout
