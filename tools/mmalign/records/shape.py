"""The shape of a record: data in, a frozen model or problems in plain words out."""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from mmalign.characters import printable, quoted
from mmalign.records.model import ArxivId, Date, Id, Url
from mmalign.records.problems import Finding, Location
from mmalign.records.source import Data

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


R = TypeVar("R", bound=BaseModel)

MAX_SUGGESTIONS = 200
"""Looking for what was meant costs time: no more often than this per file."""


def build(model: type[R], data: Data, file: str) -> tuple[R | None, list[Finding]]:
    """An object of class `model` made from the data of a file, or None and all that is wrong."""
    try:
        # by_name=False: in a file only the alias counts (`for`, not the `for_` of Python).
        return model.model_validate(data, by_alias=True, by_name=False), []
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=True)
    # A list whose items are all wrong is also reported as too short: once is enough.
    inner = {each["loc"][:-1] for each in errors}
    errors = [each for each in errors if each["type"] != "too_short" or each["loc"] not in inner]
    return None, [
        _finding(model, data, file, each, number < MAX_SUGGESTIONS)
        for number, each in enumerate(errors)
    ]


def dotted(data: Any, location: Location) -> str:
    """A location as curators write it: `methods.mdpo.objective` rather than `methods.0.objective`.

    Works on the data of a file and on models.
    """
    parts: list[str] = []
    for part in location:
        data = _step(data, part)
        name = _step(data, "id") if isinstance(part, int) else None
        parts.append(name if isinstance(name, str) else str(part))
    return ".".join(parts)


def _step(data: Any, part: str | int) -> Any:
    if isinstance(part, int):
        return data[part] if isinstance(data, tuple) and part < len(data) else None
    return data.get(part) if isinstance(data, dict) else getattr(data, part, None)


def _finding(
    model: type[BaseModel], data: Data, file: str, error: ErrorDetails, suggest: bool
) -> Finding:
    location: Location = tuple(error["loc"])
    name, value, kind = printable(dotted(data, location), 200), error["input"], error["type"]
    key, context = str(location[-1]) if location else "", error.get("ctx", {})

    def finding(code: str, message: str, hint: str) -> Finding:
        return Finding(code, file, location, f"{name}: {message}", hint)

    required = _required(model, location)
    if kind == "missing":
        return finding("S001", "required field is missing", f"add `{key}:`")
    if kind == "extra_forbidden":
        return _unknown_key(model, location, finding, suggest)
    if value is None:
        key = printable(key, 40)
        hint = f"write a value after `{key}:`" + ("" if required else ", or delete the line")
        return finding("S007", "no value", hint)
    if kind == "string_type":
        return _not_text(key, value, finding)
    if kind in ("int_type", "int_from_float", "int_parsing"):
        hint = "write it without quotes" if _number_like(value) else f"such as `{key}: 2024`"
        return finding("S004", f"a whole number is wanted, not {_shown(value)}", hint)
    if kind in ("float_type", "finite_number"):
        hint = "write it without quotes" if _number_like(value) else "delete unit and signs"
        return finding("S009", f"a number is wanted, not {_shown(value)}", hint)
    if kind == "bool_type":
        hint = "write `true` or `false`, small and without quotes"
        return finding("S008", f"{_shown(value)} is neither `true` nor `false`", hint)
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", context["expected"])
        hint = f"one of {', '.join(allowed)}"
        near = difflib.get_close_matches(str(value)[:100], allowed, 1, 0.5) if suggest else []
        hint = f"did you mean '{near[0]}'? {hint}" if near else hint
        return finding("S005", f"{_shown(value)} is not allowed", hint)
    if kind == "string_pattern_mismatch":
        form, better = _form(context["pattern"], value)
        hint = f"write {quoted(better, 60)}" if better else f"such as {_EXAMPLES.get(form, form)}"
        return finding("S006", f"{_shown(value)} is not {form}", hint)
    if kind in ("too_short", "string_too_short"):
        hint = "write at least one" + ("" if required else ", or delete the key")
        return finding("S007", "empty", hint)
    if kind in ("tuple_type", "list_type"):
        hint = (
            f"write `[{printable(value, 60)}]`"
            if isinstance(value, str)
            else "start each item with a dash"
        )
        return finding("S010", f"a list is wanted, not {_shown(value)}", hint)
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return finding("S011", f"`key: value` lines are wanted, not {_shown(value)}", "indent them")
    if kind in ("greater_than_equal", "less_than_equal", "greater_than", "less_than"):
        return finding("S012", f"{value} is out of range", error["msg"].removeprefix("Input "))
    return finding("S099", error["msg"], "")


