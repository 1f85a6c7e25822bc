"""What this machine's processor says of itself."""

import functools
from pathlib import Path


def lines() -> list[str]:
    """Of /proc/cpuinfo; none where there is no such file."""
    cpu = Path("/proc/cpuinfo")
    return cpu.read_text().splitlines() if cpu.is_file() else []


@functools.cache
def has_bfloat16_products() -> bool:
    """Whether it multiplies bfloat16 itself; where it does not, float32 is faster."""
    words = {word for line in lines() for word in line.split()}
    return not words.isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})
