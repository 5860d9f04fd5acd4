"""Which actions a component says that it knows: some of two words, or it is refused."""

import dataclasses
from typing import Any

import pytest

import d3rlpy_mbo as mbo


def penalty_that_knows(spaces: Any) -> type[mbo.Penalty]:
    class Knows(mbo.Penalty):
        action_spaces = spaces

        @staticmethod
        def get_type() -> str:
            return "knows"

    return Knows


@pytest.mark.parametrize(
    "spaces",
    ["continuous", "discrete", (), [], ("discret",), ("discrete", ""), None, 1, {1: 2}],
)
def test_anything_but_some_of_the_two_is_refused_when_the_class_is_defined(spaces):
    with pytest.raises(mbo.CompositionError) as caught:
        penalty_that_knows(spaces)
    message = str(caught.value)
    assert message.startswith(
        f"Knows.action_spaces is {spaces!r}, expected a tuple of "
    )
    assert '("discrete",), with its comma' in message


@pytest.mark.parametrize(
    "spaces",
    [
        ("discrete",),
        ["continuous"],
        {"discrete", "continuous"},
        frozenset({"discrete"}),
    ],
)
def test_a_tuple_a_list_or_a_set_of_them_is_taken(spaces):
    assert penalty_that_knows(spaces).action_spaces == spaces


def test_what_an_instance_says_is_validated_when_it_says_it():
    @dataclasses.dataclass()
    class SaysItself(mbo.Penalty):
        action_spaces: Any = dataclasses.field(default=("discrete",))

    assert SaysItself().action_spaces == ("discrete",)
    with pytest.raises(mbo.CompositionError, match="action_spaces is 'discrete'"):
        SaysItself("discrete")
