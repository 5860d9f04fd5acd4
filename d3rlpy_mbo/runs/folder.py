"""The folder of a run: one process at a time, complete or on its way, found again."""

import contextlib
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ..registry.fields import COUNT
from ..support.checkpoints import CheckpointFolder
from ..support.errors import CheckpointError, CompositionError, listed
from ..support.files import atomic_write
from ..support.json_values import of_python
from ..support.locks import held_alone
from .identity import differences

__all__ = ["UNFINISHED", "RunFolder"]

# Where a run lies until it is complete.
UNFINISHED = "unfinished"

_RESULT = "result.json"
_LOGS, _CHECKPOINTS = "logs", "checkpoints"
_IMAGINATION, _IMAGINATIONS = "imagination.mbo", "imaginations"
# Moved in this order.
_OURS = (_LOGS, _CHECKPOINTS, _IMAGINATION, _IMAGINATIONS, "learner.d3", _RESULT)
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
        self._settings = json.loads(json.dumps(of_python(settings)))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of a run on its way."""
        return self.work / _CHECKPOINTS

    def imagination_files(self, names: Collection[str]) -> list[Path]:
        """Returns where imaginations are saved, and makes their folder.

        Args:
            names: In logs; one alone has a file of a known name.
        """
        if len(names) == 1:
            return [self.work / _IMAGINATION]
        if names:
            (self.work / _IMAGINATIONS).mkdir(exist_ok=True)
        return [self.work / _IMAGINATIONS / f"{name}.mbo" for name in names]

    def validate_free(self, force: bool) -> None:
        """Refuses a folder that is taken.

        Raises:
            CompositionError: Something lies there, or another process writes into it.
                Whatever may be replaced: it is a file, or holds no run but what would be
                replaced by one.
        """
        if not self.out.exists():
            return
        if not self.out.is_dir():
            raise CompositionError(
                f"The output folder {str(self.out)!r} is a file. Choose another --out."
            )
        if (self.out / _LOCK).exists():
            with self.held():
                pass
        found = {path.name for path in self._content()}
        holds_run = self.on_its_way or (self.out / _RESULT).exists()
        theirs = [] if holds_run else [name for name in _OURS if name in found]
        if not found or (force and not theirs):
            return
        hint = "Choose another --out, or pass --force to replace the run in it."
        if self.on_its_way:
            hint = (
                "Pass --resume to go on with the run in it, or --force to begin anew."
            )
        elif not holds_run:
            beside = "with --force a run is written beside that."
            if theirs:
                beside = (
                    f"--force replaces runs, and would remove {listed(map(repr, theirs))}: "
                    "if that may go, remove it yourself."
                )
            hint = (
                f"It holds {listed(map(repr, sorted(found)))}, and no {_RESULT} of a run. "
                f"Choose another --out; {beside}"
            )
        raise CompositionError(f"The output folder {str(self.out)!r} is taken. {hint}")

    def state(self) -> Literal["finished", "grows", "on its way", "new"]:
        """Returns what `resume` finds there; a finished run may grow by more steps.

        Raises:
            CheckpointError: The folder is no run's, the run has other settings, or it
                should get more steps and kept no checkpoint.
            CompositionError: n_steps or n_steps_per_epoch is no number of steps.
        """
        for name in ("n_steps", "n_steps_per_epoch"):
            COUNT.validated(name, self._settings[name])
        if self.on_its_way:
            self._validate_same(_read(self.work / _SETTINGS), self.work / _SETTINGS)
            return "on its way"
        if (self.out / _RESULT).exists():
            found: Any = _read(self.out / _RESULT).get("experiment")
            self._validate_same(found, self.out / _RESULT)
            n_steps = int(found["n_steps"])
            if self._settings["n_steps"] <= n_steps:
                return "finished"
            self._validate_kept(n_steps)
            return "grows"
        if self.out.exists() and (not self.out.is_dir() or self._content()):
            raise CheckpointError(
                f"{str(self.out)!r} is not the folder of a run: it holds neither a "
                f"{_RESULT} nor an {UNFINISHED} run. Give the --out of the run that is to "
                "go on."
            )
        return "new"

    @property
    def kept_checkpoints(self) -> Path:
        """Folder of the checkpoint that a finished run kept, to go on with more steps."""
        return self.out / _CHECKPOINTS

    def result(self) -> dict[str, Any]:
        """Returns the result of a complete run."""
        return _read(self.out / _RESULT)

    @property
    def on_its_way(self) -> bool:
        """Whether a run lies there that can go on, or be put in its place."""
        known = (self.work / _SETTINGS).exists()
        return known and (self.checkpoints.exists() or (self.work / _RESULT).exists())

    def _content(self) -> list[Path]:
        ignored = {_LOCK} if self.on_its_way else {_LOCK, UNFINISHED}
        return [path for path in self.out.iterdir() if path.name not in ignored]

    def _validate_same(self, found: Any, path: Path) -> None:
        theirs, ours = _comparable(found, path), _comparable(self._settings, path)
        changed = differences("", theirs, ours)
        if changed:
            raise CheckpointError(
                f"The run in {str(self.out)!r} has other settings: "
                f"{listed(changed, '; ')}. Give the settings of that run, or choose "
                "another --out; only --n-steps may grow."
            )

    def _validate_kept(self, n_steps: int) -> None:
        if CheckpointFolder(self.kept_checkpoints).empty:
            raise CheckpointError(
                f"The run in {str(self.out)!r} is finished, with {n_steps} steps, and "
                f"{self.kept_checkpoints} holds no checkpoint to go on from: studies keep "
                "none, earlier versions kept none. Choose another --out to train "
                f"{self._settings['n_steps']} from the beginning, or pass --force "
                "without --resume."
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

    def reopen(self) -> None:
        """Begins where a finished run ended; that one stays whole, beside it.

        A copy that a kill cuts short is none: the settings come last.
        """
        shutil.rmtree(self.work, ignore_errors=True)
        for name in (_LOGS, _CHECKPOINTS):
            (self.work / name).mkdir(parents=True)
            for path in (self.out / name).glob("*.*"):
                shutil.copyfile(path, self.work / name / path.name)
        self.write_settings()

    def write_settings(self) -> None:
        """Notes which run this is."""
        with atomic_write(self.work / _SETTINGS) as file:
            file.write(json.dumps(self._settings, indent=1).encode())

    def finish_if_complete(self, keep_checkpoint: bool) -> bool:
        """Finishes a run that was killed while it was put in its place.

        Args:
            keep_checkpoint: See `finish`.

        Returns:
            Whether there was one.

        Raises:
            CheckpointError: Its result is damaged.
        """
        path = self.work / _RESULT
        if not path.exists():
            return False
        result = _read(path)
        if "imagination" not in result:
            raise _damaged(path, "it does not name the imagination")
        self.finish(result, keep_checkpoint)
        return True

    def finish(self, result: Mapping[str, Any], keep_checkpoint: bool) -> None:
        """Puts a complete run in the place of the one before, its result last.

        If it is killed meanwhile, it is done again: what is missing was moved already.

        Args:
            result: Of the run.
            keep_checkpoint: Whether its last checkpoint stays, for more steps.
        """
        if not (self.work / _RESULT).exists():
            with atomic_write(self.work / _RESULT) as file:
                text = json.dumps(of_python(result), indent=1, allow_nan=False)
                file.write(text.encode())
        (self.out / _RESULT).unlink(missing_ok=True)
        # Of the run before, if this one has none, or has others.
        if not isinstance(result["imagination"], dict):
            (self.out / _IMAGINATION).unlink(missing_ok=True)
        if not isinstance(result["imagination"], list):
            for saved in (self.out / _IMAGINATIONS).glob("*.mbo"):
                saved.unlink()
            with contextlib.suppress(
                OSError
            ):  # none, or something of the user's is left
                (self.out / _IMAGINATIONS).rmdir()
        if not keep_checkpoint:
            for folder in (self.checkpoints, self.kept_checkpoints):
                shutil.rmtree(folder, ignore_errors=True)
        elif self.checkpoints.exists():
            CheckpointFolder(self.checkpoints).keep_last()
        for name in _OURS:  # nothing else that lies there is ours to replace
            path = self.out / name
            if not (self.work / name).exists():
                continue
            if path.is_symlink():  # to a larger disk, say
                path.unlink()
            elif path.is_dir():
                shutil.rmtree(path)
            (self.work / name).replace(path)
        shutil.rmtree(self.work, ignore_errors=True)


def _comparable(settings: Any, path: Path) -> dict[str, Any]:
    """Returns the settings that must be alike, if they are a run's.

    Raises:
        CheckpointError: They are not.
    """
    found = settings if isinstance(settings, dict) else {}
    n_steps, of_epoch = (found.get(name) for name in ("n_steps", "n_steps_per_epoch"))
    if not isinstance(n_steps, int) or not isinstance(of_epoch, int):
        raise _damaged(path, "it does not say how many steps were taken")
    same = {name: each for name, each in settings.items() if name not in _MAY_DIFFER}
    return {**same, "n_steps_per_epoch": min(n_steps, of_epoch)}  # as trained


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        return dict(content)
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"{path} is damaged: {why}. Remove it, or begin anew with --force."
    )
