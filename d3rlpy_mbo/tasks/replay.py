"""D4RL's medium-replay recipe: everything that a learner saw while it learned online."""

import contextlib
import json
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any, Optional, Union

import gymnasium
import numpy as np
import numpy.typing as npt
import torch
from d3rlpy.base import DeviceArg
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from ..data.environments import simulator_advice
from ..learners.state import read_networks, written_networks
from ..support.devices import device_name, validate_device
from ..support.errors import DatasetError
from ..support.progress import Progress
from ..support.version import installed_versions
from .local_datasets import validate_free, write_local_dataset
from .online_learners import OnlineConfig, OnlineLearner, online_learner
from .places import write_alone
from .replay_store import Arrays, Checkpoint, Replay

__all__ = ["collect_replay", "replay_id"]

# D4RL, d4rl/infos.py: the returns of a random and of an expert policy in the -v2
# environments, whatever the dataset.
_D4RL_SCORES = {
    "Hopper": (-20.272305, 3234.3),
    "HalfCheetah": (-280.178953, 12135.0),
    "Walker2d": (1.629008, 4592.3),
    "Ant": (-325.6, 3879.7),
}

_PACKAGES = ("d3rlpy", "gymnasium", "mujoco", "numpy", "torch")  # what decides the rows


def collect_replay(
    environment: Union[str, EnvSpec],
    *,
    n_steps: int,
    seed: int = 0,
    dataset_id: Optional[str] = None,
    force: bool = False,
    learner: Optional[OnlineConfig] = None,
    n_random_steps: int = 1_000,
    checkpoint_interval: int = 10_000,
    device: DeviceArg = False,
) -> str:
    """Trains online and makes a local Minari dataset of the whole replay, in order.

    SAC learns continuous actions; where they are choices, DoubleDQN does, which takes a
    random one with a probability that falls from 1 to 0.1 in the first 10,000 steps
    that it learns (ours). One gradient step follows each environment step. Episodes keep
    their last observation, also where the time limit or the end of the collection cuts
    them, and the seed of their reset, so each can be played again by itself.

    A collection that was killed goes on where it last saved itself: at the first end of
    an episode after every ``checkpoint_interval`` steps (an environment whose episodes
    do not end is never saved), in a hidden folder of Minari's local root. The learner,
    its optimisers, the replay and the random generators are kept, so on the CPU, with
    the same number of torch threads, the dataset is the uninterrupted one's bit for bit
    if the environment's state after ``reset(seed=...)`` depends on nothing earlier
    (MuJoCo's and classic control's do). On a GPU, rounding may differ.

    Where D4RL states reference scores (Hopper, HalfCheetah, Walker2d and Ant), they are
    kept; they were measured in the -v2 environments.

    Args:
        environment: Gymnasium's id, such as ``"Hopper-v5"``, or a spec; vector
            observations, and continuous, bounded actions or a `Discrete` space.
        n_steps: Number of transitions. D4RL's medium-replay datasets have 402,000
            (hopper), 302,000 (walker2d) and 202,000 (halfcheetah).
        seed: Determines all of the dataset.
        dataset_id: Minari's ``namespace/name-v0``; ``replay/hopper-v5-v0`` and the
            like if None.
        force: Replace an existing dataset, and forget an unfinished collection of the
            same id that had other settings or cannot be read.
        learner: Its settings. None is, for SAC, d3rlpy's: two layers of 256, batches of
            256, learning rates of 3e-4, as in rlkit; actions are scaled to the
            environment's range in any case. For DoubleDQN it is a learning rate of
            1e-3, batches of 64 and a target network every 500 steps (ours).
        n_random_steps: Steps of uniform actions, without gradient steps, to begin with
            (rlkit: 1000).
        checkpoint_interval: Steps between two savings.
        device: As d3rlpy's ``create``: False, True, a GPU's number or a torch name.

    Returns:
        The dataset's id.

    Raises:
        CompositionError: There is no such device.
        DatasetError: There is no such environment, its spaces are of another kind, a
            number is out of range, the dataset exists or its id is malformed, or an
            unfinished collection of that id had other settings or cannot be read.

    Source: Fu et al. 2020, D4RL, "medium-replay"; settings of rlkit's SAC example.
    """
    name_of = environment if isinstance(environment, str) else environment.id
    for name, value, least in (
        ("n_steps", n_steps, 1),
        ("seed", seed, 0),
        ("n_random_steps", n_random_steps, 1),
        ("checkpoint_interval", checkpoint_interval, 1),
    ):
        if value < least:
            raise DatasetError(
                f"Replay of {name_of}: {name} is {value}, expected at least {least}."
            )
    validate_device(device)
    dataset_id = dataset_id or replay_id(name_of)
    with (
        contextlib.closing(_make_environment(environment)) as env,
        write_alone(dataset_id),
    ):
        validate_free(dataset_id, force)
        online = online_learner(name_of, env.action_space, learner)
        settings = {
            "environment": name_of,
            **({} if isinstance(environment, str) else environment.kwargs),
            "n_steps": n_steps,
            "seed": seed,
            "n_random_steps": n_random_steps,
            **online.settings,
            **{f"learner.{k}": v for k, v in online.config.serialize_to_dict().items()},
            **{f"version.{k}": v for k, v in installed_versions(_PACKAGES).items()},
        }
        checkpoint = Checkpoint(dataset_id, settings)
        with _seeded(seed, device):
            collection = _Collection(env, online, n_steps, n_random_steps, seed, device)
            collection.resume(checkpoint.read(force))
            collection.run(checkpoint, checkpoint_interval)
        write_local_dataset(
            dataset_id,
            collection.replay.episodes(),
            env=env.spec,
            metadata=_metadata(env.spec, online.algorithm, settings),
            force=force,
        )
        checkpoint.remove()
    return dataset_id


