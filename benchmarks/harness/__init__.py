"""What study.py and report.py are made of."""

import d3rlpy_mbo  # noqa: F401  # silences gym's notice: before anything imports d3rlpy
