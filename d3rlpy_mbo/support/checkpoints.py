"""A folder of checkpoints: the last two, each complete or absent, that can run no code.

A part of a checkpoint is a file, written anew only if it changed; what a checkpoint is
made of stands in a manifest, which is written last. Files that no manifest names are
removed.
"""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Optional

import torch

from .errors import CheckpointError, CompositionError
from .files import atomic_write

__all__ = ["Checkpoint", "CheckpointFolder", "Part"]

_FORMAT = "d3rlpy-mbo checkpoint, format 1"
_KEPT = 2
_MANIFEST = "checkpoint-*.json"
_PART = "*.part"


class Part(NamedTuple):
    """A part of a checkpoint.

    Args:
        state: Returns tensors, plain values, lists and dicts.
        version: Equal to the one that was written last, nothing is written again;
            None for what always changes.
    """

    state: Callable[[], dict[str, Any]]
    version: Optional[int] = None


class Checkpoint(NamedTuple):
    """A checkpoint that was read.

    Args:
        about: What the run is, as it was given to `CheckpointFolder.write`.
        parts: The state of each part, on the CPU.
    """

    about: dict[str, Any]
    parts: dict[str, dict[str, Any]]


class CheckpointFolder:
    """Writes and reads the checkpoints in a folder.

    Args:
        path: The folder; made by the first checkpoint.
    """

    def __init__(self, path: Path):
        self.path = path
        self._written: dict[str, tuple[int, dict[str, Any]]] = {}
        self._number = max(self._numbers(), default=0)

    @property
    def empty(self) -> bool:
        """Whether there is no checkpoint, be it whole or torn."""
        return not any(self._numbers())

    def write(self, about: Mapping[str, Any], parts: Mapping[str, Part]) -> None:
        """Writes a checkpoint; the one before the last is removed after it.

        Args:
            about: Plain values for JSON: what the run is.
            parts: By names that can be names of files.

        Raises:
            CompositionError: The folder cannot be written to.
        """
        self._number += 1
        files = {name: self._write_part(name, part) for name, part in parts.items()}
        content = {"format": _FORMAT, "about": dict(about), "parts": files}
        content["digest"] = _digest_of(content)
        with atomic_write(self._manifest(self._number)) as file:
            file.write(json.dumps(content, indent=1).encode())
        self._sweep()

    def _write_part(self, name: str, part: Part) -> dict[str, Any]:
        before = self._written.get(name)
        if (
            before is not None
            and part.version is not None
            and before[0] == part.version
        ):
            return before[1]
        path = self.path / f"{name}-{self._number}.part"
        with atomic_write(path) as file:
            digesting: Any = _Digesting(file)  # torch wants these two methods alone
            torch.save(part.state(), digesting)
        entry = {"file": path.name, "digest": digesting.digest()}
        if part.version is not None:
            self._written[name] = part.version, entry
        return entry

    def keep_last(self) -> None:
        """Removes all but the last checkpoint: nothing will be written over it."""
        self._sweep(n_kept=1)

    def _sweep(self, n_kept: int = _KEPT) -> None:
        """Removes the checkpoints before the last ones, and what belongs to none."""
        numbers = sorted(self._numbers())
        for number in numbers[:-n_kept]:
            self._manifest(number).unlink()
        named: set[str] = set()
        for number in numbers[-n_kept:]:
            with contextlib.suppress(CheckpointError):
                parts = _manifest_of(self._manifest(number))["parts"].values()
                named |= {part["file"] for part in parts}
        for path in self.path.glob(_PART):
            if path.name not in named:
                path.unlink(missing_ok=True)
        for path in self.path.glob(".*.tmp"):  # of a process that was killed
            path.unlink(missing_ok=True)

    def last(self) -> Optional[Checkpoint]:
        """Returns the last checkpoint that is whole; None if there is none.

        A torn one is warned of, and the one before it is used.

        Raises:
            CheckpointError: There are some, and none is whole.
        """
        errors: list[CheckpointError] = []
        for number in sorted(self._numbers(), reverse=True):
            try:
                found = self._read(number)
            except CheckpointError as error:
                errors.append(error)
                continue
            for torn in errors:
                name = self._manifest(number).name
                warnings.warn(
                    f"{torn} The one before it is used instead: {name}.", stacklevel=2
                )
            return found
        if errors:
            raise CheckpointError(
                f"{' '.join(map(str, errors))} None is left to go on from: remove the "
                "folder, and begin again."
            )
        return None

    def _read(self, number: int) -> Checkpoint:
        path = self._manifest(number)
        content = _manifest_of(path)
        parts = {}
        for name, entry in content["parts"].items():
            part = self.path / entry["file"]
            try:
                digest = _digest_of_file(part)
                if digest == entry["digest"]:
                    parts[name] = torch.load(
                        part, map_location="cpu", weights_only=True
                    )
            except Exception as error:
                raise _torn(path, f"{part.name}: {error!r}") from error
            if digest != entry["digest"]:
                raise _torn(path, f"{part.name} is not what was written")
        return Checkpoint(content["about"], parts)

    def clear(self) -> None:
        """Removes every checkpoint; what is not ours stays."""
        for pattern in (_MANIFEST, _PART, ".*.tmp"):
            for path in self.path.glob(pattern):
                path.unlink(missing_ok=True)
        self._written.clear()
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def _manifest(self, number: int) -> Path:
        return self.path / _MANIFEST.replace("*", str(number))

    def _numbers(self) -> Iterator[int]:
        if self.path.exists() and not self.path.is_dir():
            raise CompositionError(
                f"checkpoint is {str(self.path)!r}, which is a file: expected a folder."
            )
        for path in self.path.glob(_MANIFEST):
            number = path.stem.partition("-")[2]
            if number.isdigit():
                yield int(number)


class _Digesting:
    """A file that is written, and the digest of what was."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._sha256 = hashlib.sha256()

    def write(self, content: Any) -> int:
        self._sha256.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def digest(self) -> str:
        return self._sha256.hexdigest()


def _manifest_of(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
        digest, known = content.pop("digest"), content["format"]
        _ = content["about"], content["parts"].values()
    except Exception as error:
        raise _torn(path, repr(error)) from error
    if known != _FORMAT:
        raise CheckpointError(
            f"{path} is a checkpoint of another version: expected the format "
            f"{_FORMAT!r}, found {known!r}."
        )
    if digest != _digest_of(content):
        raise _torn(path, "it is not what was written")
    return dict(content)


def _torn(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"The checkpoint {path} is torn or damaged ({why}).")


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _digest_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
