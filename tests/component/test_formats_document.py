"""What docs/formats.md says of tables of resources is true."""

import re
from pathlib import Path
from typing import get_args

import pytest

from services.catalog.formats.resources.table import ResourceField, TableMapping, load_table_mapping

DOCUMENT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
TABLES = DOCUMENT.partition("### Tables of resources")[2].partition("\n## ")[0]


def test_every_key_of_a_mapping_of_resources_is_explained():
    for key in TableMapping.model_fields:
        assert re.search(rf"`{key}`|^{key}:", TABLES, re.MULTILINE), key
    for field in get_args(ResourceField):
        assert f"`{field}`" in TABLES, field


@pytest.mark.parametrize("mapping", re.findall(r"```yaml\n(.*?)```", TABLES, re.DOTALL), ids=["example"])
def test_the_mapping_of_the_document_is_one(tmp_path, mapping):
    (tmp_path / "mapping.yaml").write_text(mapping, encoding="utf-8")
    assert load_table_mapping(tmp_path / "mapping.yaml").columns["assesses"] == "Standards"
