"""Silences what the old gym package prints when d3rlpy imports it.

d3rlpy 2.8 still imports gym for its types; gym then advises to migrate to gymnasium,
which d3rlpy uses already. Imported first by the package.
"""

import contextlib

with contextlib.suppress(ImportError, AttributeError):
    from gym_notices import notices

    notices.notices.clear()
