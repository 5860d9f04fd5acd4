"""Every error is ours, and an unknown name meets the nearest known one."""

import inspect

import pytest

from d3rlpy_mbo.support import errors


def test_every_error_is_a_d3rlpymboerror():
    every = [getattr(errors, name) for name in errors.__all__]
    raised = [each for each in every if not inspect.isfunction(each)]
    assert all(issubclass(error, errors.D3RLPyMBOError) for error in raised)
    assert all(inspect.getdoc(error) for error in raised)


def test_whose_an_error_is_leaves_it_the_error_that_it_was():
    class OutOfRangeError(errors.CompositionError):
        def __init__(self, field, value):
            super().__init__(f"{field} is {value}.")
            self.field = field

    with (
        pytest.raises(OutOfRangeError, match="^The learner: eps is 2.$") as caught,
        errors.told_of("The learner"),
    ):
        raise OutOfRangeError("eps", 2)
    assert caught.value.field == "eps"


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("moppo", ["romi", "mopo"], "Did you mean 'mopo'?"),
        ("TD3PlusBC", ["td3_plus_bc", "td3"], "Did you mean 'td3_plus_bc'?"),
        ("zzz", ["romi", "mopo"], "Known: mopo, romi."),
        ("zzz", [], "Known: none."),
    ],
)
def test_an_unknown_name_meets_the_nearest_or_all(name, known, said):
    assert errors.suggest(name, known) == said
