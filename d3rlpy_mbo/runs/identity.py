"""What a run is: a checkpoint of another one is refused, and what differs is named."""

import dataclasses
import json
import warnings
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import torch

from ..data.real_data import RealData
from ..imagination.file_content import digest_of
from ..imagination.imagination import Imagination
from ..registry.json_form import encode
from ..support.devices import device_name
from ..support.errors import CheckpointError, listed
from ..support.version import installed_versions

__all__ = [
    "differences",
    "fit_identity_of",
    "identity_of",
    "is_of_these_versions",
    "models_of",
    "validate_same_run",
    "warn_of_another_seed",
    "warn_of_other_models",
]

_SCALERS = ("observation_scaler", "action_scaler", "reward_scaler")

# Entries that are compared by rules of their own; older checkpoints lack them.
_APART = ("scalers", "seed", "models", "given_models")

# Their states may mean something else in another version.
_VERSIONS = ("d3rlpy-mbo", "d3rlpy")


def identity_of(
    learner: Any,
    real: RealData,
    imaginations: Sequence[Imagination],
    *,
    n_steps_per_epoch: int,
    n_trials: int,
    real_ratio: Optional[float],
    shares: Optional[Sequence[float]],
    has_environment: bool,
    n_pretraining_epochs: int,
    target_return: Optional[float],
) -> dict[str, Any]:
    """Returns everything that must be alike for a run to go on, as JSON has it."""
    identity = {
        "learner": _described(learner.config),
        "scalers": _scalers(learner.config),
        "seed": _seed(),
        "imaginations": [encode(each.config) for each in imaginations],
        "models": [_fitted(each) for each in imaginations],
        "given_models": [_given(each) for each in imaginations],
        "dataset": _fingerprint(real),
        "device": {
            "learner": device_name(learner._device),
            "imaginations": [each.device for each in imaginations],
        },
        "versions": installed_versions(_VERSIONS),
        "n_steps_per_epoch": n_steps_per_epoch,
        "n_trials": n_trials,
        "real_ratio": real_ratio,
        "shares": None if shares is None else [float(each) for each in shares],
        "environment": has_environment,
        "n_pretraining_epochs": n_pretraining_epochs,
        "target_return": target_return,
    }
    return dict(json.loads(json.dumps(identity, default=_plain)))


def is_of_these_versions(identity: Mapping[str, Any]) -> bool:
    """Whether the versions that wrote a checkpoint are those that are installed."""
    return bool(identity.get("versions") == installed_versions(_VERSIONS))


def models_of(identity: Mapping[str, Any]) -> list[Optional[str]]:
    """Returns what it says of each imagination's fit; nothing of a fit alone."""
    return list(identity.get("models", []))


def fit_identity_of(imagination: Imagination, real: RealData) -> dict[str, Any]:
    """Returns everything that must be alike for a fit to go on, as JSON has it."""
    identity = {
        "imaginations": [encode(imagination.config)],
        "dataset": _fingerprint(real),
        "device": imagination.device,
        "versions": installed_versions(_VERSIONS),
    }
    return dict(json.loads(json.dumps(identity)))


def _described(config: Any) -> dict[str, Any]:
    """Returns a learner's settings; of its scalers their types alone."""
    scalers = {n: getattr(config, n) for n in _SCALERS if hasattr(config, n)}
    plain = dataclasses.replace(config, **dict.fromkeys(scalers))
    return {
        "type": config.get_type(),
        **json.loads(plain.serialize()),
        **{name: each and each.get_type() for name, each in scalers.items()},
    }


def _scalers(config: Any) -> dict[str, Any]:
    """Returns the fields of a learner's scalers, and whether they need no fit any more."""
    return {
        name: {
            "built": bool(scaler.built),
            **{f.name: getattr(scaler, f.name) for f in dataclasses.fields(scaler)},
        }
        for name in _SCALERS
        if (scaler := getattr(config, name, None)) is not None
    }


def _seed() -> Optional[int]:
    """Returns what torch was seeded with, whatever was drawn since; None for nothing."""
    seed = torch.initial_seed()
    return None if seed == torch.Generator().initial_seed() else seed


def _plain(value: Any) -> Any:
    """Returns an array as a list; of what JSON has no form for, the type's name."""
    return value.tolist() if hasattr(value, "tolist") else type(value).__name__


def _fingerprint(real: RealData) -> dict[str, Any]:
    rows, width = real.packed.shape
    return {
        "rows": rows,
        "columns": width,
        "episodes": len(real.episode_starts) - 1,
        "crc32": zlib.crc32(real.packed.data),  # fast, and no secret
    }


def _fitted(imagination: Imagination) -> Optional[str]:
    """Returns a digest of what its fit found; None of what trains, or will be fitted."""
    if not imagination.fitted or imagination.changed_for_another(None):
        return None
    parts = imagination.checkpoint_state()["parts"]
    return digest_of({name: part["state"] for name, part in parts.items()})


