"""Reading what runs leave: a damaged result.json is named."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Optional

from ..registry.json_form import decode, encode
from ..runs.experiment import UNFINISHED, Experiment
from ..support.errors import CompositionError, D3RLPyMBOError, listed
from ..support.version import __version__
from .reading import require

__all__ = [
    "differences",
    "flat_settings",
    "other_settings",
    "read_begun",
    "read_experiment",
    "read_models",
    "read_scores",
]

_CONTENT = {
    "evaluations": list[dict[str, Any]],
    "metrics": list[dict[str, Any]],
    "seconds": float,
}


def read_experiment(path: Path) -> Experiment:
    """Returns what a result.json is the result of.

    Raises:
        CompositionError: The file is damaged, or another version's.
    """
    content = _read(path)
    entries: Any = content.get("experiment")
    try:
        require(entries, dict[str, Any], "experiment")
        known = {field.name for field in dataclasses.fields(Experiment)} & {*entries}
        found = Experiment(**{name: entries[name] for name in known})
    except (CompositionError, TypeError) as error:
        raise _damaged(path, error) from error
    unknown = sorted({*entries} - known)
    if not unknown:
        return found
    by = content.get("versions")
    theirs = by.get("d3rlpy-mbo", "unknown") if isinstance(by, dict) else "unknown"
    raise CompositionError(
        f"{path} is of another version of d3rlpy-mbo ({theirs}, here {__version__}): "
        f"{unknown} of its experiment are not known here. Go on with that version, or "
        "choose another --out."
    )


def read_models(path: Path) -> list[str]:
    """Returns the files of the shared models that a result.json is of.

    Raises:
        CompositionError: The file is damaged.
    """
    found = _read(path).get("model")
    models = found if isinstance(found, list) else [found]
    files = [model.get("file") for model in models if isinstance(model, dict)]
    return [file for file in files if isinstance(file, str)]


def read_begun(run: Path) -> Optional[Experiment]:
    """Returns what a run on its way is to be the result of.

    Args:
        run: Its folder.

    Returns:
        None if there is none, or nothing that can be read: there is nothing to lose.
    """
    try:
        entries = json.loads((run / UNFINISHED / "experiment.json").read_bytes())
        begun = Experiment(**entries)
    except (OSError, ValueError, TypeError):
        return None
    return begun if begun.folder(run).on_its_way else None


def differences(theirs: Experiment, ours: Experiment) -> list[str]:
    """Returns which settings of two runs differ, each with both values.

    Args:
        theirs: As it was run.
        ours: As it would be run here.
    """
    before, now = (_flat(each) for each in (theirs, ours))
    return [
        f"{name} is {before.get(name, _UNSET)!r} there, {now.get(name, _UNSET)!r} here"
        for name in {**now, **before}
        if not _alike(name, before.get(name, _UNSET), now.get(name, _UNSET))
    ]


def _alike(name: str, before: Any, now: Any) -> bool:
    """Whether two settings are the same: a field that a component got since is not.

    Args:
        name: A component's field is named by its kind.
        before: JSON.
        now: JSON.
    """
    if before == now:
        return True
    typed = all(isinstance(e, dict) and "type" in e for e in (before, now))
    if not typed or before["type"] != now["type"]:
        return False
    kind = name.rpartition(".")[2]
    try:
        whole = [encode(decode(kind, each)) for each in (before, now)]
    except D3RLPyMBOError:
        return False
    return bool(whole[0] == whole[1])


def other_settings(path: Path, was: str, changed: list[str]) -> CompositionError:
    """Returns the refusal of what lies there with other settings.

    Args:
        path: What it is.
        was: ``"made"`` or ``"begun"``.
        changed: Which settings differ.
    """
    return CompositionError(
        f"{path} was {was} with other settings: {listed(changed, '; ')}. Choose another "
        "--out, or move it away."
    )


class _Unset:
    def __repr__(self) -> str:
        return "not set"


_UNSET = _Unset()


def _flat(experiment: Experiment) -> dict[str, Any]:
    return flat_settings(dataclasses.asdict(experiment))


def flat_settings(entries: dict[str, Any]) -> dict[str, Any]:
    """Returns the fields of a run's `Experiment`, those of its parts by dotted path.

    Args:
        entries: By field, as ``result.json`` has them; an older version's may be fewer.
    """
    known = dataclasses.asdict(Experiment("", "", "", 0))
    # As JSON has it: lists for tuples.
    fields = json.loads(json.dumps({**known, **entries}))
    for name in ("learner_settings", "imagination_settings"):
        settings = fields.pop(name)
        fields |= {f"{name}.{path}": value for path, value in settings.items()}
    return dict(fields)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        require(content, dict[str, Any], "all of it")
    except (OSError, ValueError, CompositionError) as error:
        raise _damaged(path, error) from error
    return dict(content)


def read_scores(path: Path) -> dict[str, Any]:
    """Returns a result with everything that a report reads.

    Reference scores that are equal are none, as `reference_scores` has it.

    Raises:
        CompositionError: The file is damaged.
    """
    content = _read(path)
    final = content.get("final_evaluation")
    try:
        for name, hint in _CONTENT.items():
            require(content.get(name), hint, name)
        require(final or {}, dict[str, Any], "final_evaluation")
        for metrics in content["metrics"]:
            # Nearly all are floats; to ask each by itself takes most of a report's time.
            others = {
                k: value
                for k, value in metrics.items()
                if value is not None and type(value) is not float
            }
            require(others, dict[str, float], "metrics")
        for evaluation in [*content["evaluations"], *([final] if final else [])]:
            value = evaluation.get("return", "missing")
            if value is not None:  # it was not finite
                require(value, float, "a return")
        for evaluation in content["evaluations"]:
            require(evaluation.get("step"), int, "a step")
        for name in ("reference_scores", "d4rl_reference_scores"):
            scores = content.get(name)
            require(scores or [0, 0], list[float], name)
            if scores is not None and len(scores) != 2:
                raise CompositionError(f"{name} is {scores}, expected two numbers.")
            if scores is not None and scores[0] == scores[1]:
                content[name] = None
    except CompositionError as error:
        raise _damaged(path, error) from error
    return content


def _damaged(path: Path, error: Exception) -> CompositionError:
    return CompositionError(
        f"{path} is damaged: {error} Move it away, and the study repeats its run."
    )
