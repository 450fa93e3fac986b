"""Two thousand bad inputs: no traceback, no hang, nothing silently wrong."""

from pathlib import Path

import pytest
from fuzz import AREAS, Workshop, tried

from generate import Denoiser

COUNT, SEED = 2000, 0
PARTS = 10


@pytest.fixture(scope="module")
def shop(finished_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(finished_once, tmp_path_factory.mktemp("fuzz"), Denoiser.from_pretrained(finished_once / "model"))


@pytest.mark.filterwarnings("ignore")  # what libraries say of damaged files is theirs
@pytest.mark.parametrize("part", range(PARTS))
def test_no_bad_input_ends_in_a_traceback_or_hangs_or_is_taken_for_a_good_one(shop: Workshop, part: int) -> None:
    numbers = range(part * COUNT // PARTS, (part + 1) * COUNT // PARTS)
    found = [finding for number in numbers if (finding := tried(shop, SEED, number))]
    assert not found, "\n".join(f"{each.number} {each.area}: {each.traceback}" for each in found[:3])


def test_an_input_is_a_function_of_its_seed_and_number_and_all_areas_have_their_turn(shop: Workshop) -> None:
    assert tried(shop, 3, 5) == tried(shop, 3, 5)
    assert {number % len(AREAS) for number in range(COUNT)} == set(range(len(AREAS)))
