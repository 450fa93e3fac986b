"""How a recipe's section holds settings that other rooms own: flat in the file, a dataclass of the owner's in code.

`[train] encoder = "resnet18"` becomes `recipe.train.network.encoder`, a field of `deeplab.Network`. Name, type, limits,
default and sentence of such a key stand once, in the owner's dataclass; mistakes are told by the file's own keys.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Annotated, Any, Self, cast, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)
from pydantic_core import CoreSchema


def _each_once(values: list[int]) -> list[int]:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{twice[0]} is there twice; give it once")
    return values


Count = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
Naturals = Annotated[list[Natural], Field(min_length=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0)]  # at most 2^63 - 1, as every number of a recipe
Seeds = Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)]


class Keys:
    """Marks a field that holds an owner's dataclass; `but` are fields of it that a recipe does not set."""

    def __init__(self, but: Collection[str] = ()) -> None:
        self.but = frozenset(but)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A strict section would take instances alone; this field takes a table as well, whose values stay strict."""
        schema = handler(source)
        cast(dict[str, Any], handler.resolve_ref_schema(schema))["strict"] = False
        return schema


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)

    @classmethod
    def owned(cls) -> dict[str, list[str]]:
        """The fields that hold an owner's dataclass, each with the keys that stand for what is in it."""
        return {
            name: [key.name for key in fields(cast(Any, field.annotation)) if key.name not in mark.but]
            for name, field in cls.model_fields.items()
            for mark in field.metadata
            if isinstance(mark, Keys)
        }

    @classmethod
    def keys(cls) -> list[str]:
        """All keys, as a file names them."""
        owned = cls.owned()
        return [key for name in cls.model_fields for key in owned.get(name, [name])]

    @classmethod
    def lists(cls) -> dict[str, type["Section"]]:
        """The keys that hold a list of tables, with what each of these is."""
        held = {name: get_args(field.annotation)[:1] for name, field in cls.model_fields.items()}
        return {
            name: kind
            for name, kinds in held.items()
            for kind in kinds
            if get_origin(cls.model_fields[name].annotation) is list
            if isinstance(kind, type) and issubclass(kind, Section)
        }

    def changed(self, **keys: Any) -> Self:
        """The same with other values of these keys, as a file names them; their limits are not checked."""
        owned = self.owned()
        update = {
            name: replace(getattr(self, name), **value) if name in owned else value
            for name, value in _sorted(keys, owned).items()
        }
        return self.model_copy(update=update)

    @model_validator(mode="before")
    @classmethod
    def _sort_keys(cls, given: Any) -> Any:
        return _sorted(given, cls.owned()) if isinstance(given, Mapping) else given

    @model_serializer(mode="wrap")
    def _flat(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        owned, flat = self.owned(), {}
        for name, value in handler(self).items():
            flat |= {key: value[key] for key in owned[name] if key in value} if name in owned else {name: value}
        return flat


def _sorted(flat: Mapping[str, Any], owned: Mapping[str, list[str]]) -> dict[str, Any]:
    """Put keys that stand for an owner's fields into a table for it; a table that is there has the rest of them."""
    fields_of_section = dict(flat)
    for name, keys in owned.items():
        table = {key: fields_of_section.pop(key) for key in keys if key in fields_of_section}
        if table:
            fields_of_section[name] = {**fields_of_section.get(name, {}), **table}
    return fields_of_section
