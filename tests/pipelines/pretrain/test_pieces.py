"""What `nano` reads: pieces of words that a tokenizer in the Qwen2 format puts together again."""

import random

import pytest
from transformers import AutoTokenizer

from pipelines.pretrain.pieces import COUNT, learn, merges
from pipelines.pretrain.sentences import Sentences
from voice.fresh import write_text_tokenizer
from voice.prompt import assistant_ids


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("tokenizer")
    write_text_tokenizer(folder, merges())
    return AutoTokenizer.from_pretrained(folder)


def test_the_file_is_what_the_sentences_give():
    assert tuple(learn()) == merges()
    assert len(merges()) == COUNT


def test_any_text_is_put_together_again(tokenizer):
    for text in ("The neighbour taught.", "assistants assist", "Zyzzyva, 你好 ünïcode!\n", "  two  spaces"):
        _, ids = assistant_ids(tokenizer, text)
        assert tokenizer.decode(ids) == text


def test_the_role_is_three_tokens(tokenizer):
    role, _ = assistant_ids(tokenizer, "A")
    assert tokenizer.convert_ids_to_tokens(role) == ["<|im_start|>", "assistant", "Ċ"]


def test_text_comes_faster_than_it_is_spoken(tokenizer):
    sentences = Sentences(random.Random(5), unordered=0.0)
    texts = [sentences.draw(held_out=True) for _ in range(100)]
    letters = sum(len(text) for text in texts)
    pieces = sum(len(assistant_ids(tokenizer, text)[1]) for text in texts)
    assert letters / pieces > 2.0  # 16 letters a second: 8 of 12.5 frames bring one
