import signal
from collections.abc import Callable
from importlib import import_module

import pytest

from cluster import ClusterError
from deeplab import DeepLabError
from generate import GenerateError
from label import LabelError
from pipelines import errors
from pipelines.cli import RUN_ERRORS, USER_ERRORS, datasets
from pipelines.errors import InputError, RunError
from pipelines.stopping import Stopped

BASES = {
    "generate": (GenerateError,),
    "label": (LabelError,),
    "deeplab": (DeepLabError,),
    "cluster": (ClusterError,),
    "pipelines": (InputError, RunError),
}


def errors_of(room: str) -> list[type[Exception]]:
    module = import_module(f"{room}.errors")
    return [value for value in vars(module).values() if isinstance(value, type) and value.__module__ == module.__name__]


@pytest.mark.parametrize("room", BASES)
def test_every_error_of_a_room_is_under_its_base_and_drawn_in_the_tree(room: str) -> None:
    assert errors.__doc__
    for error in errors_of(room):
        assert issubclass(error, BASES[room])
        assert error.__name__ in errors.__doc__


def test_the_command_knows_the_bases_of_all_rooms() -> None:
    assert {*USER_ERRORS, *RUN_ERRORS} == {base for bases in BASES.values() for base in bases}
    assert all(issubclass(error, ValueError) for error in USER_ERRORS)
    assert all(issubclass(error, RuntimeError) for error in RUN_ERRORS)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_of_which_a_library_makes_an_error_of_its_own_is_told_as_the_signal(
    command: Callable[..., str], monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def stopped_within_a_library(_: object) -> None:
        try:
            signal.raise_signal(number)
        except Stopped as stop:
            raise SyntaxError(f"a model cannot be built: {stop}") from None

    monkeypatch.setattr(datasets, "standings_of", stopped_within_a_library)
    assert command("status", "somewhere", code=128 + number).endswith("; the same command goes on\n")
