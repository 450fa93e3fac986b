import pytest

from pipelines.digests import first_difference


@pytest.mark.parametrize(
    ("stored", "wanted", "said"),
    [
        ({"train": {"steps": 200}}, {"train": {"steps": 300}}, "train.steps was 200, is 300"),
        ({"a": 1, "b": 2}, {"b": 3, "a": 1}, "b was 2, is 3"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "a.b was [1, 2], is [1, 3]"),
        ({"a": "x"}, {"a": None}, 'a was "x", is unset'),
        ({"a": True}, {"a": {"b": 1}}, 'a was true, is {"b": 1}'),
        ({"images": {"ä.png": 7}}, {"images": {"ä.png": 8}}, "images.ä.png was 7, is 8"),
        ({"images": {"a.png": 7}}, {"images": {}}, "images.a.png is gone"),
        ({}, {"generate": 1}, "generate is new"),
        ({"denoiser": "0" * 64}, {"denoiser": "1" * 64}, "denoiser has changed"),
        ({"a": [1.5]}, {"a": [1.5]}, ""),
    ],
)
def test_the_first_key_that_differs_is_named_in_words_and_never_by_digests(stored, wanted, said):
    assert first_difference(stored, wanted) == said
