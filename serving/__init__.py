"""The winning voice as a BentoML service, and the stage that packages it."""

import os

# Before torch loads OpenMP: its threads spin while they wait, and where another process has one of the cores a small
# model runs 10 to 20 times slower for it (measured on two cores; docs/log.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
