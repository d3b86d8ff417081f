"""Every public function of the client has a stated time within which it returns. tests/chaos measures it."""

from __future__ import annotations

from tests.chaos import public_functions


def test_every_public_function_has_a_stated_bound() -> None:
    without = public_functions.public_names() - set(public_functions.bounds())
    assert without == set(), (
        "say in BOUNDS of tests/chaos/public_functions.py how long they may take, and call them there"
    )


def test_every_stated_bound_is_of_a_public_function() -> None:
    assert set(public_functions.bounds()) - public_functions.public_names() == set()
