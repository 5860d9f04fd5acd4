"""A sweep with Optuna, over a setting of the learner and two of the imagination.

    pip install optuna
    python examples/optuna_sweep.py [--quick]

The model is fitted once and shared, as nothing that is swept changes what it learns.
This study scores by the environment, that is, it chooses online; `fqe_selection.py`
has a score that needs none. `# was:` says what stood there.
"""

import sys

import d3rlpy_mbo as mbo  # isort: split

import d3rlpy
import optuna

import pendulum
from d3rlpy_mbo_mopo import MaxAleatoric, MOPOConfig


def main(quick: bool = False) -> optuna.Study:
    """Sweeps SAC with MOPO; returns the study."""
    d3rlpy.seed(0)
    dataset, env = pendulum.dataset(10 if quick else 200), pendulum.environment()
    model = pendulum.model(quick)
    fitted = mbo.ImaginationConfig(dynamics=model).create(device="cpu")  # new
    fitted.fit(dataset)  # new

    def objective(trial: optuna.Trial) -> float:
        d3rlpy.seed(0)
        rate = trial.suggest_float("actor_learning_rate", 1e-5, 1e-3, log=True)
        sac = d3rlpy.algos.SACConfig(actor_learning_rate=rate).create(device="cpu")
        mopo = MOPOConfig(  # new
            dynamics=model,
            penalty=MaxAleatoric(trial.suggest_float("coef", 0.1, 5.0, log=True)),
            rollout_length=trial.suggest_int("rollout_length", 1, 5),
            rollout_batch_size=100 if quick else 5_000,
        ).create(device="cpu", dynamics=fitted.dynamics)
        epochs = mbo.fit(  # was: epochs = sac.fit(
            sac,
            dataset,
            mopo,  # new
            n_steps=10 if quick else 10_000,
            n_steps_per_epoch=10 if quick else 2_000,
            env=env,  # was: evaluators={"environment": EnvironmentEvaluator(env)}
            n_trials=1 if quick else 10,
            show_progress=False,
        )
        return float(epochs[-1][1]["environment"])

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=0)
    )
    study.optimize(objective, n_trials=2 if quick else 20)
    print(f"{study.best_value:.0f} with {study.best_params}")
    return study


if __name__ == "__main__":
    main(quick="--quick" in sys.argv)
