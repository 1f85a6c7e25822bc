from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipelines.data.coverage import prompts
from pipelines.eval.plan import choose
from pipelines.eval.texts import KINDS, TEXTS, digest, fixed_sentences, read_sentences, write_sentences
from pipelines.train.listening import SENTENCES
from voice.errors import InputError
from voice.manifest import Utterance, write_metadata
from voice.numerals import readings
from voice.text import LANGUAGES, same_text_key

CODES = sorted(set(LANGUAGES) - {"auto"})


@pytest.mark.parametrize("code", CODES)
def test_every_language_has_sentences_of_every_kind_each_once(code: str):
    sentences = fixed_sentences(code)
    assert len(sentences) >= (120 if code == "en" else 20)
    assert set(Counter(s.kind for s in sentences).values()) == {len(sentences) // len(KINDS)}
    assert len({same_text_key(s.text) for s in sentences}) == len(sentences)


@pytest.mark.parametrize("code", CODES)
def test_some_sentence_about_code_has_a_word_of_code_and_how_it_is_said(code: str):
    words = [s for s in fixed_sentences(code) if s.kind == "code" and "_" in s.text]
    assert words
    assert all(s.spoken and "_" not in s.spoken for s in words)


@pytest.mark.parametrize("code", CODES)
def test_a_few_sentences_are_of_all_kinds(code: str):
    assert {s.kind for s in fixed_sentences(code)[:10]} == set(KINDS)


@pytest.mark.parametrize("code", CODES)
def test_nobody_is_tested_on_what_they_were_asked_to_record_or_what_chose_the_checkpoint(code: str):
    elsewhere = {same_text_key(text) for text in [*prompts(code), *yaml.safe_load(SENTENCES.read_text())[code]]}
    assert not elsewhere & {same_text_key(s.text) for s in fixed_sentences(code)}


@pytest.mark.parametrize("code", CODES)
def test_digits_are_written_and_read(code: str):
    numbers = [s for s in fixed_sentences(code) if s.kind in ("number", "date")]
    assert all(any(c.isdigit() for c in s.text) for s in numbers)
    assert all(not any(c.isdigit() for c in s.spoken) for s in numbers)
    assert all(not any(c.isdigit() for c in reading) for s in numbers for reading in readings(s.text, code))


def test_auto_is_english_and_other_languages_are_refused_by_name():
    assert fixed_sentences("auto") == fixed_sentences("en")
    with pytest.raises(InputError, match="no evaluation texts for language 'xx'"):
        fixed_sentences("xx")


def test_the_version_changes_with_any_sentence():
    sentences = fixed_sentences("en")
    assert digest(sentences) == digest(fixed_sentences("en"))
    assert digest(sentences[:-1]) != digest(sentences)
    assert len(list(TEXTS.glob("*.txt"))) == len(CODES)


def test_texts_are_the_fixed_set_and_each_held_out_sentence_once(tmp_path: Path):
    takes = [Utterance("a1", "Said twice."), Utterance("a2", "said twice"), Utterance("b", "Said once.")]
    write_metadata(tmp_path / "eval.csv", takes)
    sentences = choose("en", tmp_path / "eval.csv", text_limit=24, held_out_limit=6)
    assert [s.origin for s in sentences].count("fixed") == 24
    assert [s.id for s in sentences if s.origin == "held_out"] == ["a1", "b"]
    write_sentences(tmp_path / "sentences.csv", sentences)
    assert read_sentences(tmp_path / "sentences.csv") == sentences
