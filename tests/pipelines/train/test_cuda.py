"""Training on a CUDA device."""

import pytest
import torch
from accelerate import Accelerator

from pipelines.train.budget import WORK_SPACE
from pipelines.train.prepare import fit_memory, prepare
from tests.pipelines.train.voices import FULL, LORA, Voice

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("train", [FULL, LORA], ids=["full", "lora"])
def test_the_loss_falls_within_the_budget(voice: Voice, train):  # type: ignore[no-untyped-def]
    accelerator = Accelerator(mixed_precision="bf16")
    config = voice.settings(train)
    ready = prepare(config.voice, config.model, train, voice.folders.codes, accelerator)
    budget = fit_memory(ready, accelerator)
    torch.cuda.reset_peak_memory_stats()
    before = ready.trainer.validate().loss
    while ready.trainer.step < ready.trainer.steps:
        ready.trainer.update()
    assert ready.trainer.validate().loss < before
    # of a model this small the budget is all work space, so it is left out
    assert torch.cuda.max_memory_allocated() < 1.25 * (budget.total - WORK_SPACE)
    frozen = {p.dtype for p in ready.tts.model.talker.parameters() if not p.requires_grad}
    assert frozen <= {torch.float32}  # as `tiny` is stored: what is frozen loses nothing
