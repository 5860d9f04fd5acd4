"""What a penalty or halt that learns declares: the created one, and no config otherwise."""

import pytest

import d3rlpy_mbo as mbo
from broken_components import (
    ComparesOfTheConfigAlone,
    SoundDrawnPenalty,
    SoundHalt,
    WhenOfTheConfigAlone,
)


def test_a_config_that_says_otherwise_than_what_it_creates_is_refused():
    with pytest.raises(mbo.CompositionError) as caught:
        mbo.ImaginationConfig(penalty=WhenOfTheConfigAlone(when="drawn")).create()
    message = str(caught.value)
    assert "WhenOfTheConfigAlone.when is 'drawn'" in message
    assert "DistanceFromUsual, has 'imagined'" in message
    assert "self.when = config.when" in message
    with pytest.raises(mbo.CompositionError, match=r"ComparesOfTheConfigAlone\.comp"):
        mbo.ImaginationConfig(halt=ComparesOfTheConfigAlone()).create()


@pytest.mark.parametrize("when", ["imagined", "drawn"])
def test_what_is_created_may_take_it_from_its_config(when):
    config = mbo.ImaginationConfig(penalty=SoundDrawnPenalty(when=when))
    imagination = config.create()
    assert imagination.penalty_when(when) is imagination.penalty is not None


def test_a_halts_config_may_have_a_when_of_its_own():
    class Late(SoundHalt):
        when = "late"

        class Learned(SoundHalt.Learned):
            when = "early"

    assert mbo.ImaginationConfig(halt=Late()).create().halt is not None