def _make_environment(environment: Union[str, EnvSpec]) -> Any:
    name = environment if isinstance(environment, str) else environment.id
    try:
        env: Any = gymnasium.make(environment)
    except (gymnasium.error.Error, ImportError) as error:
        near = get_close_matches(name, gymnasium.registry, n=1)
        raise DatasetError(
            f"gymnasium cannot make the environment {name!r} "
            f"({type(error).__name__}: {error})."
            + (f" Did you mean {near[0]!r}?" if near else "")
            + simulator_advice(error)
        ) from error
    try:
        _validate_environment(name, env)
    except DatasetError:
        env.close()
        raise
    return env


def _validate_environment(environment: str, env: Any) -> None:
    space = env.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise DatasetError(
            f"The observations of {environment!r} are {space}; expected vectors, a Box "
            "of shape (D,). Images, dictionaries and tuples are not supported."
        )
    online_learner(environment, env.action_space, None)  # refuses other actions
    try:
        env.spec.to_json()
    except Exception as error:
        raise DatasetError(
            f"{environment!r} cannot be kept in a dataset ({error}). Register it with a "
            "string as entry point, and settings that JSON can hold."
        ) from error


def replay_id(environment: str) -> str:
    """Returns the id of a replay's dataset, by default: ``replay/hopper-v5-v0``."""
    name = environment.rpartition(":")[2].replace("/", "-").replace(".", "-")
    return f"replay/{name.lower()}-v0"


def _metadata(spec: Any, algorithm: str, settings: dict[str, Any]) -> dict[str, Any]:
    description = (
        f"D4RL's medium-replay recipe on {spec.id}: all {settings['n_steps']} "
        f"transitions, in order, that d3rlpy's {algorithm} saw while it learned online."
    )
    scores = {}
    if spec.namespace is None and spec.name in _D4RL_SCORES:
        low, high = _D4RL_SCORES[spec.name]
        scores = {"ref_min_score": low, "ref_max_score": high}
        description += (
            f" The reference scores are D4RL's, measured in {spec.name}-v2 with an older "
            "MuJoCo."
        )
    return {
        "description": description,
        "algorithm_name": algorithm,
        "seed": settings["seed"],
        "collection": settings,
        **scores,
    }


