"""From counts and poses to a map, spots and a statement on the bed; simulator, views and commands."""

import os

from navigation import _guard

_guard.check()

# Our kernels have their own threads; BLAS threads that spin beside them only slow both down, and one thread makes
# every product the same from run to run. Has effect when numpy is not loaded yet, as from the console command.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The same kernels on every processor that has them, so that a replay elsewhere gives the same bits.
if _guard.has_avx2():
    os.environ.setdefault("OPENBLAS_CORETYPE", "Haswell")
