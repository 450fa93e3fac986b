"""When the page says of a class that the filter took it, or that it is painted rarely."""

import numpy as np
import pytest

from pipelines.quality.rare_classes import ClassImages, ClassPixels, holding, lacking, rare, seldom

NAMES = ["cheese", "hole"]


def said(kept: float, candidates: float, annotated: float) -> list[str]:
    """Of holes that have these shares of a million pixels."""
    pixels = ([round(1e6 * (1 - share)), round(1e6 * share)] for share in (kept, candidates, annotated))
    return list(lacking(NAMES, ClassPixels(*pixels)).values())


def test_a_rare_class_whose_images_were_dropped_is_named_with_its_shares_and_what_to_try() -> None:
    assert said(kept=0.004, candidates=0.012, annotated=0.015) == [
        "hole: 0.4 % of the synthetic pixels, 1.5 % of the annotated: the filter drops it; try generate.filter = "
        '"balanced", or generate.portion = 0'
    ]


@pytest.mark.parametrize(
    ("why", "kept", "candidates", "annotated"),
    [
        ("there is half of it", 0.0075, 0.012, 0.015),
        ("nobody annotated it", 0.004, 0.012, 0.0),
        ("it is nowhere", 0.0, 0.0, 0.0),
    ],
)
def test_nothing_is_said_where_the_numbers_do_not_say_so(
    why: str, kept: float, candidates: float, annotated: float
) -> None:
    assert said(kept, candidates, annotated) == [], why


@pytest.mark.parametrize("kept", [0.004, 0.00399])
def test_a_class_that_the_model_itself_paints_rarely_is_not_said_to_be_the_filters(kept: float) -> None:
    (sentence,) = said(kept=kept, candidates=0.004, annotated=0.015)
    assert "0.4 % of the synthetic pixels, 1.5 % of the annotated: the diffusion model paints it rarely" in sentence


def test_a_class_that_is_all_gone_is_named_and_a_share_below_a_percent_is_not_rounded_away() -> None:
    assert said(kept=0.0, candidates=0.0004, annotated=0.00042)[0].startswith(
        "hole: 0 % of the synthetic pixels, 0.042 %"
    )


def test_without_any_pixel_nothing_is_said() -> None:
    assert lacking(NAMES, ClassPixels([0, 0], [0, 0], [0, 0])) == {}


@pytest.mark.parametrize(
    ("why", "kept", "of_kept", "annotated", "is_named"),
    [
        ("half as often as annotated", 50, 200, 10, False),
        ("less often", 49, 200, 10, True),
        ("nowhere", 0, 200, 1, True),
        ("as often, but in fewer than ten images", 9, 18, 10, True),
        ("nobody annotated it", 0, 200, 0, False),
    ],
)
def test_a_class_in_few_images_is_named(why: str, kept: int, of_kept: int, annotated: int, is_named: bool) -> None:
    images = ClassImages([of_kept, kept], [20, annotated], of_kept, 20)
    assert ("hole" in seldom(NAMES, images)) == is_named, why
    assert seldom(NAMES, images).get("hole", "in") in {
        "in",
        f"hole: in {kept} of {of_kept} synthetic images, in {annotated} of 20 annotated: a network sees too little of "
        "it; ask for more samples, or mix in images that have it by [[train.mix]]",
    }


def test_a_class_is_warned_of_once_and_of_its_pixels_first() -> None:
    pixels = ClassPixels([999_000, 1000], [999_000, 1000], [900_000, 100_000])
    images = ClassImages([300, 3], [20, 10], 300, 20)
    assert list(rare(NAMES, pixels, images)) == ["hole"]
    assert "of the synthetic pixels" in rare(NAMES, pixels, images)["hole"]


def test_a_stray_pixel_is_no_image_that_holds_the_class() -> None:
    pixels = np.array([[4090, 6], [4094, 2], [4095, 1], [4096, 0]])
    assert holding(pixels, 4096) == [4, 1]
