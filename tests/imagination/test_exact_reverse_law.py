"""Exact reverse models of ICU-Sepsis: which law their rollouts imagine, by tables."""

import numpy as np
import pytest

pytest.importorskip("icu_sepsis")

from d3rlpy_mbo.tasks.icu_sepsis import (  # it imports gym, which is not here always
    exact_value,
    logged_policy,
    optimal_value,
)

LIVING, SURVIVAL = 713, 714  # states from 713 on are death, survival and a sink


def share(part, whole):
    """part / whole, 0 where nothing happens."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def ended(law):
    """The share of outcomes that are ends, mean over states and actions."""
    return law[:, :, LIVING:].sum(axis=2).mean()


class Tables:
    """The world, and what is known exactly of data that the task's default logs.

    Axes are s (713), a (25), s' (716), in this order, where a table has them.
    """

    def __init__(self, patients):
        self.law = patients.dynamics["tx_mat"][:LIVING]
        self.first = patients.dynamics["d_0"][:LIVING]
        logged = logged_policy(np.asarray(patients.expert_policy), 0.5)[:LIVING]
        chain = np.einsum("sa,sat->st", logged, self.law)[:, :LIVING]
        visits = np.linalg.solve(np.eye(LIVING) - chain.T, self.first)
        data = (visits[:, None] * logged)[:, :, None] * self.law  # d(s, a, s')
        arrivals = data.sum(axis=0)
        self.reverse = share(data, np.broadcast_to(arrivals, data.shape))  # p(s|s', a)
        self.ends = arrivals.sum(axis=0)  # d(s'): where rollouts end
        self.proposals = share(arrivals, np.broadcast_to(self.ends, arrivals.shape))

    def imagined(self, proposals, ends):
        """p(s'|s, a) of rows that lead to `ends` (716,) by `proposals` (25, 716)."""
        rows = self.reverse * (proposals * ends)
        rows /= rows.sum(axis=2, keepdims=True)
        return rows

    def best(self, law):
        """What the best policy of a law is worth under it, and in the true world."""
        policy, value, found = np.full((716, 25), 0.04), 0.0, -1.0
        while value > found + 1e-12:
            found = value
            chain = np.einsum("sa,sat->st", policy[:LIVING], law)
            survival = np.zeros(716)
            survival[SURVIVAL] = 1.0  # whose reward is 1, the only one
            survival[:LIVING] = np.linalg.solve(
                np.eye(LIVING) - chain[:, :LIVING], chain[:, SURVIVAL]
            )
            value = self.first @ survival[:LIVING]
            policy[:LIVING] = np.eye(25)[(law @ survival).argmax(axis=1)]
        return value, exact_value(policy)


@pytest.fixture(scope="module")
def tables():
    from icu_sepsis.envs import ICUSepsisEnv

    return Tables(ICUSepsisEnv())


def test_the_data_s_proposals_imagine_the_world_s_own_law(tables):
    law = tables.imagined(tables.proposals, tables.ends)
    assert np.abs(law - tables.law).max() < 1e-12
    optimum = pytest.approx(optimal_value(), abs=1e-9)
    assert tables.best(law) == (optimum, optimum)


def test_uniform_proposals_imagine_a_law_whose_optimum_is_too_good_and_misleads(tables):
    law = tables.imagined(np.full_like(tables.proposals, 1 / 25), tables.ends)
    assert optimal_value() == pytest.approx(0.875, abs=5e-4)
    assert tables.best(law) == pytest.approx((0.929, 0.849), abs=5e-4)
    assert np.abs(law - tables.law).max() == pytest.approx(0.47, abs=5e-3)
    assert ended(law) == pytest.approx(0.123, abs=5e-4)


def test_earlier_steps_lead_to_no_end_so_that_five_imagine_too_few_of_them(tables):
    back = (tables.reverse * tables.proposals).sum(axis=1)  # p(s|s')
    step, steps = tables.ends, tables.ends.copy()
    for _ in range(4):
        step = np.append(back @ step, np.zeros(3))
        steps += step
    law = tables.imagined(tables.proposals, steps)
    ends = [ended(each) for each in (tables.law, law)]
    assert ends == pytest.approx([0.123, 0.031], abs=5e-4)
    assert np.abs(law - tables.law).max() == pytest.approx(0.36, abs=5e-3)
    assert tables.best(law) == pytest.approx((0.893, 0.874), abs=5e-4)
