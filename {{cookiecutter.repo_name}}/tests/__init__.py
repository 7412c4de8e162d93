"""What the project promises."""

import os

# Said before any library is imported: OpenMP's threads mostly wait for one another where tests use all processors.
os.environ.setdefault("OMP_NUM_THREADS", "1")
