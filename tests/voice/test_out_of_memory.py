import pytest
import torch

from voice.errors import InputError
from voice.out_of_memory import is_out_of_memory, refusing

SHORT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("CUDA error: out of memory"),
]


@pytest.mark.parametrize("error", SHORT, ids=str)
def test_short_memory_is_known_by_what_libraries_say(error: Exception):
    assert is_out_of_memory(error)
    with pytest.raises(InputError, match="too little memory"), refusing():
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")], ids=str)
def test_another_error_stays_what_it_is(error: Exception):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), refusing():
        raise error