_Make = Callable[[str, str, str], Finding]
"""Code, message and hint -> the finding at the place in question."""


def _required(model: type[BaseModel], location: Location) -> bool:
    """Must something stand at a location? An item of a list always."""
    if not location or isinstance(location[-1], int):
        return True
    inner = _model_at(model, location[:-1])
    named = (inner.model_fields.items()) if inner else ()
    field = next((f for n, f in named if location[-1] in (n, f.alias)), None)
    return field is not None and field.is_required()


def _unknown_key(
    model: type[BaseModel], location: Location, finding: _Make, suggest: bool
) -> Finding:
    key, known = str(location[-1]), _fields(model, location[:-1])
    if key == "<<":
        return finding("Y007", "merge keys are not allowed", "write the values out")
    near = difflib.get_close_matches(key[:100], known, 1, 0.6) if suggest else []
    if near:
        return finding("S002", "unknown key", f"did you mean '{near[0]}'?")
    return finding("S002", "unknown key", f"known here: {', '.join(known)}" if known else "")


def _not_text(key: str, value: Any, finding: _Make) -> Finding:
    if isinstance(value, (tuple, dict)):
        return finding("S003", f"one text is wanted, not {_shown(value)}", "write it in one value")
    # `{raw}` is filled in where the text of the file is at hand: the number may have lost digits.
    why = f"YAML reads it as {_shown(value)}"
    if key == "arxiv":
        why += " and drops zeros at the end"
    hint = f'put it in quotes: `{printable(key, 40)}: "{{raw}}"`'
    return finding("S003", f"text is wanted, but {why}", hint)


def with_raw(finding: Finding, raw: str | None) -> Finding:
    """The finding with the text as it stands in the file in place of `{raw}`."""
    if "{raw}" not in finding.hint:
        return finding
    shown = printable(raw or "...", 60)
    hint = finding.hint.replace("{raw}", shown)
    if finding.location and isinstance(finding.location[-1], int):  # an item of a list has no key
        hint = f'put it in quotes: `- "{shown}"`'
    return Finding(finding.code, finding.file, finding.location, finding.message, hint)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return quoted(value, 60)


def _number_like(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) is not None


def _pattern(annotated: Any) -> str:
    return next(str(item.pattern) for item in typing.get_args(annotated)[1:] if item.pattern)


_FORMS = {
    _pattern(Id): "an id (lower-case letters, digits, hyphens)",
    _pattern(Url): "a web address",
    _pattern(Date): "a date",
    _pattern(ArxivId): "an arXiv id",
}
_EXAMPLES = {
    _FORMS[_pattern(Id)]: "'qwen2-5-vl'",
    _FORMS[_pattern(Url)]: "'https://github.com/owner/name'",
    _FORMS[_pattern(Date)]: "'2026-01-31'",
    _FORMS[_pattern(ArxivId)]: "'2503.14504', without version",
}


def _form(pattern: str, value: str) -> tuple[str, str | None]:
    """What a pattern means in words, and what was probably meant."""
    form = _FORMS.get(pattern, f"of the form {pattern}")
    better = None
    if pattern == _pattern(Id):
        better = re.sub(r"[^a-z0-9]+", "-", value.lower()).strip("-")
    elif pattern == _pattern(ArxivId):
        found = re.search(r"\d{4}\.\d{4,5}", value)
        better = found.group() if found else None
    elif pattern == _pattern(Url) and re.match(r"[\w.-]+\.[a-z]{2,}(/|$)", value):
        better = f"https://{value}"
    return form, better


def _model_at(model: type[BaseModel] | None, location: Location) -> type[BaseModel] | None:
    for part in location:
        if isinstance(part, str) and model:
            field = next((f for n, f in model.model_fields.items() if part in (n, f.alias)), None)
            model = _inner_model(field.annotation) if field else None
    return model


def _fields(model: type[BaseModel], location: Location) -> list[str]:
    """Names, as written in files, of the fields of the model at a location."""
    inner = _model_at(model, location)
    return [field.alias or name for name, field in inner.model_fields.items()] if inner else []


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    """The model class inside an annotation such as `tuple[Method, ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_inner_model(each) for each in typing.get_args(annotation))
    return next((each for each in inner if each), None)
