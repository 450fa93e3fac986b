from pathlib import Path

import pytest

from pipelines.recipe import sections
from pipelines.recipe_reference import keys_of, reference

PAGE = Path(__file__).parent.parent / "docs" / "RECIPE.md"


def test_the_page_of_all_keys_is_current():
    current = PAGE.read_text("utf-8") == reference()
    assert current, "keys have changed; run `python -m pipelines.recipe_reference > docs/RECIPE.md`"


@pytest.mark.parametrize("section", sections().values())
def test_every_key_has_its_sentence(section):
    keys = keys_of(section)
    assert [key.name for key in keys] == section.keys()
    lacking = [key.name for key in keys if not key.sentence.endswith(".")]
    assert not lacking


@pytest.mark.parametrize(
    ("section", "name", "values", "default"),
    [
        ("paths", "out", "path", "*needed*"),
        ("paths", "held_out", "path", "-"),
        ("generate", "batch_size", 'whole number, at least 1, or `"auto"`', "`25`"),
        ("train", "encoder_depth", "`3`, `4`, `5`", "`5`"),
        ("train", "atrous_rates", "list of 3 whole numbers, at least 1", "`[12, 24, 36]`"),
        ("cluster", "resources", "table of numbers, above 0", "`{}`"),
        ("interpreter", "learning_rate", "number, above 0", "`0.001`"),
    ],
)
def test_type_and_default_stand_in_words(section, name, values, default):
    (key,) = (key for key in keys_of(sections()[section]) if key.name == name)
    assert (key.values, key.default) == (values, default)
