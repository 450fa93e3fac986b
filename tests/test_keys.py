"""Settings of another room: flat in a recipe's file, the owner's dataclass in code."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from pydantic import Field, ValidationError

from pipelines.sections.keys import Count, Keys, Section


@dataclass(frozen=True)
class Shape:
    sides: Annotated[int, Field(ge=3)] = 3
    """Sides of the shape."""
    colour: str = "red"
    """Its colour."""
    hidden: bool = False

    def __post_init__(self) -> None:
        if self.colour == "blue" and self.sides > 4:
            raise ValueError("only a triangle or a square may be blue")


class Drawing(Section):
    copies: Count = 1
    shape: Annotated[Shape, Keys(but={"hidden"})] = Shape()
    width: float = 1.0


def mistakes(given: dict[str, Any]) -> dict[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as caught:
        Drawing.model_validate(given)
    return {error["loc"]: error["type"] for error in caught.value.errors()}


def test_keys_of_the_file_become_fields_of_the_owners_dataclass() -> None:
    assert Drawing.model_validate({"copies": 2, "sides": 5}) == Drawing(copies=2, shape=Shape(sides=5))


def test_the_keys_are_those_of_the_file_in_its_order() -> None:
    assert Drawing.keys() == ["copies", "sides", "colour", "width"]


def test_all_mistakes_are_found_at_once_the_owners_and_the_sections() -> None:
    found = mistakes({"sides": 2, "colour": 7, "copies": 0, "hidden": True})
    assert found == {
        ("copies",): "greater_than_equal",
        ("shape", "sides"): "greater_than_equal",
        ("shape", "colour"): "string_type",
        ("hidden",): "extra_forbidden",
    }


def test_what_the_owner_refuses_is_refused() -> None:
    assert mistakes({"sides": 5, "colour": "blue"}) == {("shape",): "value_error"}


def test_a_value_of_another_type_is_refused_and_not_converted() -> None:
    assert mistakes({"sides": "5"}) == {("shape", "sides"): "int_type"}


def test_a_section_is_written_as_flat_as_it_is_read() -> None:
    drawing = Drawing(shape=Shape(colour="green"))
    assert drawing.model_dump() == {"copies": 1, "sides": 3, "colour": "green", "width": 1.0}
    assert drawing.model_dump(exclude_defaults=True) == {"colour": "green"}
    assert Drawing.model_validate(drawing.model_dump()) == drawing


def test_changed_keys_leave_the_others_as_they_are() -> None:
    drawing = Drawing(copies=2, shape=Shape(colour="green", hidden=True))
    assert drawing.changed(sides=4, width=2.0) == Drawing(
        copies=2, shape=Shape(sides=4, colour="green", hidden=True), width=2.0
    )


def test_what_a_recipe_may_set_is_read_without_torch() -> None:
    code = "import sys, generate.settings, label.settings, deeplab.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
