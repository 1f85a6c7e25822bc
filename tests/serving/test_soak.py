"""A short soak; ten minutes of it are in docs/log.md (`python -m benchmarks.serve --soak 600`)."""

import re

import psutil
import pytest

from benchmarks.serve import soak
from tests.serving.conftest import Start, wait_until


@pytest.mark.slow
def test_mixed_traffic_leaves_memory_and_threads_as_they_were(serve: Start):
    service = serve()
    process = psutil.Process()
    list(soak(service.url, seconds=20, process=process))  # pools, caches and kernels come into being
    lines = list(soak(service.url, seconds=40, process=process))
    memory = [float(re.search(r"([\d.]+) MB", line).group(1)) for line in lines]  # type: ignore[union-attr]
    assert max(memory[-3:]) < 1.1 * memory[0] + 20
    assert "'failed': 0" in lines[-1]
    wait_until(lambda: service.desk.gate.open == 0)  # the last client may have gone a moment ago
