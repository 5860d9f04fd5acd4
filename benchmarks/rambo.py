"""RAMBO with and without its adversary on one dataset: `study.py` with its study.

python benchmarks/rambo.py --out DIR [--settings FILE] [--n-jobs 2]
"""

import sys
from pathlib import Path

import study

SETTINGS = Path(__file__).parent / "studies" / "rambo-hopper-replay.toml"

if __name__ == "__main__":
    sys.exit(study.main(["--settings", str(SETTINGS), *sys.argv[1:]]))
