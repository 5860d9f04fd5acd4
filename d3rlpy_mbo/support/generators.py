"""The random generators that decide a run: torch's, NumPy's and Python's."""

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["generator_states", "generators_kept", "set_generator_states"]


def generator_states() -> dict[str, Any]:
    """Returns where every generator stands, in tensors and plain values."""
    algorithm, key, position, has_gauss, cached = np.random.get_state()
    return {
        **_beside_numpys(),
        "numpy": {
            "algorithm": algorithm,
            "key": torch.from_numpy(np.asarray(key).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Puts every generator where `generator_states` found it.

    Those of GPUs that are not here are left out: nothing draws from them.
    """
    numpy = states["numpy"]
    np.random.set_state(
        (
            numpy["algorithm"],
            numpy["key"].numpy().astype(np.uint32),
            numpy["position"],
            numpy["has_gauss"],
            numpy["cached"],
        )
    )
    _set_beside_numpys(states)


@contextlib.contextmanager
def generators_kept() -> Iterator[None]:
    """Puts every generator back where it stood: what is drawn inside leaves no trace."""
    # NumPy's as it is: a user may have put another bit generator there.
    states, numpy = _beside_numpys(), np.random.get_state(legacy=False)
    try:
        yield
    finally:
        np.random.set_state(numpy)
        _set_beside_numpys(states)


def _beside_numpys() -> dict[str, Any]:
    version, words, gauss = random.getstate()
    return {
        "python": [version, list(words), gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _set_beside_numpys(states: dict[str, Any]) -> None:
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    torch.set_rng_state(states["torch"])
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for i, state in enumerate(states["cuda"][:n_gpus]):
        torch.cuda.set_rng_state(state, i)
