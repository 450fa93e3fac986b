import signal
import threading
import time

import pytest

from cluster import Stop, stop_on_signals, watched


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_only_raises_the_flag(number: signal.Signals) -> None:
    with stop_on_signals() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested


def test_a_second_sigint_interrupts_at_once() -> None:
    with stop_on_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_changes_nothing() -> None:
    with stop_on_signals() as stop:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested


def test_the_handlers_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_on_signals():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_second_sigint_does_what_it_did_before() -> None:
    def end(number: int, _frame: object) -> None:
        raise ValueError(number)

    before = signal.signal(signal.SIGINT, end)
    try:
        with stop_on_signals():
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(ValueError, match="2"):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_who_asks_for_the_end_is_told_on_once_and_the_call_ends_by_itself() -> None:
    stop, told, is_told = Stop(), list[str](), threading.Event()

    def tell() -> None:
        told.append("the end")
        is_told.set()

    def call() -> None:
        stop.requested = True
        assert is_told.wait(10)
        time.sleep(0.3)  # a few looks more

    watched(call, stop, tell)
    assert told == ["the end"]


def test_what_a_watched_call_raises_is_raised() -> None:
    def call() -> None:
        raise ValueError("no room")

    with pytest.raises(ValueError, match="no room"):
        watched(call, Stop(), lambda: None)
