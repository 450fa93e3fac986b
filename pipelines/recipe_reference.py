"""docs/RECIPE.md: every key of a recipe with its type, its default and its sentence, written from the code itself.

`python -m pipelines.recipe_reference` prints the page.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.recipe import Recipe, sections
from pipelines.sections.keys import Section

Schema = dict[str, Any]
_NOUNS = {"integer": "whole number", "number": "number", "string": "text"}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}
_HEAD = """# The recipe, key by key

A recipe is a TOML file of these sections. `datasetddpm STAGE recipe.toml --set section.key=value` stands over it.
A section or key may be left out, unless its default is *needed*. `datasetddpm init` writes a recipe to start from;
`pipelines/recipes/demo.toml` is another. This page is written from the code:
`python -m pipelines.recipe_reference > docs/RECIPE.md`.
"""


@dataclass(frozen=True)
class Key:
    """What the page says of a key, each part as Markdown."""

    name: str
    values: str  # its type in words
    default: str
    sentence: str


def reference() -> str:
    """The page, as Markdown."""
    parts = [_HEAD, _table(keys_of(Recipe))]
    for name, section in sections().items():
        assert section.__doc__
        parts += [f"## [{name}]\n\n{' '.join(section.__doc__.split())}\n", _table(keys_of(section))]
        for key, several in section.lists().items():
            assert several.__doc__
            parts += [f"### [[{name}.{key}]]\n\n{' '.join(several.__doc__.split())}\n", _table(keys_of(several))]
    return "\n".join(parts)


def keys_of(section: type[Section]) -> list[Key]:
    """The keys of a section, in its order; of the recipe those that stand above its sections."""
    schema, tables = section.model_json_schema(), set(sections()) if section is Recipe else set()
    return list(_keys(schema, set(section.keys()) - tables, schema.get("$defs", {})))


def _keys(schema: Schema, wanted: set[str], definitions: Schema) -> Iterator[Key]:
    for name, field in schema["properties"].items():
        owner = definitions.get(field.get("$ref", "").removeprefix("#/$defs/"))
        if name in wanted:
            default = "*needed*" if name in schema.get("required", ()) else _toml(field["default"])
            yield Key(name, _words(field), default, " ".join(field.get("description", "").split()))
        elif owner:
            yield from _keys(owner, wanted, definitions)


def _table(keys: list[Key]) -> str:
    rows = [f"| `{key.name}` | {key.values} | {key.default} | {key.sentence} |" for key in keys]
    return "\n".join(["| key | value | default | |", "|---|---|---|---|", *rows]) + "\n"


def _toml(value: Any) -> str:
    """A default as it would stand in the file; what is not set is a dash."""
    if isinstance(value, dict):
        pairs = ", ".join(f"{json.dumps(key)} = {json.dumps(held)}" for key, held in value.items())
        return f"`{{ {pairs} }}`" if pairs else "`{}`"
    return "-" if value is None else f"`{json.dumps(value)}`"


def _words(schema: Schema, ending: str = "") -> str:
    """A type in words: `whole number, at least 1`; with the ending "s" of several."""
    if "anyOf" in schema:
        return ", or ".join(_words(kind, ending) for kind in schema["anyOf"] if kind.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value)}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if "$ref" in schema:
        return f"table{ending}"
    if kind == "boolean":
        return "`true`, `false`"
    if kind == "object":
        held = schema.get("additionalProperties")
        return f"table{ending} of {_words(held, 's')}" if isinstance(held, dict) else f"table{ending}"
    if kind == "array":
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        count = f"{least} " if least == most else f"{least} or more " if least else ""
        return f"list{ending} of {count}{_words(schema['items'], 's')}"
    noun = "path" if schema.get("format") == "path" else _NOUNS[str(kind)]
    return ", ".join([noun + ending, *(words.format(schema[k]) for k, words in _LIMITS.items() if k in schema)])


if __name__ == "__main__":
    sys.stdout.write(reference())
