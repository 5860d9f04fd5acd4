"""The command line, also where its script is not on the path: ``python -m d3rlpy_mbo``."""

from .cli import main

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="python -m d3rlpy_mbo")
