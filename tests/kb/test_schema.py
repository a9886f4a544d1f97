"""The committed JSON Schemas are those of the models, and the records satisfy them."""

from __future__ import annotations

import json

import pytest

from mmalign.records import schema, source


def test_committed_schemas_are_fresh(checkout):
    folder = checkout / "taxonomy" / "schema"
    texts = schema.schemas()
    assert sorted(path.name for path in folder.iterdir()) == sorted(texts)
    for name, text in texts.items():
        committed = (folder / name).read_text(encoding="utf-8")
        assert committed == text, f"{name} is stale: run `python -m mmalign.records.schema`"


def test_schemas_refuse_what_the_models_refuse():
    paper = json.loads(schema.schemas()["paper.json"])
    assert paper["additionalProperties"] is False
    assert {"id", "title", "authors", "year", "venue", "evidence"} <= set(paper["required"])
    evidence = paper["$defs"]["Evidence"]
    assert "for" in evidence["properties"]
    assert "for_" not in evidence["properties"]


def test_records_satisfy_the_schema_by_an_independent_reader(data_root):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json.loads(schema.schemas()["paper.json"]))
    files = sorted((data_root / "papers").glob("*.yaml"))
    assert len(files) == 4
    for file in files:
        data = source.parse(file.read_bytes(), file.name).data
        validator.validate(json.loads(json.dumps(data)))
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**json.loads(json.dumps(data)), "yaer": 1})
