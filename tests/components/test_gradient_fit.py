import math

import pytest
import torch
from structlog.testing import capture_logs

import d3rlpy_mbo as mbo


def fit(n_steps: int, losses: list[float]) -> mbo.RolloutPolicy:
    """A fit whose loss is what is given, step by step."""
    policy = mbo.BehaviorCloningPolicyConfig().create()
    parameter = torch.nn.Parameter(torch.zeros(1))
    given = iter(losses)
    policy.mean = policy.fit_by_gradient(
        torch.optim.SGD([parameter], lr=0.0),
        lambda rows: 0 * parameter.sum() + next(given),
        (torch.zeros(5, 1),),
        n_steps=n_steps,
        batch_size=4,
        description="Fitting",
    )
    return policy


def test_the_mean_loss_of_each_hundredth_of_the_steps_is_kept():
    policy = fit(1000, [float(i // 10) for i in range(1000)])
    assert [record.epoch for record in policy.history] == list(range(1, 101))
    assert [record.step for record in policy.history] == list(range(10, 1001, 10))
    assert [record.value for record in policy.history] == list(range(100))
    assert {record.name for record in policy.history} == {"loss"}
    assert policy.mean == 94.5  # of the last tenth


def test_few_steps_are_kept_one_by_one_and_uneven_hundredths_leave_none_out():
    assert [record.value for record in fit(3, [1.0, 2.0, 3.0]).history] == [1, 2, 3]
    records = fit(150, [1.0] * 150).history
    assert (len(records), records[-1].step) == (100, 150)
    assert all(record.value == 1.0 for record in records)


def test_another_fit_begins_another_history_and_one_that_fails_begins_none():
    policy = fit(3, [1.0, 2.0, 3.0])
    before = policy.history
    with pytest.raises(StopIteration):
        policy.fit_by_gradient(
            torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.0),
            lambda rows: next(iter(())),
            (torch.zeros(5, 1),),
            n_steps=2,
            batch_size=4,
            description="Fitting",
        )
    assert policy.history == before


@pytest.mark.usefixtures("talkative")
def test_a_long_fit_is_announced_after_a_hundred_steps(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("d3rlpy_mbo.support.progress.monotonic", lambda: now[0])
    parameter = torch.nn.Parameter(torch.zeros(1))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        now[0] += 1 / 64
        if now[0] > 2:
            raise KeyboardInterrupt
        return parameter.sum()

    policy = mbo.BehaviorCloningPolicyConfig().create()
    with capture_logs() as lines, pytest.raises(KeyboardInterrupt):
        policy.fit_by_gradient(
            torch.optim.SGD([parameter], lr=0.0),
            loss,
            (torch.zeros(5, 1),),
            n_steps=500_000,
            batch_size=4,
            description="Fitting CVAE",
        )
    minutes = math.ceil(500_000 / 64 / 60)
    assert [line["event"] for line in lines] == [
        f"Fitting CVAE takes at most about {minutes // 60} h {minutes % 60:02} min at "
        "this pace (500,000 steps)."
    ]
