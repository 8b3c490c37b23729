"""Rewrites pydantic's JSON schemas into schemas that client generators can read.

Each rule has a generator that stopped or produced code that does not work: see `tests/clients`. The
rewritten schemas allow the same values, except for three things that generators cannot express as a
type: which of several fields is required; the constant of a number or a boolean; and that a single
value may replace a list, or that a list may mix its types.
"""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_UNIONS = ("anyOf", "oneOf")
_NULL: Json = {"type": "null"}
_PLAIN_TYPES = ("boolean", "integer", "number", "string")


def readable(schema: Json) -> Json:
    """A schema of the components, rewritten; its title stays, for it is a name.

    >>> readable({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None})
    {'type': ['string', 'null']}
    >>> readable({"anyOf": [{"oneOf": [{"type": "number"}, {"type": "object"}]}, {"type": "null"}]})
    {'oneOf': [{'type': 'number'}, {'type': 'object'}, {'type': 'null'}]}
    """
    made = {key: _inner(key, value) for key, value in schema.items()}
    made.pop("default", None)  # openapi-typescript makes a field that has one required
    if not isinstance(made.get("const", ""), str):
        made["type"] = "boolean" if isinstance(made["const"], bool) else "integer"
        del made["const"]
    members = _members(made)
    if members and all(set(each) == {"required"} for each in members):
        del made["anyOf"]  # openapi-generator makes a union of objects without fields
        made["minProperties"] = 1 + len(made.get("required", ()))
    elif members:
        made = _union(made, members)
    return made


def _inner(key: str, value: Any) -> Any:
    if key == "properties":
        return {name: _field(readable(each)) for name, each in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return _untitled(readable(value))
    if key in _UNIONS:
        return [_untitled(readable(each)) for each in value]
    return value


def _field(schema: Json) -> Json:
    if schema.get("type") == "null":  # openapi-generator has no type for it
        schema["type"] = ["string", "null"]
    return _untitled(schema)


def _untitled(schema: Json) -> Json:
    """Without a title: it becomes the name of a class, and many fields share one."""
    return {key: value for key, value in schema.items() if key != "title"}


def _members(schema: Json) -> list[Json]:
    """What a union is of; unions inside it are part of it."""
    found: list[Json] = []
    for each in (each for key in _UNIONS for each in schema.get(key, ())):
        inner = _members(each) or _lists(each) or [each]
        found += [one for one in inner if one not in found]
    # typescript-fetch takes a list for the object that may stand in its place.
    listed = [each["items"] for each in found if "$ref" in each.get("items", ())]
    return [each for each in found if each not in listed]


def _lists(schema: Json) -> list[Json]:
    """A list of a union as one list for each kind: openapi-generator's Python reads no other."""
    kinds = _members(schema.get("items", {})) if schema.get("type") == "array" else []
    return [{**schema, "items": kind} for kind in kinds]


def _union(schema: Json, members: list[Json]) -> Json:
    made = {key: value for key, value in schema.items() if key not in _UNIONS}
    kinds = [each for each in members if each != _NULL]
    if len(members) == 1:
        return {**kinds[0], **made}
    if len(kinds) > 1 or kinds[0].get("type") not in _PLAIN_TYPES or "enum" in kinds[0]:
        return {**made, "oneOf": kinds + [_NULL] * (len(kinds) < len(members))}
    if len(kinds) < len(members):
        kinds[0] = {**kinds[0], "type": [kinds[0]["type"], "null"]}
    return {**kinds[0], **made}
