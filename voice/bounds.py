"""Bounds of settings, declared beside their types and checked before a stage starts."""

from collections.abc import Iterator
from dataclasses import field, fields, is_dataclass
from typing import Any

from voice.errors import InputError


def within(*, above: float | None = None, low: float | None = None, high: float | None = None) -> Any:
    """Declare a dataclass field whose value must be greater than `above`, at least `low` and at most `high`."""
    return field(metadata={"above": above, "low": low, "high": high})


def check(settings: Any, prefix: str = "") -> None:
    """Raise InputError for the first value out of its bounds, named as on the command line; None is never out."""
    for spec in fields(settings):
        value, name = getattr(settings, spec.name), f"{prefix}{spec.name}"
        if is_dataclass(value):
            check(value, f"{name}.")
        elif isinstance(value, list):
            for number, item in enumerate(value):
                if is_dataclass(item):
                    check(item, f"{name}.{number}.")
        elif value is not None:
            for rule in _broken(value, **spec.metadata):
                raise InputError(f"{name}={value} must be {rule}. Change it on the command line or under conf/.")


def _broken(
    value: Any, *, above: float | None = None, low: float | None = None, high: float | None = None
) -> Iterator[str]:
    # each rule is what must hold, so that NaN breaks all
    if above is not None and not value > above:
        yield f"above {above:g}"
    if low is not None and not value >= low:
        yield f"at least {low:g}"
    if high is not None and not value <= high:
        yield f"at most {high:g}"
