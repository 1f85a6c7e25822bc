"""When memory is short, and what is said of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from voice.errors import InputError

# what libraries say of it: a CPU's allocator, cuBLAS without work space, CUDA and its driver
NO_MEMORY = ("DefaultCPUAllocator", "CUBLAS_STATUS_ALLOC_FAILED", "out of memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory was short; not all of them are torch.OutOfMemoryError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)


def no_memory() -> InputError:
    """What is said to whoever could not be spoken for, or as, for want of memory."""
    return InputError("the device has too little memory for this. Free some, or use a smaller model.")


@contextmanager
def refusing() -> Iterator[None]:
    """Raise InputError where memory is short, and everything else as it is."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise no_memory() from error
        raise
