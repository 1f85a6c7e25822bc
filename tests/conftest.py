"""Tiny models, built once: everything runs on CPU without a model hub."""

import pipelines  # noqa: F401, I001  sets how OpenMP waits, before torch is imported
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from voice import checkpoint
from voice.tiny import LIKE_0_6B, LIKE_1_7B, Shape, build_tiny

settings.register_profile("no_clock", deadline=None)  # a busy machine fails no test
settings.load_profile("no_clock")

SHAPES = {"like_0_6b": LIKE_0_6B, "like_1_7b": LIKE_1_7B}


@pytest.fixture(autouse=True)
def no_lazy_modules() -> Iterator[None]:
    """speechbrain leaves modules that import what is not installed as soon as they are looked at; hypothesis looks."""
    yield
    for name in [name for name, module in sys.modules.items() if type(module).__name__ == "DeprecatedModuleRedirect"]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base checkpoint."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    build_tiny(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Any:
    """The tiny model, loaded once through the official package; tests must not change it."""
    return checkpoint.load(tiny_folder, device="cpu", dtype=torch.float32)


@pytest.fixture(scope="session", params=sorted(SHAPES))
def tiny_of_each_shape(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny model with the projections of each published size."""
    shape: Shape = SHAPES[request.param]
    folder = tmp_path_factory.mktemp("models") / request.param
    build_tiny(folder, shape=shape)
    return checkpoint.load(folder, device="cpu", dtype=torch.float32)
