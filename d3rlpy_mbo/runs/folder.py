"""The folder of a run: one process at a time, complete or on its way, found again."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Optional

from ..support.errors import CheckpointError, CompositionError
from ..support.files import atomic_write
from ..support.locks import held_alone
from .identity import differences

__all__ = ["UNFINISHED", "RunFolder"]

# Where a run lies until it is complete.
UNFINISHED = "unfinished"

_RESULT = "result.json"
_OURS = ("logs", "imagination.mbo", "learner.d3", _RESULT)  # moved in this order
_LOCK = ".lock"
_SETTINGS = "experiment.json"
_MAY_DIFFER = ("n_steps", "trust_environment")


class RunFolder:
    """Where a run is made, ``out/unfinished``, and where it lies once it is complete.

    Args:
        out: The folder; it need not exist.
        settings: Of the run, as JSON has them.
    """

    def __init__(self, out: Path, settings: Mapping[str, Any]):
        self.out = out
        self.work = out / UNFINISHED
        self._settings = json.loads(json.dumps(settings))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of a run on its way."""
        return self.work / "checkpoints"

    def validate_free(self, force: bool) -> None:
        """Refuses a folder that is taken.

        Raises:
            CompositionError: Something lies there, or another process writes into it.
        """
        if not self.out.exists():
            return
        if self.out.is_dir() and (self.out / _LOCK).exists():
            with self.held():
                pass
        if force or (self.out.is_dir() and not self._content()):
            return
        hint = "Choose another --out, or pass --force to replace the run in it."
        if self._on_its_way():
            hint = (
                "Pass --resume to go on with the run in it, or --force to begin anew."
            )
        raise CompositionError(f"The output folder {str(self.out)!r} is taken. {hint}")

    def state(self) -> Literal["finished", "on its way", "new"]:
        """Returns what `resume` finds there.

        Raises:
            CheckpointError: The folder is no run's, or the run has other settings.
        """
        if self._on_its_way():
            self._validate_same(_read(self.work / _SETTINGS), _MAY_DIFFER)
            return "on its way"
        if (self.out / _RESULT).exists():
            found = _read(self.out / _RESULT).get("experiment", {})
            self._validate_same(found, ("trust_environment",))
            return "finished"
        if self.out.exists() and (not self.out.is_dir() or self._content()):
            raise CheckpointError(
                f"{str(self.out)!r} is not the folder of a run: it holds neither a "
                f"{_RESULT} nor an {UNFINISHED} run. Give the --out of the run that is to "
                "go on."
            )
        return "new"

    def result(self) -> dict[str, Any]:
        """Returns the result of a complete run."""
        return _read(self.out / _RESULT)

    def _on_its_way(self) -> bool:
        known = (self.work / _SETTINGS).exists()
        return known and (self.checkpoints.exists() or (self.work / _RESULT).exists())

    def _content(self) -> list[Path]:
        ignored = {_LOCK} if self._on_its_way() else {_LOCK, UNFINISHED}
        return [path for path in self.out.iterdir() if path.name not in ignored]

    def _validate_same(self, found: Any, may_differ: tuple[str, ...]) -> None:
        theirs, ours = (
            {k: v for k, v in each.items() if k not in may_differ}
            for each in (dict(found), self._settings)
        )
        changed = differences("", theirs, ours)
        if changed:
            raise CheckpointError(
                f"The run in {str(self.out)!r} has other settings: {'; '.join(changed)}. "
                "Give the settings of that run, or choose another --out; only --n-steps "
                "may grow, and only of a run that is not finished."
            )

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder alone, and makes it.

        Raises:
            CompositionError: Another process does, or it cannot be made.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CompositionError(
                f"The output folder {str(self.out)!r} cannot be made: {error.strerror}. "
                "Choose another --out."
            ) from error
        with held_alone(self.out / _LOCK, f"into {str(self.out)!r}"):
            yield

    def begin(self) -> None:
        """Makes the folder of a new run; one that lies beside it stays whole."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.write_settings()

    def write_settings(self) -> None:
        """Notes which run this is."""
        with atomic_write(self.work / _SETTINGS) as file:
            file.write(json.dumps(self._settings, indent=1).encode())

    def complete(self) -> Optional[dict[str, Any]]:
        """Returns the result of a run that is complete, but not yet in its place."""
        path = self.work / _RESULT
        return _read(path) if path.exists() else None

    def finish(self, result: Mapping[str, Any]) -> None:
        """Puts a complete run in the place of the one before, its result last.

        Killed on its way it is done again: what is missing has been moved already.
        """
        if not (self.work / _RESULT).exists():
            with atomic_write(self.work / _RESULT) as file:
                file.write(json.dumps(result, indent=1, allow_nan=False).encode())
        (self.out / _RESULT).unlink(missing_ok=True)
        if result["imagination"] is None:
            (self.out / "imagination.mbo").unlink(missing_ok=True)
        for name in _OURS:  # nothing else that lies there is ours to replace
            path = self.out / name
            if not (self.work / name).exists():
                continue
            if name == _RESULT:
                shutil.rmtree(self.checkpoints, ignore_errors=True)
            if path.is_dir():
                shutil.rmtree(path)
            (self.work / name).replace(path)
        shutil.rmtree(self.work, ignore_errors=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        return dict(content)
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged: {error}. Remove it, or begin anew with --force."
        ) from error
