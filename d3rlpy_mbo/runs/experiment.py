"""One run, given by names, and the file that tells everything about it."""

import dataclasses
import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional

import d3rlpy
from d3rlpy.base import LearnableConfig
from d3rlpy.logging import FileAdapterFactory
from d3rlpy.metrics import EvaluatorProtocol

from ..components.dynamics.interface import Dynamics
from ..data.minari import load_minari, reference_scores
from ..data.real_data import RealData
from ..learners.names import learner_config
from ..learners.pretraining import validate_pretraining
from ..registry.fields import COUNT, SEED, Number
from ..registry.json_form import encode
from ..support.devices import validate_device
from ..support.errors import CompositionError, told_of
from ..support.json_values import one_or_all, plain
from ..support.version import commit_of, installed_versions
from .arguments import validated_epochs
from .evaluation import evaluation, final_evaluation
from .folder import UNFINISHED, RunFolder
from .given_dynamics import with_given_dynamics
from .mixtures import Mixture, mixture_of, paths_to
from .settings import apply_settings
from .terminations import with_known_termination
from .training import Run
from .transformers import target_return_of
from .validation import validate_parts

__all__ = ["UNFINISHED", "Experiment", "versions"]

_PACKAGES = ("d3rlpy-mbo", "d3rlpy", "torch", "numpy", "gymnasium", "minari", "mujoco")


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What ``d3rlpy-mbo train`` runs.

    Args:
        dataset: Id of a Minari dataset.
        learner: Name of a d3rlpy algorithm's config, ``"bcq"``, ``"td3_plus_bc"``, or
            of a plugin's.
        imagination: Name of an imagination, several joined by ``+``, or ``"none"``.
        n_steps: Gradient steps.
        seed: Decides everything.
        device: As d3rlpy's `create`; ``"cpu"`` or ``"cuda:0"``.
        n_steps_per_epoch: Steps from one evaluation to the next.
        n_trials: Episodes of an evaluation.
        n_final_trials: Episodes of the final policy after training, from the same starts
            for every seed, for comparisons in pairs.
        n_pretraining_epochs: Epochs of `pretrain_policy` before training.
        learner_settings: Fields of the learner's config by dotted path.
        imagination_settings: Fields of the imagination's config, likewise; for several
            see `mixture_of`.
        trust_environment: See `load_minari`.
        target_return: The return that a transformer is asked for in evaluations; by
            default that of the data's best episode.
        dynamics_file: A saved imagination whose model is used; by default the run fits
            one. The other components are those of the named imagination.
    """

    dataset: str
    learner: str
    imagination: str
    n_steps: int
    seed: int = 0
    device: str = "cpu"
    n_steps_per_epoch: int = 10_000
    n_trials: int = 10
    n_final_trials: int = 0
    n_pretraining_epochs: int = 0
    learner_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    imagination_settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    trust_environment: bool = False
    target_return: Optional[float] = None
    dynamics_file: Optional[str] = None

    def learner_config(self) -> LearnableConfig:
        """Returns the learner's config with its settings.

        Raises:
            UnknownComponentError: There is no such learner or field.
            DuplicateComponentError, PluginError: See `learner_config`.
        """
        config = learner_config(self.learner)()
        with told_of(f"Settings of the learner {self.learner!r}"):
            return apply_settings(config, self.learner_settings)

    def mixture(self) -> Mixture:
        """Returns the imaginations' configs with their settings; none for ``"none"``.

        Raises:
            UnknownComponentError, CompositionError: See `mixture_of`; or there is a model
                that none, or not one alone, imagines with.
        """
        mixture = mixture_of(self.imagination, self.imagination_settings)
        if self.dynamics_file is None or len(mixture.configs) == 1:
            return mixture
        if mixture.configs:
            raise CompositionError(
                f"{self.imagination!r} imagines with several models, so which one is to be "
                f"that of {self.dynamics_file!r} cannot be told. Leave the file out, or "
                "train in Python: mbo.fit(learner, dataset, [first, second], ...)."
            )
        raise CompositionError(
            f"imagination is 'none', so nothing imagines with the model of "
            f"{self.dynamics_file!r}. Choose an imagination, or leave the file out."
        )

    def folder(self, out: Path) -> RunFolder:
        """Returns the folder of this run.

        Args:
            out: Where it is or will be.
        """
        return RunFolder(out, dataclasses.asdict(self))

    def run(
        self,
        out: Path,
        force: bool = False,
        *,
        resume: bool = False,
        dynamics: Sequence[Dynamics] = (),
        evaluators: Optional[dict[str, EvaluatorProtocol]] = None,
        record: Optional[dict[str, Any]] = None,
        show_progress: bool = True,
        checkpoint_interval: Optional[int] = None,
        keep_checkpoint: bool = False,
    ) -> dict[str, Any]:
        """Trains, evaluates and writes ``result.json``, once it is complete.

        Everything that can be refused is refused before anything is written. The run is
        made in ``out/unfinished``, with its checkpoints: a run that it replaces or goes
        on from stays until it is complete.

        Args:
            out: Folder for the result, the learner, the imagination and d3rlpy's logs.
            force: Whether a result in that folder may be replaced.
            resume: Whether to go on with a run of this experiment in that folder that was
                interrupted, or is finished with fewer steps. One that is finished with as
                many is left as it is, and its result returned.
            dynamics: Fitted models that several runs share, one for each imagination; by
                default that of `dynamics_file`, or else each run fits its own.
            evaluators: More numbers after each epoch, into ``"metrics"``.
            record: More entries of the result, for example where the model came from.
            show_progress: Whether d3rlpy and the models' fits show their progress.
            checkpoint_interval: See `fit`.
            keep_checkpoint: Whether the last checkpoint stays once the run is complete,
                so that it can go on with more steps.

        Returns:
            The content of ``result.json``.

        Raises:
            CompositionError: The folder is taken, or settings do not fit each other.
            CheckpointError: There is no run of this experiment to go on with.
            NotFittedError: The model given is not fitted.
            LoadError: `dynamics_file` is no saved imagination.
            UnknownComponentError, DatasetError: Nothing has such a name.
        """
        folder = self.folder(out)
        state = folder.state() if resume else "new"
        if state == "finished":
            return folder.result()
        if state == "new":
            folder.validate_free(force)
        made_with = versions()  # a checkout may move on while this trains
        n_steps_per_epoch = validated_epochs(self.n_steps, self.n_steps_per_epoch)
        learner_config, mixture = self.learner_config(), self.mixture()
        configs = dict(mixture.configs)
        models: list[Optional[Dynamics]] = [*dynamics] or [None] * len(configs)
        validate_device(self.device)
        seed = SEED.validated("seed", self.seed)
        COUNT.validated("n_trials", self.n_trials)
        Number(at_least=0, whole=True).validated("n_final_trials", self.n_final_trials)
        if self.dynamics_file is not None and not dynamics:
            [(name, config)] = configs.items()
            configs[name], models[0] = with_given_dynamics(
                config, self.imagination_settings, self.dynamics_file, self.device
            )
        d3rlpy.seed(seed)
        learner: Any = learner_config.create(device=self.device)
        if self.n_pretraining_epochs:
            validate_pretraining(
                learner, self.n_pretraining_epochs, "n_pretraining_epochs"
            )
        imaginations = [
            config.create(self.device, model)
            for config, model in zip(configs.values(), models, strict=True)
        ]
        dataset, env = load_minari(self.dataset, self.trust_environment)
        paths = paths_to(self.imagination, "termination")
        for i, (name, config) in enumerate(configs.items()):
            completed = with_known_termination(
                config, mixture.settings[name], dataset, env, paths[name]
            )
            if completed is not None:
                configs[name] = completed
                imaginations[i] = completed.create(self.device, models[i])
        scores = reference_scores(self.dataset)
        real = RealData.of(dataset)
        real_ratio, shares = mixture.real_ratio, mixture.shares
        validate_parts(learner, real, imaginations, real_ratio, shares, env)
        target_return = target_return_of(learner, real, self.target_return)
        run = Run(
            learner,
            real,
            imaginations,
            self.n_steps,
            n_steps_per_epoch,
            env,
            self.n_trials,
            real_ratio,
            shares,
            n_pretraining_epochs=self.n_pretraining_epochs,
            target_return=target_return,
        )

        with folder.held():
            if resume:  # another process may have been at it until now
                state = folder.state()
            if state == "on its way" and folder.finish_if_complete(keep_checkpoint):
                state = folder.state()
            if state == "finished":
                return folder.result()
            if state == "new":
                folder.begin()
            elif state == "grows":
                run.checkpoints(folder.kept_checkpoints).validate()
                folder.reopen()
            else:
                folder.write_settings()
            go_on = "The same command goes on from there; train with --resume."
            with run.checkpoints(
                folder.checkpoints, checkpoint_interval, go_on
            ) as kept:
                epochs = run.train(
                    kept,
                    evaluators,
                    FileAdapterFactory(root_dir=str(folder.work)),
                    {
                        "experiment_name": "logs",
                        "with_timestamp": False,
                        "save_interval": self.n_steps + 1,  # none: see below
                        "show_progress": show_progress,
                    },
                )
                seconds = kept.seconds
            learner.save(str(folder.work / "learner.d3"))
            files = folder.imagination_files(configs)
            for imagination, file in zip(imaginations, files, strict=True):
                imagination.save(file)
            result = {
                "experiment": dataclasses.asdict(self),
                "evaluations": [
                    evaluation(epoch * n_steps_per_epoch, metrics, scores)
                    for epoch, metrics in epochs
                    if env is not None
                ],
                "final_evaluation": (
                    final_evaluation(
                        learner, env, self.n_final_trials, scores, target_return
                    )
                    if env is not None and self.n_final_trials
                    else None
                ),
                "target_return": target_return,
                "reference_scores": scores,
                "d4rl_reference_scores": reference_scores(self.dataset, "d4rl_"),
                "metrics": [plain(metrics) for _, metrics in epochs],
                "learner": {
                    "type": learner_config.get_type(),
                    # Not as a dict: d3rlpy's would hold enumerations.
                    "params": json.loads(learner_config.serialize()),
                },
                "imagination": one_or_all([encode(each) for each in configs.values()]),
                "seconds": seconds,
                "versions": made_with,
                "command": sys.argv,
                **(record or {}),
            }
            folder.finish(result, keep_checkpoint)
        return result


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that decide a result.

    With our own commit, if the package is imported from a checkout: between releases the
    version says little.
    """
    commit = commit_of(__file__)
    return {
        "python": platform.python_version(),
        **installed_versions(_PACKAGES),
        **({} if commit is None else {"d3rlpy-mbo's commit": commit}),
    }
