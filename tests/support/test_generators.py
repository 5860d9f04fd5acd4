import random

import numpy as np
import pytest
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.diagnosis.generators import own_generators
from d3rlpy_mbo.support.generators import generators_kept
from d3rlpy_mbo.testing import check_default_construction


def drawn() -> tuple[float, float, float]:
    return random.random(), np.random.random(), float(torch.rand(()))


@pytest.mark.parametrize("within", [generators_kept, lambda: own_generators(0)])
def test_what_is_drawn_inside_leaves_no_trace(within):
    with generators_kept():
        expected = drawn()
    with within():
        drawn()
    assert drawn() == expected


def test_checks_put_the_generators_of_all_gpus_back(monkeypatch):
    states = [torch.tensor([i], dtype=torch.uint8) for i in range(2)]
    put_back = {}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(states))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: states)
    monkeypatch.setattr(
        torch.cuda, "set_rng_state", lambda state, i: put_back.update({i: state})
    )
    check_default_construction(mbo.NoTermination)
    assert put_back == dict(enumerate(states))


def test_another_bit_generator_of_numpys_is_put_back_as_well():
    before = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(0))
    try:
        with generators_kept():
            expected = drawn()
        assert drawn() == expected
    finally:
        np.random.set_bit_generator(before)
