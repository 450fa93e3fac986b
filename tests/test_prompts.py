"""Which words a seed is given."""

from collections import Counter

import pytest

from generate import GenerateError, Prompts

CHOICES = {"breed": ("grey", "bay"), "place": ("meadow", "sand")}
HORSES = Prompts(("a {breed} horse, {place}", "a {breed} foal"), CHOICES)


def test_the_prompt_of_a_seed_depends_on_run_seed_and_seed_alone() -> None:
    forward = [HORSES.of(seed) for seed in range(40)]
    assert [HORSES.of(seed) for seed in reversed(range(40))] == forward[::-1]
    other = Prompts(HORSES.texts, HORSES.choices, run_seed=1)
    assert [other.of(seed) for seed in range(40)] != forward


def test_as_many_seeds_in_a_row_as_there_are_texts_have_each_another() -> None:
    six = Prompts([f"a photo of {thing}" for thing in "abcdef"])
    seeds = range(900_000_000_000, 900_000_000_018)  # a multiple of six, as all ranges of seeds that are sampled
    assert set(Counter(six.of(seed) for seed in seeds).values()) == {3}
    assert [six.of(seed) for seed in range(6)] != [six.of(seed) for seed in range(6, 12)]


def test_all_combinations_of_choices_are_drawn() -> None:
    drawn = {HORSES.of(seed) for seed in range(100)}
    assert drawn == {f"a {breed} horse, {place}" for breed in ("grey", "bay") for place in ("meadow", "sand")} | {
        "a grey foal",
        "a bay foal",
    }


def test_doubled_braces_are_painted() -> None:
    assert Prompts(["a {{brace}}"]).of(0) == "a {brace}"


@pytest.mark.parametrize(
    ("texts", "choices", "sentence"),
    [
        ([], {}, "prompts is an empty list; .* needs one prompt at least"),
        (["a horse", "  "], {}, "prompt 2 is empty; write what is to be painted"),
        (["a {bread} horse"], {"breed": ["bay"]}, r"\{bread\} is no choice; known are breed; add choices.bread"),
        (["a {} horse"], {}, r"\{\} is no choice; known are none; add choices.NAME"),
        (["a {breed!r} horse"], {"breed": ["bay"]}, r"\{breed\} is no choice"),
        (["a {breed.upper} horse"], {"breed": ["bay"]}, r"\{breed.upper\} is no choice"),
        (["a {breed horse"], {"breed": ["bay"]}, "expected '}' before end of string; write {{ and }}"),
        (["a horse"], {"breed": ["bay"]}, r"choices.breed is in no prompt; write \{breed\} where it belongs"),
        (["a {breed} horse"], {"breed": []}, "choices.breed is empty"),
        (["a {breed} horse"], {"breed": ["bay", ""]}, "choices.breed is empty, or holds an empty text"),
    ],
)
def test_words_that_cannot_be_painted_are_refused_in_one_sentence(
    texts: list[str], choices: dict[str, list[str]], sentence: str
) -> None:
    with pytest.raises(GenerateError, match=sentence):
        Prompts(texts, choices)
