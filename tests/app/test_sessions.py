"""Guesses are counted by who makes them."""

from __future__ import annotations

from app.server.sessions import ADDRESSES, ATTEMPTS, WINDOW_S, Guesses


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_who_guesses_waits_until_the_first_guess_is_a_minute_old() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for _ in range(ATTEMPTS):
        assert guesses.wait_s("192.0.2.1") == 0
        guesses.failed("192.0.2.1")
        clock.now += 1
    assert guesses.wait_s("192.0.2.1") == WINDOW_S - ATTEMPTS
    assert guesses.wait_s("192.0.2.2") == 0
    clock.now += WINDOW_S - ATTEMPTS
    assert guesses.wait_s("192.0.2.1") == 0


def test_the_addresses_of_one_household_are_one() -> None:
    guesses = Guesses()
    for number in range(ATTEMPTS):
        guesses.failed(f"2001:db8:1:2::{number:x}")
        guesses.failed("::ffff:192.0.2.1")
    assert guesses.wait_s("2001:db8:1:2:ffff::1") > 0 and guesses.wait_s("2001:db8:1:3::1") == 0
    assert guesses.wait_s("192.0.2.1") > 0


def test_many_addresses_take_no_more_room_than_some() -> None:
    clock = Clock()
    guesses = Guesses(clock)
    for number in range(ADDRESSES + 50):
        guesses.failed(str(number))
    assert len(guesses._tries) == ADDRESSES
    clock.now += 2 * WINDOW_S
    guesses.failed("late")
    assert list(guesses._tries) == ["late"]
