"""Our models against OfflineRL-Kit's: the same rows, as many steps, judged on later rows.

    python benchmarks/peer_models.py CHECKOUT DIR [--dataset ID] [--steps N] [--seed N]

An ensemble of each, seven members of the papers' sizes, is fitted on the first four
fifths of a dataset's rows, and ours in reverse too. On the rest, which came later, when
the policy that collected them had changed, are measured

- the squared error of the elites' means, mean over targets (changes of the state, and the
  reward) and over elites, each in the variance that its target has in the fitted rows: a
  unit, not a share of the variance of the rows that are judged;
- the log-likelihood of the elites' mixture, in dataset units, mean over rows;
- the open loop: real actions of k steps in a row from a real state, each time the mean of
  the elites' means, against the real state: root mean square over columns, each in its
  deviation over the data, and mean over starts. In reverse from the last state backwards.

DIR gets a JSON file for each model, which is not fitted again, and models.md. Minutes on
one core: the default of 3,000 steps is 13 passes over 60,000 rows.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.components.dynamics.networks import mixture_log_prob
from d3rlpy_mbo.data.transitions import Direction
from d3rlpy_mbo.runs.experiment import versions
from d3rlpy_mbo.support.files import atomic_write

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from peer import OfflineRLKit, Silent

_FITTED = 0.8  # share of the rows, the first ones
_OPEN_LOOP = range(1, 11)
_BATCH, _MAX_HELD_OUT, _HELD_OUT = 256, 1000, 0.2  # of both, by default
_MODELS = ("ours", "ours, reverse", "kit")

# (B, D) states and (B, A) actions to (K, B, D + 1) means and stds of the elites.
Asked = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


@dataclasses.dataclass(frozen=True)
class Rows:
    """A dataset cut in two.

    Args:
        fitted: The first rows.
        later: The others, in order.
    """

    fitted: mbo.Transitions
    later: mbo.Transitions

    @classmethod
    def of(cls, dataset: d3rlpy.dataset.ReplayBufferBase) -> "Rows":
        """Returns the rows that models learn from."""
        rows = mbo.Transitions.from_dataset(dataset).for_models()
        n_fitted = int(_FITTED * len(rows))
        return cls(rows[:n_fitted], rows[n_fitted:])

    def steps_per_epoch(self) -> int:
        """Returns gradient steps of one pass of the kit over its training rows."""
        held_out = min(int(_HELD_OUT * len(self.fitted)), _MAX_HELD_OUT)
        return math.ceil((len(self.fitted) - held_out) / _BATCH)


def ours(rows: Rows, direction: Direction, n_steps: int) -> Asked:
    """Fits our ensemble, and returns how it is asked."""
    config = mbo.ProbabilisticEnsembleConfig(direction=direction, max_steps=n_steps)
    dynamics = config.create()
    dynamics.fit(rows.fitted)

    def ask(
        states: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        found = dynamics.predict(states, actions, all_members=True)
        assert found.means is not None
        assert found.stds is not None
        return found.means[: config.n_elites], found.stds[: config.n_elites]

    return ask


def kits(kit: OfflineRLKit, rows: Rows, n_epochs: int) -> Asked:
    """Fits the kit's ensemble by its own trainer, and returns how it is asked."""
    dynamics = kit.dynamics(rows.fitted)
    dynamics.train(kit.data(rows.fitted), Silent(), max_epochs=n_epochs)

    @torch.no_grad()
    def ask(
        states: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        both = torch.cat([states, actions], dim=1).numpy()
        mean, log_variance = dynamics.model(dynamics.scaler.transform(both))
        elites = dynamics.model.elites.long()
        mean, log_variance = mean[elites], log_variance[elites]
        mean[..., :-1] += states
        return mean, torch.exp(0.5 * log_variance)

    return ask


def judged(ask: Asked, rows: Rows, direction: Direction) -> dict[str, Any]:
    """Returns what is measured on the later rows."""
    given, reached = _ends(rows.later, direction)
    targets = torch.cat([reached, rows.later.rewards], dim=1)
    means, stds = ask(given, rows.later.actions)
    before, after = _ends(rows.fitted, direction)
    scale = torch.cat([after - before, rows.fitted.rewards], dim=1).std(dim=0)
    counted = scale > 0
    shares = ((means - targets) / scale).square()[..., counted].mean(dim=(0, 1))
    log_prob = mixture_log_prob(means, 2 * stds.log(), targets, counted.float())
    return {
        "squared_error": float(shares.mean()),
        "reward_error": float(shares[-1]),
        "log_likelihood": float(log_prob.mean()),
        "open_loop": open_loop(ask, rows, direction),
    }


def _ends(
    rows: mbo.Transitions, direction: Direction
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the states that a model is asked, and those that it predicts."""
    ends = rows.observations, rows.next_observations
    return ends if direction == "forward" else (ends[1], ends[0])


def open_loop(ask: Asked, rows: Rows, direction: Direction) -> list[float]:
    """Returns the error after each of ten steps, of all stretches of ten later rows."""
    later, longest = rows.later, max(_OPEN_LOOP)
    follows = (later.next_observations[:-1] == later.observations[1:]).all(dim=1)
    stretches = follows.unfold(0, longest - 1, 1).all(dim=1)
    starts = torch.nonzero(stretches)[:, 0]
    scale = rows.fitted.observations.std(dim=0)
    scale = torch.where(scale > 0, scale, 1.0)
    given, reached = _ends(later, direction)
    order = range(longest) if direction == "forward" else range(longest - 1, -1, -1)
    errors, states = [], given[starts + order[0]]
    for step in order:
        means, _ = ask(states, later.actions[starts + step])
        states = means.mean(dim=0)[:, :-1]
        off = (states - reached[starts + step]) / scale
        errors.append(float(off.square().mean(dim=1).sqrt().mean()))
    return errors


def table(found: dict[str, dict[str, Any]]) -> str:
    """Returns the table, in Markdown."""
    head = ["", "squared error", "of the reward", "log-likelihood"]
    head += [f"k = {k}" for k in _OPEN_LOOP]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name, of in found.items():
        cells = [name, f"{of['squared_error']:.3f}", f"{of['reward_error']:.4f}"]
        cells += [f"{of['log_likelihood']:.1f}"]
        cells += [f"{error:.3f}" for error in of["open_loop"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("out", type=Path, metavar="DIR")
    parser.add_argument("--dataset", default="replay/hopper-early-v0")
    parser.add_argument("--steps", type=int, default=3_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    kit = OfflineRLKit(given.checkout.resolve())
    rows = Rows.of(mbo.load_minari(given.dataset)[0])
    n_epochs = max(1, round(given.steps / rows.steps_per_epoch()))
    n_steps = n_epochs * rows.steps_per_epoch()
    given.out.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in _MODELS:
        path = given.out / f"{name.replace(', ', '-')}-seed-{given.seed}.json"
        if not path.exists():
            direction: Direction = "reverse" if "reverse" in name else "forward"
            d3rlpy.seed(given.seed)
            started = time.process_time()
            ask = (
                kits(kit, rows, n_epochs)
                if name == "kit"
                else ours(rows, direction, n_steps)
            )
            result = {
                **judged(ask, rows, direction),
                "dataset": given.dataset,
                "rows": [len(rows.fitted), len(rows.later)],
                "steps": n_steps,
                "cpu_seconds": time.process_time() - started,
                "versions": versions(),
            }
            with atomic_write(path) as file:
                file.write(json.dumps(result, indent=1).encode())
        found[name] = json.loads(path.read_text())
    with atomic_write(given.out / "models.md") as file:
        file.write(table(found).encode())
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
