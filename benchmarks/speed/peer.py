"""OfflineRL-Kit, from a checkout of its repository: the peer that is measured."""

import functools
import sys
import tempfile
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from d3rlpy_mbo import Transitions

WEIGHT_DECAYS = [2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4]  # its own and ours


class Silent:
    """Stands for its logger and its evaluation environment: costs no time."""

    def __init__(self) -> None:
        self.model_dir = self.checkpoint_dir = tempfile.mkdtemp()

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: np.zeros(1)


class OfflineRLKit:
    """Builds its parts with the sizes that ours have by default.

    Args:
        path: A checkout of github.com/yihaosun1124/OfflineRL-Kit.
        device: A torch device name, where its networks are.
    """

    def __init__(self, path: Path, device: str = "cpu"):
        if not (path / "offlinerlkit").is_dir():
            raise SystemExit(f"{path} holds no offlinerlkit: expected a checkout.")
        sys.path.insert(0, str(path))
        _stand_in_for_what_it_imports()
        import offlinerlkit.buffer
        import offlinerlkit.dynamics
        import offlinerlkit.modules
        import offlinerlkit.nets
        import offlinerlkit.policy
        import offlinerlkit.policy_trainer
        import offlinerlkit.utils.scaler
        import offlinerlkit.utils.termination_fns

        self.kit, self.device = offlinerlkit, device
        trainer: Any = sys.modules["offlinerlkit.policy_trainer.mb_policy_trainer"]
        trainer.tqdm = functools.partial(trainer.tqdm, disable=True)

    def dynamics(
        self,
        data: Transitions,
        penalty_coef: float = 0.0,
        learning_rate: float = 1e-3,
    ) -> Any:
        """Returns an EnsembleDynamics that knows the scale of the data."""
        kit = self.kit
        model = kit.modules.EnsembleDynamicsModel(
            data.observation_size,
            data.action_size,
            [200] * 4,
            num_ensemble=7,
            num_elites=5,
            weight_decays=WEIGHT_DECAYS,
            device=self.device,
        )
        scaler = kit.utils.scaler.StandardScaler()
        scaler.fit(torch.cat([data.observations, data.actions], dim=1).numpy())
        return kit.dynamics.EnsembleDynamics(
            model,
            torch.optim.Adam(model.parameters(), lr=learning_rate),
            scaler,
            lambda observations, *_: np.zeros((len(observations), 1), dtype=bool),
            penalty_coef=penalty_coef,
        )

    def termination(self, environment: str) -> Any:
        """Returns its own rule of where an environment, by Gymnasium's id, ends."""
        return self.kit.utils.termination_fns.get_termination_fn(environment.lower())

    def data(self, transitions: Transitions) -> dict[str, np.ndarray]:
        """Returns transitions as it keeps them."""
        names = ["observations", "actions", "rewards", "next_observations", "terminals"]
        return {name: getattr(transitions, name).numpy() for name in names}

    def buffer(self, size: int, transitions: Transitions) -> Any:
        """Returns one of its replay buffers, empty."""
        return self.kit.buffer.ReplayBuffer(
            size,
            (transitions.observation_size,),
            np.float32,
            transitions.action_size,
            np.float32,
            self.device,
        )

    def real_buffer(self, transitions: Transitions) -> Any:
        """Returns a buffer of the transitions."""
        buffer = self.buffer(len(transitions), transitions)
        buffer.load_dataset(self.data(transitions))
        return buffer

    def policy(
        self,
        kind: str,
        transitions: Transitions,
        hidden: Sequence[int] = (256, 256),
        alpha_learning_rate: float = 1e-4,
        learning_rate: float = 3e-4,
        **parts: Any,
    ) -> Any:
        """Returns its MOPOPolicy, RAMBOPolicy or COMBOPolicy with SAC's networks."""
        networks = self._networks(transitions, list(hidden))
        optimizers = [
            torch.optim.Adam(each.parameters(), lr=learning_rate) for each in networks
        ]
        kit, alpha = self.kit, self._alpha(transitions, alpha_learning_rate)
        of = {
            "mopo": kit.policy.MOPOPolicy,
            "rambo": kit.policy.RAMBOPolicy,
            "combo": kit.policy.COMBOPolicy,
        }[kind]
        return of(parts.pop("dynamics"), *networks, *optimizers, alpha=alpha, **parts)

    def mobile_policy(
        self, transitions: Transitions, dynamics: Any, **settings: Any
    ) -> Any:
        """Returns its MOBILEPolicy with SAC's networks of 2 x 256."""
        actor, *critics = self._networks(transitions, [256, 256])
        listed = torch.nn.ModuleList(critics)
        optimizers = [
            torch.optim.Adam(each.parameters(), lr=3e-4) for each in (actor, listed)
        ]
        alpha = self._alpha(transitions)
        of = self.kit.policy.MOBILEPolicy
        return of(dynamics, actor, listed, *optimizers, alpha=alpha, **settings)

    def _networks(self, transitions: Transitions, hidden: list[int]) -> list[Any]:
        """Returns an actor and two critics."""
        kit, size, device = self.kit, transitions.observation_size, self.device
        actor = kit.nets.MLP(input_dim=size, hidden_dims=hidden)
        head = kit.modules.TanhDiagGaussian(
            256, transitions.action_size, unbounded=True, conditioned_sigma=True
        )
        actor = kit.modules.ActorProb(actor, head, device)
        critics = [
            kit.modules.Critic(
                kit.nets.MLP(size + transitions.action_size, hidden), device
            )
            for _ in range(2)
        ]
        return [actor, *critics]

    def _alpha(
        self, transitions: Transitions, learning_rate: float = 1e-4
    ) -> tuple[Any, ...]:
        """Returns a temperature that is learned."""
        log_alpha = torch.zeros(1, requires_grad=True, device=self.device)
        return (
            -transitions.action_size,
            log_alpha,
            torch.optim.Adam([log_alpha], lr=learning_rate),
        )


def _stand_in_for_what_it_imports() -> None:
    """Its loggers, plots and simulators are not needed here, but it imports them."""
    import torch._dynamo  # looks for a real pandas when it is first imported

    stubs: dict[str, dict[str, object]] = {
        "pandas": {},
        "torch.utils.tensorboard": {"SummaryWriter": object},
        "gym.envs.mujoco": {"mujoco_env": types.SimpleNamespace(MujocoEnv=object)},
    }
    for name, attributes in stubs.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        sys.modules[name] = module
    assert torch._dynamo
