"""BC, SAC, MBPO and MOPO on one dataset: `study.py` with MOPO's study.

python benchmarks/mopo.py --out DIR [--settings FILE] [--n-jobs 2]
"""

import sys
from pathlib import Path

import study

SETTINGS = Path(__file__).parent / "studies" / "mopo-hopper-replay.toml"

if __name__ == "__main__":
    sys.exit(study.main(["--settings", str(SETTINGS), *sys.argv[1:]]))
