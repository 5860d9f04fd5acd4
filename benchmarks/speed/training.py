"""Ensemble training: one step against the bare products, and time to the same error."""

import contextlib
import itertools
import statistics
import time
from collections.abc import Iterator
from typing import Any, Optional
from unittest import mock

import torch
from measuring import Goal, Row, compare, timed
from peer import OfflineRLKit, Silent
from task import ACTION, BATCH, OBSERVATION

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics import training as ensemble_training
from d3rlpy_mbo.components.dynamics.networks import GaussianNetworks
from d3rlpy_mbo.components.dynamics.regression import Regression

N_ROWS, N_FRESH, N_EPOCHS, ROUNDS = 20_000, 5_000, 25, 3
N_MODELS, HIDDEN = 7, [200] * 4
SIZES = [OBSERVATION + ACTION, *HIDDEN, OBSERVATION + 1]


def rows(data: mbo.Transitions, kit: Optional[OfflineRLKit]) -> Iterator[Row]:
    yield _step()
    yield _to_the_same_error(data, kit)


def _step() -> Row:
    network = GaussianNetworks(N_MODELS, SIZES, (-10.0, 0.5))
    config = mbo.ProbabilisticEnsembleConfig()
    optimizer = ensemble_training._optimizer(
        network, config.learning_rate, config.layer_weight_decays
    )
    x, y = torch.randn(100_000, SIZES[0]), torch.randn(100_000, SIZES[-1])
    drawn = torch.randint(len(x), (N_MODELS, BATCH))

    def step() -> None:
        loss = ensemble_training.ensemble_loss(network, x[drawn], y[drawn], 0.01)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's
        optimizer.step()

    return compare(
        "a training step of 7 networks of 4 x 200",
        "its products alone, torch.bmm, forwards and backwards",
        Goal(0.6),
        timed(step, 10),
        timed(_bare_products(), 10),
        rounds=15,
    )


def _bare_products() -> Any:
    """Returns the products of a step: no bias, no activation, no loss, no optimiser."""
    widths = [*SIZES[:-1], 2 * SIZES[-1]]
    layers = [torch.randn(N_MODELS, BATCH, width) for width in widths]
    weights = [torch.randn(N_MODELS, *pair) for pair in itertools.pairwise(widths)]
    of_layers = [torch.empty_like(each) for each in layers]
    of_weights = [torch.empty_like(each) for each in weights]

    def products() -> None:
        for i, weight in enumerate(weights):
            torch.bmm(layers[i], weight, out=of_layers[i + 1])
        for i, weight in reversed(list(enumerate(weights))):
            torch.bmm(layers[i].mT, layers[i + 1], out=of_weights[i])
            if i:
                torch.bmm(layers[i + 1], weight.mT, out=of_layers[i])

    return products


class TargetReachedError(Exception):
    """The error that was asked for."""


class Curve:
    """Errors after each epoch; the clock rests while they are taken."""

    def __init__(self, fresh: mbo.Transitions, until: float = 0.0):
        regression = Regression(fresh, "forward")
        self.inputs, self._targets = regression.inputs(), regression.targets()
        self.seconds: list[float] = []
        self.errors: list[float] = []
        self._until = until
        self._started = time.perf_counter()

    def after(self, method: Any, means: Any) -> Any:
        """Returns the method, which ends an epoch, with a look at the error after it."""

        def followed(*arguments: Any) -> Any:
            result = method(*arguments)
            paused = time.perf_counter()
            with torch.no_grad():
                error = (means(*arguments) - self._targets).square()
            # In units of the variance, of the five members that are to imagine.
            members = (error / self._targets.var(dim=0)).mean(dim=(1, 2))
            self.errors.append(float(members.sort().values[:5].mean()))
            self.seconds.append(paused - self._started)
            if self.errors[-1] <= self._until:
                raise TargetReachedError
            self._started += time.perf_counter() - paused
            return result

        return followed


def _to_the_same_error(data: mbo.Transitions, kit: Optional[OfflineRLKit]) -> Row:
    work = f"ensemble training to its error after {N_EPOCHS} epochs, {N_ROWS:,} rows"
    row = Row(work, "OfflineRL-Kit EnsembleDynamics", Goal(2))
    if kit is None:
        return row
    per_epoch: list[float] = []
    for _ in range(ROUNDS):
        order = torch.randperm(len(data))
        fresh, known = data[order[:N_FRESH]], data[order[N_FRESH:][:N_ROWS]]
        theirs = _their_curve(kit, known, fresh)
        ours = _our_curve(known, fresh, until=theirs.errors[-1])
        row.theirs.append(theirs.seconds[-1])
        row.ours.append(ours.seconds[-1])
        # Ours begins with the error before training.
        per_epoch.append(ours.seconds[-1] / (len(ours.seconds) - 1))
    each = statistics.median(per_epoch), statistics.median(row.theirs) / N_EPOCHS
    return row.noted("seconds of an epoch: ours {:.2f}, theirs {:.2f}".format(*each))


def _their_curve(
    kit: OfflineRLKit, known: mbo.Transitions, fresh: mbo.Transitions
) -> Curve:
    dynamics, logger = kit.dynamics(known), Silent()
    curve = Curve(fresh)
    scaled = dynamics.scaler.transform(curve.inputs.numpy())
    dynamics.validate = curve.after(
        dynamics.validate, lambda *_: dynamics.model(scaled)[0]
    )
    dynamics.train(kit.data(known), logger, max_epochs=N_EPOCHS)
    return curve


def _our_curve(known: mbo.Transitions, fresh: mbo.Transitions, until: float) -> Curve:
    of = Regression(known, "forward")
    inputs, targets = of.standardizer(of.inputs), of.standardizer(of.targets)
    curve = Curve(fresh, until)
    scaled = inputs.standardize(curve.inputs).expand(N_MODELS, -1, -1)
    followed = curve.after(
        ensemble_training.holdout_errors,
        lambda network, *_: network(scaled)[0] * targets.std + targets.mean,
    )
    with (
        mock.patch.object(ensemble_training, "holdout_errors", followed),
        contextlib.suppress(TargetReachedError),
    ):
        mbo.ProbabilisticEnsembleConfig().create().fit(known)
    assert curve.errors[-1] <= until, "ours stopped early with a larger error"
    return curve
