"""What was measured of a finished run, kept beside it, and only while it is still true."""

import argparse
import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import torch

import d3rlpy_mbo as mbo
from d3rlpy_mbo.runs.experiment import versions
from d3rlpy_mbo.support.files import atomic_write


def measured(
    out: Path, settings: dict[str, Any], measure: Callable[[], dict[str, Any]]
) -> Optional[dict[str, Any]]:
    """Returns what a file beside a run's result.json holds, measured now if need be.

    Args:
        out: The file.
        settings: Of the measurement: with others it is made again.
        measure: Makes it.

    Returns:
        It with `settings`, the digest of the `learner` and `versions`; None where there is
        neither file nor learner.

    Raises:
        CompositionError: It was made otherwise, and the learner is gone.
    """
    learner = out.parent / "learner.d3"
    asked: dict[str, Any] = {"settings": settings}
    if learner.exists():  # not of a run that was made anew
        asked["learner"] = hashlib.sha256(learner.read_bytes()).hexdigest()
    if out.exists():
        found: dict[str, Any] = json.loads(out.read_text())
        if all(found.get(name) == value for name, value in asked.items()):
            return found
        if not learner.exists():
            raise mbo.CompositionError(
                f"{out} was measured with {found.get('settings')}, expected {settings}, "
                "and its learner is gone. Make the run anew, or look at what that version "
                "of the script wrote."
            )
    elif not learner.exists():
        return None
    made_with = versions()  # a checkout may move on while this is measured
    content = {**asked, **measure(), "versions": made_with}
    with atomic_write(out) as file:
        file.write(json.dumps(content, indent=1).encode())
    print(f"Wrote {out}.", flush=True)
    return content


def of_folder(
    description: Optional[str],
    arguments: Optional[Sequence[str]],
    work: Callable[[Path], None],
) -> int:
    """Does a script's work on the folder that its one argument names.

    Args:
        description: The script's, for --help.
        arguments: Of the command line; None for this process's.
        work: On DIR.

    Returns:
        The exit status: 1, and the error said, where it is one of ours.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder: Path = parser.parse_args(arguments).folder
    torch.set_num_threads(1)
    try:
        work(folder)
    except (mbo.D3RLPyMBOError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0
