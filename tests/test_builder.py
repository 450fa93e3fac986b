import pytest
import torch

from pipelines.units.builder import halving


def test_a_batch_that_does_not_fit_is_halved_for_good_and_the_unit_begun_anew():
    tried: list[tuple[int, int]] = []

    def make(unit: int, batch_size: int) -> int:
        tried.append((unit, batch_size))
        if batch_size > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return unit

    make_in_room = halving(make, 20)
    assert [make_in_room(unit) for unit in (3, 4)] == [3, 4]
    assert tried == [(3, 20), (3, 10), (3, 5), (4, 5)]


def test_a_single_image_that_does_not_fit_is_the_units_failure():
    def make(unit: int, batch_size: int) -> int:
        raise torch.OutOfMemoryError(f"no room for {batch_size}")

    with pytest.raises(torch.OutOfMemoryError, match="no room for 1"):
        halving(make, 5)(0)


def test_another_exception_leaves_the_batch_as_it_is():
    tried: list[int] = []

    def make(unit: int, batch_size: int) -> int:
        tried.append(batch_size)
        raise RuntimeError("shapes differ")

    make_in_room = halving(make, 8)
    for unit in range(2):
        with pytest.raises(RuntimeError, match="shapes differ"):
            make_in_room(unit)
    assert tried == [8, 8]
