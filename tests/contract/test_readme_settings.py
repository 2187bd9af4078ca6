"""The README's table of settings is what the processes read."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic_settings import BaseSettings

from services.catalog.settings import CatalogSettings
from services.ingest.settings import IngestSettings
from services.recommender.settings import RecommenderServerSettings, WorkerSettings

README = Path(__file__).parents[2] / "README.md"
PROCESSES: dict[str, type[BaseSettings]] = {
    "ingest": IngestSettings,
    "catalog": CatalogSettings,
    "worker": WorkerSettings,
    "server": RecommenderServerSettings,
}


def table() -> str:
    """One row per setting: its variable, default, meaning, and the processes that read it."""
    readers: dict[str, list[str]] = {}
    rows: dict[str, tuple[str, str]] = {}
    for process, settings in PROCESSES.items():
        for name, field in settings.model_fields.items():
            variable = f"CAIRN_{name.upper()}"
            readers.setdefault(variable, []).append(process)
            default = "" if field.default is None else str(field.default)
            rows[variable] = (f"`{default}`" if default else "", field.description or "")
    lines = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    for variable, (default, meaning) in rows.items():
        everyone = len(readers[variable]) == len(PROCESSES)
        lines.append(
            f"| `{variable}` | {default} | {meaning} | {'all' if everyone else ', '.join(readers[variable])} |"
        )
    return "\n".join(lines)


def test_the_table_of_settings_is_what_the_processes_read():
    shown = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", README.read_text(), flags=re.DOTALL)
    assert shown is not None
    assert shown[1] == table(), "paste this into README.md:\n" + table()


def test_every_setting_says_what_it_means():
    for settings in PROCESSES.values():
        for name, field in settings.model_fields.items():
            assert field.description, name
