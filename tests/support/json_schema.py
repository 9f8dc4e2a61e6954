"""Compare what is sent and read with a JSON schema, in the part of the language that Codex's generator writes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dev_sessions.models import JsonObject

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


class Schemas:
    """A document with definitions that refer to each other."""

    def __init__(self, document: JsonObject) -> None:
        self._document = document

    def definition(self, name: str) -> JsonObject:
        """Return a definition, by its name or its place: `v2/Turn`."""
        return self._resolve({"$ref": f"#/definitions/{name}"})

    def methods(self, union: str) -> dict[str, JsonObject]:
        """Return the parameters of each method of a union of messages: `ClientRequest`, `ServerNotification` …"""
        cases = (self._resolve(case)["properties"] for case in self.definition(union)["oneOf"])
        return {case["method"]["enum"][0]: case.get("params", {}) for case in cases}

    def problems(self, schema: JsonObject, value: Any, at: str = "") -> list[str]:
        """Return what is wrong with a value. A field that the schema does not have is, too."""
        cases = list(self._cases(schema))
        found = [self._case_problems(case, value, at) for case in cases]
        return min(found, key=len, default=[])

    def has(self, schema: JsonObject, path: str) -> bool:
        """Return whether a value may have a field, such as `thread.status.type` or `data.id`; arrays are passed."""
        return bool(self._at(schema, path))

    def words(self, schema: JsonObject, path: str) -> set[str]:
        """Return the words that a field may have."""
        return {word for case in self._at(schema, path) for word in case.get("enum", ()) if isinstance(word, str)}

    def _at(self, schema: JsonObject, path: str) -> list[JsonObject]:
        found = [schema]
        for name in path.split("."):
            found = [
                case["properties"][name]
                for part in found
                for case in self._elements(part)
                if name in case.get("properties", {})
            ]
        return [case for part in found for case in self._elements(part)]

    def _elements(self, schema: JsonObject) -> Iterator[JsonObject]:
        for case in self._cases(schema):
            if isinstance(case.get("items"), dict):
                yield from self._elements(case["items"])
            else:
                yield case

    def _cases(self, schema: JsonObject) -> Iterator[JsonObject]:
        """Yield the alternatives of a schema, each with the fields that all have in common."""
        schema = self._resolve(schema)
        inner = [*schema.get("oneOf", ()), *schema.get("anyOf", ()), *schema.get("allOf", ())]
        if not inner:
            yield schema
        for part in inner:
            for case in self._cases(part):
                shared = {**schema.get("properties", {}), **case.get("properties", {})}
                required = [*schema.get("required", ()), *case.get("required", ())]
                yield {**case, "properties": shared, "required": required} if shared else case

    def _case_problems(self, case: JsonObject, value: Any, at: str) -> list[str]:
        kinds = case.get("type", [])
        types = [_TYPES[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        if types and not any(isinstance(value, kind) for kind in types):
            return [f"{at or 'the value'} is no {kinds}"]
        if "enum" in case and value not in case["enum"]:
            return [f"{at or 'the value'} is none of {case['enum']}"]
        if isinstance(value, list) and isinstance(case.get("items"), dict):
            return [problem for item in value for problem in self.problems(case["items"], item, f"{at}[]")]
        if not isinstance(value, dict):
            return []
        found = [f"{at}.{name} is missing" for name in case.get("required", ()) if name not in value]
        others = case.get("additionalProperties", "properties" not in case)
        for name, item in value.items():
            field = case.get("properties", {}).get(name, others)
            if field is False:
                found.append(f"{at}.{name} is unknown")
            elif isinstance(field, dict):
                found += self.problems(field, item, f"{at}.{name}")
        return found

    def _resolve(self, schema: JsonObject | bool) -> JsonObject:
        if isinstance(schema, bool):  # any value
            return {}
        found: JsonObject = schema
        while "$ref" in found:
            node: Any = self._document
            for name in found["$ref"].removeprefix("#/").split("/"):
                node = node[name]
            found = node
        return found
