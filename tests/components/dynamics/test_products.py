import itertools

import pytest
import torch
from torch.nn import functional

from d3rlpy_mbo.components.dynamics import products as member_networks
from d3rlpy_mbo.components.dynamics.products import evaluate_members

SIZES = [5, 16, 16, 6]


def members(n_members=3):
    pairs = list(itertools.pairwise(SIZES))
    weights = [torch.randn(n_members, *pair, requires_grad=True) for pair in pairs]
    biases = [torch.randn(n_members, 1, out, requires_grad=True) for _, out in pairs]
    return weights, biases


def plain(inputs, weights, biases):
    hidden = inputs
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        hidden = hidden @ weight + bias
        if i < len(weights) - 1:
            hidden = functional.silu(hidden)
    return hidden


@pytest.fixture(params=["onednn", "bmm", "none"])
def kernel(request, monkeypatch):
    if request.param == "none":  # builds without oneDNN
        monkeypatch.setattr(member_networks, "_ONEDNN", None)
    ways = {True: "bmm", False: "addmm"}
    monkeypatch.setattr(
        member_networks,
        "_chosen",
        lambda learns, _: "onednn" if request.param == "onednn" else ways[learns],
    )


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("n_rows", [1, 7, 9])
def test_without_gradients_it_is_the_plain_formula_block_by_block(n_rows, monkeypatch):
    monkeypatch.setattr(member_networks, "ROWS_IN_CACHE", 4)
    weights, biases = members()
    inputs = torch.randn(3, n_rows, SIZES[0])
    with torch.no_grad():
        outputs = evaluate_members(inputs, weights, biases)
        torch.testing.assert_close(outputs, plain(inputs, weights, biases))


@pytest.mark.usefixtures("kernel")
def test_values_and_all_gradients_are_those_of_the_plain_formula():
    weights, biases = members()
    inputs = torch.randn(3, 7, SIZES[0], requires_grad=True)
    leaves = [inputs, *weights, *biases]
    results = []
    for evaluate in (plain, evaluate_members):
        outputs = evaluate(inputs, weights, biases)
        results.append((outputs, *torch.autograd.grad(outputs.square().sum(), leaves)))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("kernel")
def test_members_may_share_the_memory_of_their_rows():
    weights, biases = members()
    shared = torch.randn(7, SIZES[0]).expand(3, -1, -1)
    outputs = evaluate_members(shared, weights, biases)
    torch.testing.assert_close(outputs, plain(shared, weights, biases))


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("grad", [True, False])
def test_no_members_give_no_rows(grad):
    weights, biases = members(0)
    with torch.set_grad_enabled(grad):
        outputs = evaluate_members(torch.randn(0, 7, SIZES[0]), weights, biases)
    assert outputs.shape == (0, 7, SIZES[-1])


def test_onednn_does_the_work_where_torch_has_it():
    # Not public: a torch that renames it would cost half the speed, silently.
    assert (member_networks._ONEDNN is not None) == torch.backends.mkldnn.is_available()


@pytest.mark.parametrize("way", ["onednn", "bmm"])
def test_learning_takes_the_way_that_was_chosen(way, monkeypatch):
    monkeypatch.setattr(member_networks, "_chosen", lambda learns, threads: way)
    weights, biases = members()
    outputs = evaluate_members(torch.randn(3, 7, SIZES[0]), weights, biases)
    assert ("Baddbmm" in type(outputs.grad_fn).__name__) == (way == "bmm")


@pytest.mark.parametrize("learns", [True, False])
def test_choosing_draws_nothing_and_leaves_the_mode_as_it_is(learns):
    generator = torch.get_rng_state()
    with torch.set_grad_enabled(not learns):
        chosen = member_networks._chosen.__wrapped__(learns, 1)
        assert torch.is_grad_enabled() != learns
    assert chosen in member_networks._ways(learns)
    assert torch.equal(torch.get_rng_state(), generator)
