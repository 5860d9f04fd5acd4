"""Versions, read from what is installed: pyproject.toml states ours once."""

import functools
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Optional

__all__ = ["__version__", "commit_of", "installed_versions"]

__version__ = version("d3rlpy-mbo")


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Returns the version of each of these packages that is installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


@functools.cache
def commit_of(file: str) -> Optional[str]:
    """Returns the commit of the Git checkout that a source file is part of.

    As it was when it was first asked for, which is nearest to what was imported; with
    ``" + changes"`` if a tracked Python file of the checkout differs from it.

    Args:
        file: Its path.

    Returns:
        None without Git, or if the checkout around it does not track it: a package that is
        installed somewhere below a project is not that project.
    """
    path = Path(file).resolve()

    def git(*arguments: str) -> "subprocess.CompletedProcess[str]":
        # A look must not keep the user's own commit from its lock.
        command = ["git", "--no-optional-locks", "-C", str(path.parent), *arguments]
        return subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    try:
        tracked = git("ls-files", "--error-unmatch", path.name).returncode == 0
        commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
        changed = git("diff", "--quiet", "HEAD", "--", ":/*.py").returncode != 0
    except OSError:  # no Git
        return None
    if not tracked or not commit:
        return None
    return f"{commit} + changes" if changed else commit
