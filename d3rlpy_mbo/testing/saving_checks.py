"""Checks of what is saved: loaded, or gone on with, it answers as before."""

import copy
import io
import re
import tempfile
from pathlib import Path
from typing import Any, Optional

import d3rlpy
import torch

from ..imagination.loading import load_imagination
from ..support.errors import ConformanceError
from ..support.resuming import Fits, fit_once, fits_kept
from .another_device import another_device
from .common_checks import close
from .running import KINDS, conformance_check
from .subjects import Subject

__all__ = ["check_fit_goes_on_alike", "check_save_and_load_alike"]


@conformance_check(*KINDS, learned_only=True)
def check_save_and_load_alike(subject: Subject) -> None:
    """Checks that it answers the same after it was saved and loaded.

    Loaded on `another_device`, it must work there. An updater may carry more than it
    saves, and need not answer the same.
    """
    loaded = _saved_and_loaded(subject, subject)
    if not loaded.fitted:
        raise subject.violation(
            "after load_state_dict it must be fitted",
            "fitted is False",
            "load_state_dict does not set what `fitted` looks at",
        )
    if subject.component.kind != "dynamics_updater":
        _compare_loaded(subject, loaded)
    cause = (
        "a load_state_dict that keeps the tensors that it is given: they are on the CPU, "
        "so move each to self.device"
    )
    with another_device() as device:
        there = subject.elsewhere(device)
        try:
            loaded = _saved_and_loaded(subject, there)
            if subject.component.kind != "dynamics_updater":
                there.ready = loaded
            answers = there.ask(loaded, there.inputs())
        except ConformanceError:
            raise
        except Exception as error:
            raise subject.violation(
                "saved and loaded it must work on the device it is created on",
                subject.raised(error),
                cause,
            ) from error
        for name, values in answers.items():
            if str(values.device) != there.answers_at:
                raise subject.violation(
                    f"loaded on {device!r}, {name} must be on {there.answers_at!r}",
                    values.device,
                    cause,
                )


def _compare_loaded(subject: Subject, loaded: Any) -> None:
    """Checks that what was loaded answers as what was saved."""
    expected = subject.answers()
    d3rlpy.seed(0)
    try:
        found = subject.ask(loaded, subject.inputs())
    except Exception as error:
        raise subject.violation(
            "saved and loaded it must answer",
            subject.raised(error),
            "state_dict leaves out something that `fit` determined, or it reads "
            "context.reward_range, which no file has",
        ) from error
    for name, values in expected.items():
        if not close(values, found[name]):
            raise subject.violation(
                f"saved and loaded it must give the same {name}",
                "other values, after the same seed",
                "state_dict leaves out something that `fit` determined",
            )


def _saved_and_loaded(subject: Subject, there: Subject) -> Any:
    """Returns what `ready` is, saved, where another subject of the same is."""
    ready = subject.ready
    if subject.component.kind == "imagination":
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "imagination.mbo"
            ready.save(path)
            return load_imagination(path, there.device)
    if subject.component.kind == "dynamics_updater":  # which may keep an optimizer
        subject.ask(ready, subject.inputs())
    file = io.BytesIO()
    torch.save(ready.state_dict(), file)
    file.seek(0)
    try:
        state = torch.load(file, weights_only=True)
    except Exception as error:
        raise subject.violation(
            "state_dict must hold tensors, numbers, strings, lists and dicts alone",
            _forbidden(error),
            "an object in it; files are read by a loader that can run no code",
        ) from error
    return there.loaded(state)


@conformance_check(
    "dynamics", "rollout_policy", "termination", "penalty", "halt", learned_only=True
)
def check_fit_goes_on_alike(subject: Subject) -> None:
    """Checks that a fit that a kill cut short goes on as if it had not been.

    A fit of its own that no checkpoint can leave, without `fit_by_gradient`, begins anew.
    """
    expected, kept = subject.answers(), _kept_amid_fit(subject)
    if kept is None:
        return
    resumed = subject.created()
    with fits_kept(Fits(lambda done: None, kept)):
        fit_once("part", resumed, lambda: subject.refit(resumed, subject.data()))
    d3rlpy.seed(0)
    found = subject.ask(resumed, subject.inputs())
    for name, values in expected.items():
        if not close(values, found[name]):
            raise subject.violation(
                f"resumed from a checkpoint amid its fit, it must give the same {name}",
                "other values, after the same seed",
                "something that the steps of `fit` change, such as a scheduler or a "
                "running mean, and that the checkpoint lacks: give it to fit_by_gradient "
                "as also=",
            )


def _kept_amid_fit(subject: Subject) -> Optional[dict[str, Any]]:
    """Returns what a checkpoint has of a fit after half of it or more, if it can be left.

    Of the places where it may be left, the last whose number is a power of two.
    """
    kept: list[dict[str, Any]] = []
    n_places = 0

    def reached(done: bool) -> None:
        nonlocal n_places
        n_places += not done
        if not done and n_places & (n_places - 1) == 0:
            kept[:] = [copy.deepcopy({**fits.checkpoint_state(), "done": {}})]

    fits, made = Fits(reached), subject.created()
    with fits_kept(fits):
        fit_once("part", made, lambda: subject.refit(made, subject.data()))
    return kept[0] if kept else None


def _forbidden(error: Exception) -> str:
    """Returns the name that torch refused, out of its long message."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    return named[1] if named else str(error).splitlines()[0]
