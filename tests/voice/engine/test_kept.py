"""What is kept for speed: the newest, within bounds, and nothing of who is gone."""

import torch

from voice.engine.kept import Kept

KILOBYTE = (torch.zeros(256),)


def kept(*keys: str, most: int = 3) -> Kept[str, tuple[torch.Tensor]]:
    values: Kept[str, tuple[torch.Tensor]] = Kept(most * 1024)
    for key in keys:
        values.put(key, KILOBYTE)
    return values


def there(values: Kept[str, tuple[torch.Tensor]]) -> str:
    return "".join(key for key in "abcdef" if values.get(key) is not None)


def test_what_was_wanted_long_ago_makes_room():
    values = kept("a", "b", "c")
    assert values.get("a") is not None
    values.put("d", KILOBYTE)
    assert there(values) == "acd"


def test_the_newest_stays_however_large_it_is():
    values = kept("a", "b")
    values.put("c", (torch.zeros(10_000),))
    assert there(values) == "c"
    values.put("d", KILOBYTE)
    assert there(values) == "d"


def test_what_is_put_again_takes_its_place_once():
    assert there(kept("a", "b", "b", "b")) == "ab"


def test_what_is_dropped_makes_room():
    values = kept("a", "b", "c")
    values.drop(lambda key: key == "b")
    values.put("d", KILOBYTE)
    assert there(values) == "acd"
    values.clear()
    assert there(values) == ""
