"""The rows of members: with replacement, in an order of which the first can be had."""

import pytest
import torch

from d3rlpy_mbo.components.dynamics.samples import batches, bootstrap_samples

MANY = 120_000


def test_samples_are_of_the_rows_given_and_other_ones_for_each_member():
    rows = torch.arange(0, 2000, 2)
    samples = bootstrap_samples(rows, 3)
    assert samples.shape == (3, 1000)
    assert torch.isin(samples, rows).all()
    assert len({tuple(sample.tolist()) for sample in samples}) == 3


@pytest.mark.parametrize("n_rows", [1, 255, 256, 700])
def test_an_epoch_is_every_row_of_a_members_sample_once(n_rows):
    samples = torch.stack([torch.arange(n_rows), torch.arange(n_rows) * 2]).int()
    epoch = list(batches(samples, 256))
    assert [each.shape[1] for each in epoch][:-1] == [256] * (len(epoch) - 1)
    assert torch.equal(torch.cat(epoch, dim=1).sort(dim=1).values, samples.long())


@pytest.mark.parametrize("n_batches", [1, 30, 400, 10_000])
def test_the_first_batches_are_those_of_the_whole_epoch(n_batches):
    samples = torch.stack([torch.arange(MANY), torch.arange(MANY).flip(0)]).int()
    torch.manual_seed(0)
    whole = torch.cat(list(batches(samples, 256)), dim=1)
    after = torch.get_rng_state()
    torch.manual_seed(0)
    first = torch.cat(list(batches(samples, 256, n_batches)), dim=1)
    assert first.shape == (2, min(MANY, 256 * n_batches))
    assert torch.equal(torch.get_rng_state(), after)
    # Keys are equal now and then: rows that have the same one may change places.
    expected = whole[:, : first.shape[1]]
    assert (first != expected).float().mean() < 0.01
    assert torch.equal(first.sort(dim=1).values, expected.sort(dim=1).values)


def test_no_epoch_is_sorted_for_thirty_batches(monkeypatch):
    sorted_sizes = []
    original = torch.Tensor.argsort

    def argsort(self, *arguments, **settings):
        sorted_sizes.append(self.numel())
        return original(self, *arguments, **settings)

    monkeypatch.setattr(torch.Tensor, "argsort", argsort)
    samples = torch.arange(MANY).expand(2, -1).int()
    assert len(list(batches(samples, 256, 30))) == 30
    assert len(sorted_sizes) == 2
    assert max(sorted_sizes) < 2 * 30 * 256
