"""Embeddings of codes from what the codes sound like."""

import pytest
import torch

from pipelines.pretrain.sounds import embeddings


def test_codes_that_sound_alike_are_embedded_alike():
    loud = torch.tensor([3.0, 1.0, 0.1])[:, None, None]
    sounds = torch.randn(3, 16, 5, generator=torch.Generator().manual_seed(1)) * loud
    rows = embeddings(sounds, width=64, frame_rms=0.3)
    assert float(rows.square().mean(dim=(1, 2)).sum().sqrt()) == pytest.approx(0.3)
    spread = sounds - sounds.mean(dim=1, keepdim=True)
    apart, heard = (torch.cdist(table, table).flatten() for table in (rows.flatten(0, 1), spread.flatten(0, 1)))
    assert float(torch.corrcoef(torch.stack([apart, heard]))[0, 1]) > 0.95