@contextlib.contextmanager
def _seeded(seed: int, device: DeviceArg) -> Iterator[None]:
    """Seeds torch, and leaves the caller's generators as they were."""
    used = torch.device(device_name(device))
    gpus = [used.index or 0] if used.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):
        torch.manual_seed(seed)
        yield


class _Collection:
    """A learner, its environment, its replay, and what decides how they go on."""

    def __init__(
        self,
        env: Any,
        online: OnlineLearner,
        n_steps: int,
        n_random_steps: int,
        seed: int,
        device: DeviceArg,
    ):
        self._env = env
        self._online = online
        self._n_steps, self._n_random_steps = n_steps, n_random_steps
        self._device = torch.device(device_name(device))
        self._learner = online.config.create(device)
        self._learner.create_impl(env.observation_space.shape, online.action_size)
        self._rng = np.random.default_rng(seed)
        self._saved_size = self._saved_episodes = 0
        self.replay = Replay(n_steps, env)

    def run(self, checkpoint: Checkpoint, interval: int) -> None:
        """Plays until the replay holds all steps."""
        with Progress(
            f"{self._online.algorithm} on {self._env.spec.id}",
            initial=self.replay.size,
            total=self._n_steps,
        ) as progress:
            while self.replay.size < self._n_steps:
                episode_return = self._play(progress)
                progress.note(episode_return=episode_return)
                if self.replay.size // interval > self._saved_size // interval:
                    self._save(checkpoint)

    def _play(self, progress: Progress) -> float:
        seed = int(self._rng.integers(2**31))
        observation, _ = self._env.reset(seed=seed)
        self.replay.begin_episode(seed, observation)
        episode_return, ended = 0.0, False
        while not ended and self.replay.size < self._n_steps:
            action = self._act(observation)
            observation, reward, terminated, truncated, _ = self._env.step(action)
            self.replay.append(action, float(reward), terminated, observation)
            if self.replay.size > self._n_random_steps:
                size = self._learner.config.batch_size
                self._learner.update(self.replay.sample(size, self._rng))
            episode_return += float(reward)
            ended = terminated or truncated
            progress.advance()
        return episode_return

    def _act(self, observation: npt.NDArray[Any]) -> Any:
        learned = self.replay.size - self._n_random_steps
        if learned < 0:
            return self._online.uniform(self._rng)
        return self._online.explore(self._learner, observation, learned, self._rng)

    def _save(self, checkpoint: Checkpoint) -> None:
        state = {
            "learner": np.frombuffer(written_networks(self._learner), dtype=np.uint8),
            "numpy_generator": np.array(json.dumps(self._rng.bit_generator.state)),
            "torch_generator": torch.get_rng_state().numpy(),
        }
        if self._device.type == "cuda":
            state["cuda_generator"] = torch.cuda.get_rng_state(self._device).numpy()
        part = self.replay.since(self._saved_size, self._saved_episodes)
        checkpoint.write(state, part, start=self._saved_size)
        self._saved_size, self._saved_episodes = (
            self.replay.size,
            self.replay.n_episodes,
        )

    def resume(self, saved: Optional[tuple[Arrays, list[Arrays]]]) -> None:
        """Goes back to what was saved last, if anything was."""
        if saved is None:
            return
        state, parts = saved
        read_networks(self._learner, state["learner"].tobytes())
        self._rng.bit_generator.state = json.loads(str(state["numpy_generator"]))
        torch.set_rng_state(torch.from_numpy(state["torch_generator"]))
        if self._device.type == "cuda" and "cuda_generator" in state:
            generator = torch.from_numpy(state["cuda_generator"])
            torch.cuda.set_rng_state(generator, self._device)
        for part in parts:
            self.replay.extend(part)
        # A target network is renewed by it.
        self._learner.set_grad_step(max(0, self.replay.size - self._n_random_steps))
        self._saved_size, self._saved_episodes = (
            self.replay.size,
            self.replay.n_episodes,
        )
