"""The version, read from the installed distribution: pyproject.toml states it once."""

from importlib.metadata import version

__version__ = version("d3rlpy-mbo")
