"""What the hard tests share: small disks, and children whose end says how they fared."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import d3rlpy_mbo as mbo
from toys import line_dataset, small_ensemble

HARD = [pytest.mark.hard, pytest.mark.slow, pytest.mark.training]

PROGRAM = "from d3rlpy_mbo.cli import main; main()"


@contextlib.contextmanager
def disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk of its own; skips where this user may not mount one."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("this user may not mount a disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def read_only(folder: Path) -> None:
    command = ["mount", "-o", "remount,ro", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def small_imagination(dataset: Any = None) -> mbo.Imagination:
    imagination = mbo.ImaginationConfig(
        dynamics=small_ensemble("reverse", batch_size=16, max_steps=3),
        rollout_policy=mbo.BehaviorCloningPolicyConfig(hidden_units=[4], n_steps=2),
        rollout_batch_size=30,
    ).create()
    imagination.fit(dataset or line_dataset(n_episodes=4))
    return imagination


def started(root: Path, *arguments: object) -> subprocess.Popen:
    """The command line in a process of its own, with Minari's data in root."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, arguments)],
        env={**os.environ, "MINARI_DATASETS_PATH": str(root), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(root: Path, *arguments: object) -> tuple[int, str]:
    process = started(root, *arguments)
    said, _ = process.communicate(timeout=280)
    return process.returncode, said
