"""The edge of every stage: a typed Hydra config comes in, one clear line goes out when something is wrong."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from voice.bounds import check
from voice.errors import InputError

CONF = Path(__file__).resolve().parent.parent / "conf"

C = TypeVar("C")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


def stage(schema: type[C]) -> Callable[[Callable[[C], None]], Callable[[], None]]:
    """Make `main(config)` the entry point of a stage whose `conf/<stage>.yaml` must satisfy the dataclass `schema`."""
    name = schema.__name__.lower()
    ConfigStore.instance().store(name=f"{name}_schema", node=schema)

    def decorate(main: Callable[[C], None]) -> Callable[[], None]:
        def task(config: Any) -> None:
            typed: Any = OmegaConf.to_object(config)
            try:
                check(typed)
                main(typed)
            except InputError as error:  # here: Hydra would print a line of its own first
                sys.exit(f"error: {one_line(error)}")
            except OSError as error:
                if error.errno not in _NO_SPACE:
                    raise
                sys.exit(
                    f"error: {error.strerror} at {error.filename}. Free some space and run it again; nothing is lost."
                )

        # hydra reads the wrapped function's docstring and module for its help page
        task.__doc__, task.__module__ = main.__doc__, main.__module__
        return lambda: _run(hydra.main(version_base=None, config_path=str(CONF), config_name=name)(task))

    return decorate


def output_root() -> Path:
    """Where a stage writes: the project; in a multirun outputs/<sweep>/<n>, so that sweeps spare DVC outputs."""
    config = HydraConfig.get()
    return Path(config.runtime.output_dir) if config.mode == RunMode.MULTIRUN else Path()


def _run(app: Callable[[], None]) -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hand exceptions to us instead of printing several lines
    try:
        app()
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        sys.exit(f"error: conf/: {_innermost(error)} See the files under conf/ for the keys and their types.")


def _innermost(error: BaseException) -> str:
    # Hydra wraps OmegaConf's message in its own: keep every message once, outermost first.
    messages: list[str] = []
    current: BaseException | None = error
    while current is not None:
        text = one_line(current)
        if not any(text in m or m in text for m in messages):
            messages.append(text)
        current = current.__cause__
    return " ".join(m.rstrip(".") + "." for m in messages)


def one_line(error: BaseException) -> str:
    """An exception's message without line breaks and without OmegaConf's internal `full_key`/`object_type` lines."""
    message, *_ = str(error).partition("Config search path:")  # Hydra's, of no use to who mistyped a name
    lines = [line.strip() for line in message.splitlines()]
    kept = [line for line in lines if line and not re.match(r"(object_type|reference_type|To append)\b", line)]
    return "; ".join(kept)
