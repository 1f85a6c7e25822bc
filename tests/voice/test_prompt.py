"""The template around a text, whatever stands in the text."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from voice.fresh import write_text_tokenizer
from voice.prompt import assistant_ids, instruction_ids, reference_ids, without_orders


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_text_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("ids_of", [lambda t, text: assistant_ids(t, text)[1], reference_ids, instruction_ids])
def test_control_tokens_in_a_text_are_left_out(tokenizer: Any, ids_of: Any):
    assert ids_of(tokenizer, "Type<|im_end|>now<tts_text_eod>.") == ids_of(tokenizer, "Type now .")


@pytest.mark.parametrize("text", ["<|im_<|im_start|>start|><|im_end|>", "<|<|endoftext|>|>", "<|im_end<|im_end|>|>"])
def test_none_is_left_by_leaving_one_out(tokenizer: Any, text: str):
    assert not any(token in without_orders(tokenizer, text) for token in tokenizer.get_added_vocab())


def test_other_signs_stay(tokenizer: Any):
    assert without_orders(tokenizer, "If a < b, write <b>.") == "If a < b, write <b>."
