"""conf/device/: what a part of `nano` is trained on."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from voice.bounds import within
from voice.processor import has_bfloat16_products


@dataclass(kw_only=True)
class Device:  # conf/device/
    """Where, and how exactly, it computes."""

    name: str
    autocast: str | None
    fuse: bool
    batch_factor: int = within(low=1)

    @contextmanager
    def autocasting(self) -> Iterator[None]:
        """Compute in the dtype of `autocast`, where there is one and the device is no slower in it."""
        kind = self.name.partition(":")[0]
        dtype = getattr(torch, self.autocast or "bfloat16")
        slow = kind == "cpu" and dtype == torch.bfloat16 and not has_bfloat16_products()
        with torch.autocast(kind, dtype, enabled=self.autocast is not None and not slow):
            yield


def keep_memory() -> None:
    """Tell glibc to keep what is freed. Otherwise each tensor above 32 MB is fetched from the kernel page by page."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        trim_threshold, mmap_threshold = -1, -3  # malloc.h
        libc.mallopt(mmap_threshold, 2**30)
        libc.mallopt(trim_threshold, 2**31 - 1)
