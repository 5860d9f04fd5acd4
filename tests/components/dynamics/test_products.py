import itertools
from pathlib import Path

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


@pytest.fixture(params=["onednn", "onednn where nothing is learned", "bmm"])
def kernel(request, monkeypatch):
    monkeypatch.setattr(member_networks, "_MKL_IS_SLOW", request.param == "onednn")
    if request.param == "bmm":  # a GPU's way, and that of builds without oneDNN
        monkeypatch.setattr(member_networks, "_ONEDNN", None)


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


@pytest.mark.parametrize(
    ("maker", "capability", "mkl", "expected"),
    [
        ("vendor_id : AuthenticAMD", "AVX512", True, True),
        ("vendor_id : AuthenticAMD", "AVX2", True, False),  # its full width
        ("vendor_id : GenuineIntel", "AVX512", True, False),
        ("vendor_id : AuthenticAMD", "AVX512", False, False),
    ],
)
def test_mkl_counts_as_slow_on_amds_wide_cpus_alone(
    maker, capability, mkl, expected, monkeypatch
):
    monkeypatch.setattr(Path, "read_text", lambda self: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    assert member_networks._mkl_is_slow() == expected


@pytest.mark.parametrize("slow", [True, False])
def test_learning_takes_the_faster_of_the_two_libraries(slow, monkeypatch):
    monkeypatch.setattr(member_networks, "_MKL_IS_SLOW", slow)
    weights, biases = members()
    outputs = evaluate_members(torch.randn(3, 7, SIZES[0]), weights, biases)
    assert ("Baddbmm" in type(outputs.grad_fn).__name__) != slow
