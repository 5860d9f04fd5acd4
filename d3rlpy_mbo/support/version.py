"""Versions, read from what is installed: pyproject.toml states ours once."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__", "installed_versions"]

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
