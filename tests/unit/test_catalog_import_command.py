"""`cairn catalog import`, where it ends before it calls the service."""

import gzip

import pytest
from typer.testing import CliRunner

from services.catalog.cli.catalog import app


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(app, ["import", *map(str, arguments)])


def test_what_is_wrong_is_said_in_full_however_long_the_path_is(run, tmp_path):
    folder = tmp_path / ("a-name-of-many-words" * 6)
    folder.mkdir()
    result = run("--resources", folder, "--format", "common-cartridge")
    assert result.exit_code == 2
    assert "cannot be read" in result.output


@pytest.mark.parametrize("text", ["[]", '{"CFDocuments": []}', '{"CFItems": []}'])
def test_a_framework_without_skills_is_named(run, tmp_path, text):
    file = tmp_path / "framework.json"
    file.write_text(text, encoding="utf-8")
    result = run("--framework", file)
    assert result.exit_code == 2
    assert "no skill" in result.output


def test_a_name_that_no_file_can_have_is_no_file(run):
    result = run("--framework", "a" * 300)
    assert result.exit_code == 2
    assert "is no file" in result.output


def test_a_framework_that_grows_beyond_all_bounds_is_refused(run, tmp_path):
    file = tmp_path / "framework.json.gz"
    with gzip.open(file, "wb", compresslevel=1) as packed:
        for _ in range(257):
            packed.write(b" " * (1 << 20))
        packed.write(b"[]")
    result = run("--framework", file)
    assert result.exit_code == 2
    assert "256 MiB" in result.output