def _given(imagination: Imagination) -> Optional[str]:
    """Returns a digest of a model that was given and beside which nothing is fitted yet.

    What is fitted beside it, such as a halt's threshold, is of no other model.
    """
    if not imagination.dynamics_given or imagination.fitted:
        return None
    return digest_of(imagination.dynamics.state_dict())[:12]


def validate_same_run(
    saved: Mapping[str, Any],
    ours: Mapping[str, Any],
    path: Path,
    fitting: bool = False,
) -> None:
    """Refuses checkpoints of another run.

    Args:
        saved: Their identity.
        ours: This run's.
        path: Their folder.
        fitting: Whether models are being fitted beside those that were given, which are
            not in the checkpoint then: with others the two would be mixed.

    Raises:
        CheckpointError: Names what differs, with both values.
    """
    alike = [
        {k: v for k, v in each.items() if k not in _APART} for each in (saved, ours)
    ]
    changed = differences("", *alike)
    if fitting:
        given = (each.get("given_models", []) for each in (saved, ours))
        pairs = enumerate(zip(*given, strict=False))
        for i, (before, now) in pairs:
            if None not in (before, now):
                changed += differences(f"given_models[{i}]", before, now)
    theirs = saved.get("scalers", {})
    for name, scaler in ours.get("scalers", {}).items():
        if name in theirs:
            changed += _differences_of_scalers(name, theirs[name], scaler)
    if changed:
        raise CheckpointError(
            f"The checkpoints in {str(path)!r} are of another run: "
            f"{listed(changed, '; ')}. Give the same as then, or choose another folder."
        )


def _differences_of_scalers(
    name: str, saved: Mapping[str, Any], ours: Mapping[str, Any]
) -> list[str]:
    """Returns where what was given differs: what is fitted follows from the data.

    One that was fitted since, by the run itself, has more fields than were given.
    """
    fitted_since = ours["built"] and not saved["built"]
    names = [
        n for n in saved if n != "built" and not (fitted_since and saved[n] is None)
    ]
    return [
        difference
        for n in names
        for difference in differences(f"learner.{name}.{n}", saved[n], ours.get(n))
    ]


def warn_of_another_seed(
    saved: Mapping[str, Any], ours: Mapping[str, Any], path: Path
) -> None:
    """Warns where the run began with another seed than the caller has set.

    It is no reason to refuse: some seed by the clock.
    """
    before, now = saved.get("seed"), ours.get("seed")
    if before is not None and now is not None and before != now:
        warnings.warn(
            f"The run in {str(path)!r} began with the seed {before}, and torch is seeded "
            f"with {now} here. The run goes on with its own random numbers; if it is "
            "complete, its results are returned. For a run with another seed, choose "
            "another folder.",
            stacklevel=2,
        )


def warn_of_other_models(
    saved: Mapping[str, Any],
    ours: Mapping[str, Any],
    path: Path,
    fitting: bool = False,
) -> None:
    """Warns where the run began with other models than those that are given now.

    It is no reason to refuse: on a GPU the same fit may give slightly others.

    Args:
        saved: The identity of its checkpoints.
        ours: This run's.
        path: Their folder.
        fitting: Whether its training had not begun: checkpoints hold no given models then.
    """
    if fitting:
        began = zip(*map(models_of, (saved, ours)), strict=False)
        if any(before not in (None, now) for before, now in began):
            warnings.warn(
                f"The run in {str(path)!r} began with another fit of the imagination than "
                "the one that is given here, or a dynamics updater has changed it since, "
                "as in a call that failed. Its training had not begun: it goes on with "
                "this one. For the other, load a file that was saved before training.",
                stacklevel=2,
            )
        return
    pairs = [
        pair
        for name in ("models", "given_models")
        for pair in zip(*(each.get(name, []) for each in (saved, ours)), strict=False)
    ]
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        warnings.warn(
            f"The run in {str(path)!r} began with another fit of the imagination, or of "
            "its model, than the one given here, which is replaced by the run's own. For "
            "a run with the one given here, choose another folder.",
            stacklevel=2,
        )


def differences(name: str, saved: Any, ours: Any) -> list[str]:
    """Returns where two values that JSON can hold differ, each place with both.

    Args:
        name: Of the value, for the places in it.
        saved: As it was.
        ours: As it is here.
    """
    if saved == ours:
        return []
    if isinstance(saved, dict) and isinstance(ours, dict):
        return [
            each
            for key in {**saved, **ours}
            for each in differences(
                f"{name}.{key}" if name else key, saved.get(key), ours.get(key)
            )
        ]
    if isinstance(saved, list) and isinstance(ours, list) and len(saved) == len(ours):
        pairs = enumerate(zip(saved, ours, strict=True))
        return [d for i, (a, b) in pairs for d in differences(f"{name}[{i}]", a, b)]
    return [f"{name} is {saved!r} there and {ours!r} here"]
