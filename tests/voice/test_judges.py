"""Real loading code on models that the tests make: no hub."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from voice.asr import Whisper, load_asr, pieces
from voice.errors import InputError
from voice.naturalness import load_mos
from voice.speaker import Ecapa, WavLM, load_speaker_encoder, similarity

NOISE = (0.1 * np.random.default_rng(0).standard_normal(24_000)).astype(np.float32)


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    from transformers import (
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    folder = tmp_path_factory.mktemp("whisper") / "whisper-tiny.random"
    folder.mkdir()
    tokenizer = WhisperTokenizer(str(tiny_folder / "vocab.json"), str(tiny_folder / "merges.txt"))
    tokenizer.add_special_tokens(
        {"additional_special_tokens": ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]}
    )
    start, english, transcribe, no_timestamps = tokenizer.convert_tokens_to_ids(tokenizer.additional_special_tokens)
    config = WhisperConfig(
        vocab_size=len(tokenizer), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, decoder_start_token_id=start,
        pad_token_id=tokenizer.eos_token_id, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.eos_token_id,
        max_target_positions=40, suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    published = {
        "lang_to_id": {"<|en|>": english},
        "task_to_id": {"transcribe": transcribe},
        "no_timestamps_token_id": no_timestamps,
        "is_multilingual": True,
        "max_length": 12,
        "decoder_start_token_id": start,
        "pad_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    (folder / "generation_config.json").write_text(json.dumps(published))
    WhisperProcessor(WhisperFeatureExtractor(), tokenizer).save_pretrained(folder)
    return folder


def test_whisper_loads_from_a_folder_and_its_name_fits_a_metric(whisper_folder: Path):
    judge = load_asr("whisper", model=str(whisper_folder), language="en", device="cpu")
    assert judge.name == "whisper_tiny_random"
    assert isinstance(judge.transcribe(NOISE), str)


def test_a_batch_is_heard_as_each_alone_and_what_is_longer_than_30_seconds_to_its_end(whisper_folder: Path):
    judge = Whisper(str(whisper_folder), language="en", device="cpu")
    long = np.tile(NOISE, 45)
    waveforms = [NOISE, long, NOISE[:9_000]]
    assert judge.transcribe_all(waveforms) == [judge.transcribe(waveform) for waveform in waveforms]
    assert judge.transcribe(long) == " ".join(judge.transcribe(piece) for piece in pieces(long)).strip()


def test_a_long_waveform_is_cut_in_its_quietest_spot_and_nothing_is_lost():
    waveform = np.tile(NOISE, 70)
    quiet = slice(25 * 24_000, 25 * 24_000 + 2_400)
    waveform[quiet] = 0
    cut = list(pieces(waveform))
    assert quiet.start <= len(cut[0]) <= quiet.stop
    assert all(len(piece) <= 30 * 24_000 for piece in cut)
    np.testing.assert_array_equal(np.concatenate(cut), waveform)


def test_other_weights_are_another_judge(whisper_folder: Path, tmp_path: Path):
    shutil.copytree(whisper_folder, tmp_path / "again")
    one, same = (Whisper(str(f), language="en", device="cpu") for f in (whisper_folder, tmp_path / "again"))
    assert one.identity == same.identity
    (tmp_path / "again/generation_config.json").open("a").write("\n")
    assert Whisper(str(tmp_path / "again"), language="en", device="cpu").identity != one.identity


def test_an_english_only_whisper_is_asked_for_no_language(whisper_folder: Path, tmp_path: Path):
    folder = tmp_path / "whisper-small.en"
    shutil.copytree(whisper_folder, folder)
    published = json.loads((folder / "generation_config.json").read_text())
    for known_to_the_multilingual in ("lang_to_id", "task_to_id"):
        del published[known_to_the_multilingual]
    (folder / "generation_config.json").write_text(json.dumps({**published, "is_multilingual": False}))
    assert isinstance(Whisper(str(folder), language="en", device="cpu").transcribe(NOISE), str)


def test_a_whisper_that_cannot_be_had_names_the_offline_judge(tmp_path: Path):
    with pytest.raises(InputError, match="pocketsphinx"):
        Whisper(str(tmp_path / "nothing"), language="en", device="cpu")


def test_ecapa_loads_from_a_folder(tmp_path: Path):
    from speechbrain.lobes.models.ECAPA_TDNN import ECAPA_TDNN

    model = ECAPA_TDNN(
        input_size=8, channels=[8] * 5, attention_channels=8, lin_neurons=6, res2net_scale=2, se_channels=8
    )
    torch.save(model.state_dict(), tmp_path / "embedding_model.ckpt")
    (tmp_path / "hyperparams.yaml").write_text(
        "pretrained_path: speechbrain/somewhere-on-the-hub\n"
        "compute_features: !new:speechbrain.lobes.features.Fbank\n  n_mels: 8\n"
        "mean_var_norm: !new:speechbrain.processing.features.InputNormalization\n"
        "  norm_type: sentence\n  std_norm: False\n"
        "embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN\n  input_size: 8\n"
        "  channels: [8, 8, 8, 8, 8]\n  attention_channels: 8\n  lin_neurons: 6\n  res2net_scale: 2\n  se_channels: 8\n"
        "classifier: !new:torch.nn.Identity\n"
        "modules:\n  compute_features: !ref <compute_features>\n  mean_var_norm: !ref <mean_var_norm>\n"
        "  embedding_model: !ref <embedding_model>\n  classifier: !ref <classifier>\n"
        "label_encoder: null\n"
        "pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer\n"
        "  loadables:\n    embedding_model: !ref <embedding_model>\n"
        "  paths:\n    embedding_model: !ref <pretrained_path>/embedding_model.ckpt\n"
    )
    embedding = Ecapa(str(tmp_path), device="cpu").embed(NOISE)
    assert embedding.shape == (6,)
    assert np.isclose(np.linalg.norm(embedding), 1.0)


def test_wavlm_loads_from_a_folder_and_embeds_the_shortest_clips(tmp_path: Path):
    from transformers import Wav2Vec2FeatureExtractor, WavLMConfig, WavLMForXVector

    config = WavLMConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2, tdnn_dim=(8, 8, 8, 8, 8), xvector_output_dim=12,
    )  # fmt: skip
    WavLMForXVector(config).save_pretrained(tmp_path)
    Wav2Vec2FeatureExtractor(return_attention_mask=False).save_pretrained(tmp_path)
    encoder = load_speaker_encoder("wavlm", model=str(tmp_path), device="cpu")
    for waveform in (NOISE, NOISE[:100]):
        embedding = encoder.embed(waveform)
        assert embedding.shape == (12,)
        assert np.isclose(np.linalg.norm(embedding), 1.0)


@pytest.mark.parametrize("encoder", [Ecapa, WavLM])
def test_an_encoder_that_cannot_be_had_names_the_offline_judges(tmp_path: Path, encoder):
    with pytest.raises(InputError, match="resemblyzer"):
        encoder(str(tmp_path / "nothing"), device="cpu")


def test_the_opinion_of_noise_is_low_and_a_name_that_predicts_nothing_is_refused():
    predictor = load_mos("distillmos")
    assert 1 <= predictor.predict(NOISE) < 3
    assert predictor.predict(NOISE) == predictor.predict(NOISE)
    with pytest.raises(InputError, match="distillmos, or null"):
        load_mos("nobody")


def test_resemblyzer_finds_a_clip_most_like_itself_and_embeds_noise_too():
    encoder = load_speaker_encoder("resemblyzer", model="", device="cpu")
    embedding = encoder.embed(NOISE)
    assert similarity(embedding, encoder.embed(NOISE)) == pytest.approx(1.0, abs=1e-5)
    assert encoder.embed(np.zeros(2_400, np.float32)).shape == embedding.shape


def test_pocketsphinx_hears_the_same_whatever_it_heard_before():
    judge = load_asr("pocketsphinx", model="", language="en", device="cpu")
    first = judge.transcribe(NOISE)
    judge.transcribe(5 * NOISE[::-1])
    assert judge.transcribe(NOISE) == first


@pytest.mark.parametrize("load", [load_asr, load_speaker_encoder])
def test_an_unknown_judge_is_refused_by_name(load):
    options = {"language": "en"} if load is load_asr else {}
    with pytest.raises(InputError, match="nobody"):
        load("nobody", model="", device="cpu", **options)


def test_pocketsphinx_refuses_a_language_it_cannot_hear():
    with pytest.raises(InputError, match="English only"):
        load_asr("pocketsphinx", model="", language="de", device="cpu")
