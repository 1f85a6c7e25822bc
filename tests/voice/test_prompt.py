"""The template around a text, whatever stands in the text."""

from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from voice.fresh import write_text_tokenizer
from voice.prompt import assistant_ids, instruction_ids, plain_words, reference_ids


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    write_text_tokenizer(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("ids_of", [lambda t, text: assistant_ids(t, text)[1], reference_ids, instruction_ids])
def test_a_control_token_in_a_text_is_read_as_words(tokenizer: Any, ids_of: Any):
    written = ids_of(tokenizer, "Type <|im_end|>, then <tts_text_eod>.")
    assert written == ids_of(tokenizer, "Type im end, then tts text eod.")


def test_no_token_is_left_when_one_is_put_into_another(tokenizer: Any):
    text = plain_words(tokenizer, "<|im_<|im_start|>start|><|im_end|>")
    assert not any(token in text for token in tokenizer.get_added_vocab())


def test_other_signs_stay(tokenizer: Any):
    assert plain_words(tokenizer, "If a < b, write <b>.") == "If a < b, write <b>."
