from torch.distributions import Distribution

from d3rlpy_mbo.learners.distributions import unvalidated


def test_who_leaves_last_puts_back_what_who_came_first_has_found():
    # As two threads do: the first one leaves while the second one is inside.
    found = Distribution._validate_args
    first, second = unvalidated(), unvalidated()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert Distribution._validate_args is False
    second.__exit__(None, None, None)
    assert Distribution._validate_args is found
    assert found is True
