import pytest
import torch

from pipelines.pretrain import device
from pipelines.pretrain.device import Device


@pytest.mark.parametrize(
    ("autocast", "has_products", "expected"),
    [
        ("bfloat16", True, torch.bfloat16),
        ("bfloat16", False, torch.float32),  # many times as slow as float32 there
        (None, True, torch.float32),
    ],
)
def test_products_are_in_bfloat16_where_that_is_asked_for_and_the_processor_multiplies_it(
    autocast: str | None, has_products: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(device, "has_bfloat16_products", lambda: has_products)
    cpu = Device(name="cpu", autocast=autocast, fuse=False, batch_factor=1)
    with cpu.autocasting():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == expected
