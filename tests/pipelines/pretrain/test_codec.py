"""The codec in training, at widths that take milliseconds: the stock classes' numbers, learning, exact resumption."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.pretrain import run
from pipelines.pretrain.aligner.model import Recogniser
from pipelines.pretrain.aligner.model import Shape as RecogniserShape
from pipelines.pretrain.codec import layers
from pipelines.pretrain.codec.checkpoint import export
from pipelines.pretrain.codec.data import LETTERS, SYMBOLS, Crops, Letters
from pipelines.pretrain.codec.likeness import Likeness
from pipelines.pretrain.codec.listener import Listener
from pipelines.pretrain.codec.loss import Envelope, Periods, Spectra
from pipelines.pretrain.codec.model import Shape, TrainableCodec, perplexity
from pipelines.pretrain.codec.quantize import Codebooks
from pipelines.pretrain.codec.train import Crop, Phase, Schedule, Trainer
from pipelines.pretrain.corpus import Clip, Shard
from pipelines.pretrain.device import Device
from pipelines.pretrain.run import Row, fit, read_log, read_state, resume, save
from pipelines.pretrain.speaker.data import log_mel
from pipelines.pretrain.speaker.train import Shape as SpeakerShape
from pipelines.pretrain.speaker.train import build as build_encoder
from pipelines.pretrain.speaker.train import standardise
from tests.sounds import speechlike
from voice.audio import FRAME_SAMPLES, to_pcm16
from voice.codec import Codec
from voice.errors import InputError
from voice.upstream import Qwen3TTSTokenizer

SHAPE = Shape(
    codebooks=3, codebook_size=16, codebook_dim=8, encoder_filters=2, encoder_residuals=2, encoder_hidden=16,
    encoder_layers=1, decoder_latent=16, decoder_hidden=16, decoder_layers=1, decoder_window=4, decoder_dim=32,
    upsampling_ratios=[2, 1, 2], upsample_rates=[4, 5, 8, 3], heads=2,
)  # fmt: skip
FEATURES = Phase(
    steps=6, lr=3e-3, final_lr_share=0.1, warmup_steps=1, decay_steps=2, crops=[Crop(count=3, frames=4)],
    heard=0.3, likeness=0.5, critic=0.0, dropout=0.5,
)  # fmt: skip
SOUND = replace(FEATURES, steps=4, critic=1.0, dropout=0.0, crops=[Crop(count=2, frames=4), Crop(count=1, frames=8)])
FORCED = replace(SOUND, steps=4, crops=[Crop(count=1, forced=1, frames=4)], heard=1.0)
SCHEDULE = Schedule(
    features=FEATURES, sound=SOUND, forced=FORCED, weight_decay=0.0, clip_norm=1.0, average_decay=0.9,
    autoencoder_steps=3, kmeans_seconds=2.0, kmeans_iterations=3, commitment=0.03, envelope=1.0, periods=3.0,
    letters=0.1, convergence=0.5, critic_features=2.0, critic_pace=1.0, save_minutes=60.0, log_every=2, seed=0,
)  # fmt: skip
CPU = Device(name="cpu", autocast=None, fuse=False, batch_factor=1)


def codec_of_seed(seed: int = 0) -> TrainableCodec:
    torch.manual_seed(seed)
    return TrainableCodec(SHAPE, decay=0.9, revive_below=0.01)


@pytest.fixture
def crops(tmp_path: Path) -> Crops:
    samples = to_pcm16(np.concatenate([speechlike(4.0, pitch=pitch) for pitch in (90.0, 140.0, 210.0)]))
    shard = Shard(tmp_path / "train-0000", (Clip("a", "s", 0, len(samples), "abc"),))
    shard.write(samples)
    return Crops([(1.0, [(shard, Letters(shard, [np.array([0.0, 50.0, 100.0, 150.0])]))])], seed=0)


def listener() -> Listener:
    torch.manual_seed(1)
    return Listener(Recogniser(RecogniserShape(width=16, kernel=3, layers=2, dropout=0.5)), hop=480)


def likeness() -> Likeness:
    torch.manual_seed(2)
    shape = SpeakerShape(dimensions=16, channels=16, attention_channels=8, squeeze_channels=8, scale=4)
    encoder = build_encoder(shape)
    standardise(encoder, log_mel(torch.from_numpy(np.stack([speechlike(1.0, pitch=p) for p in (90.0, 210.0)]))))
    return Likeness(encoder, hop=480)


def trainer(crops: Crops, schedule: Schedule = SCHEDULE, *, seed: int = 0) -> Trainer:
    return Trainer(codec_of_seed(seed), crops, listener(), likeness(), schedule, CPU)


def test_the_encoder_has_as_many_units_at_each_rate_as_its_shape_says():
    units = [type(layer).__name__ for layer in codec_of_seed().stock.encoder.encoder.layers]
    assert units.count("MimiResnetBlock") == 4 * SHAPE.encoder_residuals == 8


def test_the_layout_of_training_gives_the_stock_models_numbers():
    codec = codec_of_seed().eval()
    encoder, decoder = codec.stock.encoder, codec.stock.decoder
    audio = 0.1 * torch.randn(2, 6 * FRAME_SAMPLES)
    with torch.no_grad():
        features = encoder.encoder(audio[:, None])
        latents = encoder.downsample(encoder.encoder_transformer(features.transpose(1, 2))[0].transpose(1, 2))
        torch.testing.assert_close(codec.latents(audio), latents.transpose(1, 2), atol=1e-4, rtol=1e-4)
        x = torch.randn(2, 2 * SHAPE.codebook_dim, 6)
        stock = decoder.pre_transformer(inputs_embeds=decoder.pre_conv(x).transpose(1, 2)).last_hidden_state
        hidden = layers.foresee(x.transpose(1, 2), decoder)
        torch.testing.assert_close(hidden, stock, atol=1e-5, rtol=1e-4)
        wave = stock.transpose(1, 2)
        for block in [b for pair in decoder.upsample for b in pair] + list(decoder.decoder):
            wave = block(wave)
        torch.testing.assert_close(
            layers.render(layers.refine(hidden, decoder), decoder), wave[:, 0], atol=1e-4, rtol=1e-3
        )


def test_the_gradient_of_the_snake_is_the_derivative_of_the_stock_one():
    module = codec_of_seed().stock.decoder.decoder[-2].double()
    torch.nn.init.normal_(module.alpha)
    torch.nn.init.normal_(module.beta)
    x = torch.randn(2, 7, module.in_features, dtype=torch.double, requires_grad=True)
    upstream = torch.randn_like(x)
    ours = torch.autograd.grad((layers.snake(x, module) * upstream).sum(), [x, module.alpha, module.beta])
    stock = module(x.transpose(1, 2)).transpose(1, 2)
    theirs = torch.autograd.grad((stock * upstream).sum(), [x, module.alpha, module.beta])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def run_steps(training: Trainer, count: int) -> list[Row]:
    return [training.take_step() for _ in range(count)]


def weights(training: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in training.codec.stock.named_parameters()}


def moved_since(training: Trainer, before: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, p in training.codec.stock.named_parameters() if not torch.equal(p, before[name])}


def test_features_learn_while_the_waveform_blocks_wait(crops):
    training = trainer(crops, replace(SCHEDULE, features=replace(FEATURES, steps=200), autoencoder_steps=100))
    before = weights(training)
    losses = [line["envelope"] for line in run_steps(training, 60)]
    still = {name for name in before.keys() - moved_since(training, before) if "quantizer" not in name}
    assert still == {n for n in before if n.startswith("decoder.decoder.")}
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_quantised_it_learns_on_and_so_do_the_codebooks(crops):
    training = trainer(crops)
    run_steps(training, 4)
    before, books = weights(training), training.codec.rest.vectors.clone()
    training.take_step()
    moved = moved_since(training, before)
    assert "decoder.quantizer.rvq_rest.output_proj.weight" in moved
    assert "encoder.quantizer.acoustic_residual_vector_quantizer.input_proj.weight" in moved
    assert not torch.equal(training.codec.rest.vectors, books)
    assert training.notes()["least_used"] > 0


def test_sound_is_learnt_without_touching_a_code(crops):
    training = trainer(crops, replace(SCHEDULE, sound=replace(SOUND, steps=80)))
    run_steps(training, FEATURES.steps)
    before, books = weights(training), training.codec.rest.vectors.clone()
    losses = [line["mel"] for line in run_steps(training, 60)]
    decoder = {name for name in before if name.startswith("decoder.") and "quantizer" not in name}
    assert decoder <= moved_since(training, before) <= {name for name in before if name.startswith("decoder.")}
    assert torch.equal(training.codec.rest.vectors, books)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    for name, parameter in training.codec.stock.named_parameters():
        if name.startswith("encoder."):
            assert torch.equal(training.average[name], parameter)  # the average that is exported gives the same codes


def test_features_too_short_for_codebooks_are_refused(crops):
    with pytest.raises(InputError, match="autoencoder_steps"):
        trainer(crops, replace(SCHEDULE, autoencoder_steps=6))


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(crops, tmp_path):
    whole = trainer(crops)
    fit(whole, tmp_path / "whole", SCHEDULE)
    for stop in (2, 4, 8):  # before and after the codebooks begin, and with sound
        first = trainer(crops)
        run_steps(first, stop)
        save(first, tmp_path / str(stop))
        torch.manual_seed(99)
        second = trainer(crops, seed=7)
        assert resume(second, tmp_path / str(stop), device="cpu")
        fit(second, tmp_path / str(stop), SCHEDULE)
        one, other = whole.state(), second.state()
        for key in ("codec", "average"):
            for name, tensor in one[key].items():
                assert torch.equal(tensor, other[key][name]), (stop, name)
        logs = [read_log(tmp_path / name / "training.csv") for name in ("whole", str(stop))]
        assert logs[0][-1]["loss"] == logs[1][-1]["loss"]


def test_a_run_that_is_killed_drops_lines_that_its_checkpoint_does_not_know(crops, tmp_path):
    training = trainer(crops)
    training.steps = 4
    fit(training, tmp_path, SCHEDULE)
    columns = len(read_log(tmp_path / "training.csv")[0])
    with (tmp_path / "training.csv").open("a") as file:
        file.write("6" + ",0.1" * (columns - 1) + "\n8,0.1,1")  # step 6 was never saved, step 8 is cut off
    assert [row["step"] for row in read_log(tmp_path / "training.csv")] == [2, 4, 6]
    assert resume(trainer(crops), tmp_path, device="cpu")
    assert [row["step"] for row in read_log(tmp_path / "training.csv")] == [2, 4]


def test_a_log_that_cannot_be_rewritten_stays(crops, tmp_path, monkeypatch):
    training = trainer(crops)
    training.steps = 4
    fit(training, tmp_path, SCHEDULE)
    log = (tmp_path / "training.csv").read_text()

    def fail(_rows: object) -> Iterator[dict[str, str]]:
        raise OSError("no space left on the disk")

    monkeypatch.setattr(run, "_printed", fail)
    with pytest.raises(OSError, match="no space"):
        resume(trainer(crops), tmp_path, device="cpu")
    assert (tmp_path / "training.csv").read_text() == log


def test_a_log_that_began_with_other_columns_goes_on(crops, tmp_path):
    training = trainer(crops)
    training.steps = 4
    fit(training, tmp_path, SCHEDULE)
    (tmp_path / "training.csv").write_text("step,loss,forgotten\n2,1.5,7\n4,1.25,7\n")
    again = trainer(crops)
    assert resume(again, tmp_path, device="cpu")
    again.steps = 6
    fit(again, tmp_path, SCHEDULE)
    rows = read_log(tmp_path / "training.csv")
    assert [row["step"] for row in rows] == [2, 4, 6]
    assert [row["loss"] for row in rows[:2]] == [1.5, 1.25]
    assert "forgotten" not in rows[0]
    assert np.isnan(rows[0]["mel"])
    assert rows[2]["envelope"] > 0


def test_what_is_exported_loads_in_stock_qwen_tts_and_gives_the_codes_of_training(crops, tmp_path):
    training = trainer(crops)
    fit(training, tmp_path, SCHEDULE)
    state = read_state(tmp_path, command="x")
    export(state, tmp_path / "checkpoint" / "speech_tokenizer", dtype=torch.float32)
    stock = Codec(tmp_path / "checkpoint", device="cpu")
    assert stock.encode([speechlike(7.5 * FRAME_SAMPLES / 24_000)])[0].shape == (8, SHAPE.codebooks)
    audio = speechlike(8 * FRAME_SAMPLES / 24_000)
    codes = stock.encode([audio])[0]
    official = Qwen3TTSTokenizer.from_pretrained(str(tmp_path / "checkpoint" / "speech_tokenizer"))
    decoded = official.decode([{"audio_codes": torch.from_numpy(codes.astype(np.int64))}])[0][0]
    assert len(decoded) == 8 * FRAME_SAMPLES
    with torch.no_grad():  # the average instead of the weights, as exported
        for name, parameter in training.codec.stock.named_parameters():
            parameter.copy_(training.average[name])
        out = training.codec.eval()(torch.from_numpy(audio)[None], quantise=True)
    np.testing.assert_array_equal(codes, out.codes)
    for waveform in (decoded, stock.decode(codes)):
        np.testing.assert_allclose(waveform, out.audio[0].clamp(-1, 1), atol=1e-4)


def test_an_autoencoder_is_not_exported(crops, tmp_path):
    training = trainer(crops)
    run_steps(training, 2)
    save(training, tmp_path)
    with pytest.raises(InputError, match="still an autoencoder"):
        export(read_state(tmp_path, command="x"), tmp_path / "speech_tokenizer")


def test_rates_that_do_not_make_a_frame_are_refused():
    with pytest.raises(InputError, match="1920"):
        TrainableCodec(replace(SHAPE, upsample_rates=[4, 5, 8, 2]), decay=0.9, revive_below=0.01)


def test_moving_averages_find_clusters_and_unused_codes_come_back():
    torch.manual_seed(0)
    centres = 4 * torch.randn(8, 5)
    books = Codebooks(1, 8, 5, decay=0.8, revive_below=0.05)
    books.sums[:] = 100.0  # nobody chooses them
    for _ in range(100):
        books(centres[torch.randint(8, (64,))] + 0.01 * torch.randn(64, 5), learn=True)
    out = books(centres, learn=False)
    assert out.commitment < 0.2 * centres.var()
    assert len(set(out.codes[:, 0].tolist())) >= 6


def test_gradients_pass_straight_through_the_codebooks():
    x = torch.randn(10, 5, requires_grad=True)
    out = Codebooks(2, 4, 5, decay=0.9, revive_below=0.0)(x, learn=False)
    out.vectors.sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_k_means_leaves_less_level_after_level():
    torch.manual_seed(0)
    x = torch.randn(2_000, 6)
    errors = []
    for levels in (1, 2, 4):
        books = Codebooks(levels, 16, 6, decay=0.99, revive_below=0.0)
        books.fit(x, iterations=10)
        errors.append((books(x, learn=False).vectors - x).square().mean().item())
    assert errors[0] > 1.2 * errors[1] > 1.4 * errors[2]


def test_loss_is_zero_for_the_same_sound_and_blind_to_its_sign():
    audio = torch.from_numpy(speechlike(1.0))[None]
    near = Spectra()(-audio, audio)
    assert near.mel < 1e-4
    assert near.convergence < 1e-3
    assert Spectra()(0.5 * audio, audio).mel > 0.3  # half the amplitude: ln 2 where it is not silent


def test_a_listener_hears_no_distance_from_the_original_and_learns_nothing():
    hears, codec = listener(), codec_of_seed()
    one, other = (codec.envelope.measure(torch.from_numpy(speechlike(0.8, pitch=p))[None]) for p in (90.0, 210.0))
    assert codec.hop == 480
    assert hears.train()(one, one) == 0.0
    other.requires_grad_(True)
    distance = hears(other, one)
    distance.backward()
    assert distance > 0
    assert other.grad is not None
    assert other.grad.abs().max() > 0
    assert not any(p.requires_grad for p in hears.parameters())


def test_what_is_rendered_comes_nearer_to_the_original_for_the_listener(crops):
    features = replace(FEATURES, steps=200, heard=1.0)
    nothing_else = replace(SCHEDULE, features=features, envelope=0.0, letters=0.0, commitment=0.0)
    training = trainer(crops, replace(nothing_else, autoencoder_steps=100))
    losses = [line["heard"] for line in run_steps(training, 60)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_a_voice_is_like_itself_and_unlike_another_and_its_judge_learns_nothing():
    judge, envelope = likeness(), Envelope(480)
    one, other = (envelope.measure(torch.from_numpy(speechlike(1.6, pitch=p))[None]) for p in (90.0, 210.0))
    other.requires_grad_(True)
    assert judge.train()(one, one) < 1e-5
    distance = judge(other, one)
    distance.backward()
    assert distance > 1e-3
    assert other.grad is not None
    assert other.grad.abs().max() > 0
    assert not any(p.requires_grad for p in judge.parameters())


def test_loud_parts_are_judged_by_about_the_spectra_that_the_encoder_was_trained_on():
    heard = []
    audio = torch.from_numpy(speechlike(1.6, pitch=120.0))[None]
    judge = likeness()
    judge._network.register_forward_pre_hook(lambda _, given: heard.append(given[0]))
    envelope = Envelope(480).measure(audio)
    judge(envelope, envelope)
    expected = log_mel(audio)
    assert heard[0].shape == expected.shape
    loud = expected > expected.max() - 3
    assert (heard[0] - expected)[loud].abs().mean() < 0.5  # nats


def buzz(pitch: float, *, level: float = 0.05) -> torch.Tensor:
    time = torch.arange(24_000) / 24_000
    return level * torch.stack([torch.sin(2 * torch.pi * pitch * k * time) / k for k in range(1, 9)]).sum(0)[None]


def lag_of(pitch: float) -> int:
    lowest, highest = Periods.PITCHES
    return round((Periods.LAGS - 1) * np.log2(highest / pitch) / np.log2(highest / lowest))


def test_a_voice_repeats_itself_at_its_pitch_and_noise_does_not():
    periods = Periods(240)
    for pitch in (62.0, 75.0, 90.0, 150.0, 210.0, 380.0):
        alike = periods.measure(buzz(pitch))
        assert alike.shape == (1, 100, Periods.LAGS)
        at = lag_of(pitch)
        assert alike[0, 10:90, at].mean() == pytest.approx(1.0, abs=0.1), pitch
        assert alike[0, 10:90, at].sub(1).abs().max() < 0.2, pitch  # a window holds two or three periods of the lowest
        assert alike[0, 50, : max(1, at - 4)].max() < 0.9, pitch  # at no shorter period
    torch.manual_seed(0)
    assert periods.measure(0.05 * torch.randn(1, 24_000)).abs().mean() < 0.15
    assert periods.measure(buzz(120.0, level=1e-3)).abs().max() < 0.1  # too soft to be asked


def test_a_whisper_is_far_from_the_voice_whose_envelope_it_has():
    voice, other = buzz(90.0), buzz(92.0)
    torch.manual_seed(0)
    pulse = torch.cat([voice[:, :267], torch.zeros(1, 24_000 - 267)], dim=1)  # one period: its spectrum is the envelope
    whisper = torch.fft.irfft(torch.fft.rfft(pulse) * torch.fft.rfft(torch.randn(1, 24_000)))
    whisper = whisper * voice.std() / whisper.std()
    periods = Periods(240)
    of_voice, of_whisper, of_other = (periods.measure(sound) for sound in (voice, whisper, other))
    assert of_voice[0, 10:90, lag_of(90.0)].mean() > 0.8
    assert of_whisper[0, 10:90, lag_of(90.0)].mean() < 0.3
    assert periods(of_whisper, of_voice) > 5 * periods(of_other, of_voice)


@pytest.mark.parametrize("what", ["periods", "likeness"])
def test_each_judge_alone_moves_the_encoder(crops, what):
    features = replace(FEATURES, steps=200, heard=0.0, likeness=1.0 if what == "likeness" else 0.0)
    alone = {"envelope": 0.0, "letters": 0.0, "commitment": 0.0, "periods": 3.0 if what == "periods" else 0.0}
    training = trainer(crops, replace(SCHEDULE, features=features, autoencoder_steps=100, **alone))
    run_steps(training, 1)
    before = weights(training)
    run_steps(training, 2)
    assert "encoder.encoder.layers.0.conv.weight" in moved_since(training, before)


def test_there_is_a_critic_once_there_is_sound(crops):
    training = trainer(crops)
    *features, last = run_steps(training, FEATURES.steps + 1)
    assert {row["mistaken"] for row in features} == {0.0}
    assert last["mistaken"] > 0.1
    before = {n: p.detach().clone() for n, p in training._rivalry.critic.named_parameters()}
    training.take_step()
    assert all(not torch.equal(p, before[n]) for n, p in training._rivalry.critic.named_parameters())


def test_the_critic_alone_moves_the_decoder_and_a_phase_can_do_without(crops):
    nothing = {"envelope": 0.0, "periods": 0.0, "convergence": 0.0}
    sound = replace(SOUND, heard=0.0, likeness=0.0)
    training = trainer(crops, replace(SCHEDULE, sound=sound, **nothing))
    run_steps(training, FEATURES.steps + 1)
    distances, _ = training._distances(sound)
    critic = sum(training._weights(sound)[name] * distances[name] for name in ("told_apart", "critic_features"))
    gradient = torch.autograd.grad(critic, training.codec.stock.decoder.decoder[1].block[1].conv.weight)[0]
    assert float(gradient.norm()) > 0
    without = trainer(crops, replace(SCHEDULE, sound=replace(SOUND, critic=0.0)))
    *_, last = run_steps(without, FEATURES.steps + 1)
    assert last["told_apart"] == last["critic_features"] == last["mistaken"] == 0
    assert last["mel"] > 0


def test_a_state_of_another_network_is_refused(crops, tmp_path):
    training = trainer(crops)
    state = training.state()
    del state["codec"]["tuner.weight"]
    with pytest.raises(InputError, match="unpack"):
        training.restore(state)


def test_an_envelope_of_a_frame_lies_where_its_sound_is():
    envelope = Envelope(240)
    audio = torch.zeros(1, 24_000)
    audio[:, 12_000:12_240] = torch.from_numpy(speechlike(0.01))
    assert envelope.measure(audio).shape == (1, 100, envelope.bands)
    assert envelope.measure(audio)[0].mean(1).argmax() == 50


def test_a_batch_depends_on_its_number_alone(crops):
    one = crops.draw(5, count=3, frames=4)
    crops.draw(6, count=3, frames=4)
    for drawn, again, other in zip(
        one, crops.draw(5, count=3, frames=4), crops.draw(6, count=3, frames=4), strict=True
    ):
        assert torch.equal(drawn, again)
        assert not torch.equal(drawn, other)


def test_a_crop_knows_what_is_said_at_each_moment(tmp_path):
    clips = (Clip("a", "s", 0, 6 * FRAME_SAMPLES, "Hi"), Clip("b", "s", 6 * FRAME_SAMPLES, 4 * FRAME_SAMPLES, "o"))
    letters = Letters(Shard(tmp_path, clips), [np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0])])
    said = letters.at(FRAME_SAMPLES // 4, 9).flatten()
    h, i, o = b"hio"
    assert said.tolist() == [0, 0, h, h, h, *[i] * 6, *[0] * 9, *[o] * 6, 0]


def test_the_first_codebook_learns_letters_and_nothing_else(crops):
    training = trainer(crops, replace(SCHEDULE, features=replace(FEATURES, steps=400), autoencoder_steps=3))
    losses = [line["letters"] for line in run_steps(training, 150)]
    assert np.mean(losses[-10:]) < 0.3 * losses[0]
    codec, drawn = training.codec, crops.draw(0, count=2, frames=4)
    proj = codec.stock.encoder.quantizer.semantic_residual_vector_quantizer.input_proj.weight
    out = codec(drawn.audio, quantise=True, sound=False)
    assert out.letters.shape == (2, 4, LETTERS, SYMBOLS)
    assert torch.autograd.grad(out.envelope.sum(), proj, allow_unused=True, retain_graph=True) == (None,)
    assert torch.autograd.grad(out.letters.square().sum(), proj)[0].abs().max() > 0


def test_a_decoder_that_is_given_less_hears_nothing_of_the_rest(crops):
    codec, audio = codec_of_seed().eval(), crops.draw(0, count=2, frames=4).audio
    with torch.no_grad():
        full = codec(audio, quantise=True, sound=False)
        some = codec(audio, quantise=True, sound=False, kept=torch.tensor([2, 1]))
        codec.rest.sums[1] += 1.0  # the last codebook
        again = codec(audio, quantise=True, sound=False, kept=torch.tensor([2, 1]))
    torch.testing.assert_close(some.envelope[0], full.envelope[0])
    assert not torch.allclose(some.envelope[1], full.envelope[1])
    torch.testing.assert_close(again.envelope[1], some.envelope[1])


def test_rate_warms_up_stays_and_falls():
    phase = replace(FEATURES, steps=60, warmup_steps=10, decay_steps=20)
    rates = [phase.learning_rate(step) / phase.lr for step in (0, 9, 39, 50, 60)]
    assert rates == pytest.approx([0.1, 1.0, 1.0, 0.55, 0.1])


def test_each_phase_has_its_rate(crops):
    training = trainer(crops, replace(SCHEDULE, sound=replace(SOUND, lr=1e-4, warmup_steps=2)))
    run_steps(training, FEATURES.steps)
    assert training.learning_rate() == pytest.approx(0.5e-4)


def test_perplexity_counts_codes_in_use():
    assert perplexity(torch.tensor([1.0, 1.0, 1.0, 0.0])) == pytest.approx(3.0, rel=1e-3)


def test_codes_that_are_given_sound_as_chosen_ones_do(crops):
    codec, audio = codec_of_seed().eval(), crops.draw(0, count=2, frames=4).audio
    with torch.no_grad():
        own = codec(audio, quantise=True)
        both = codec(audio, quantise=True, forced=own.codes.view(2, 4, SHAPE.codebooks))
    assert len(both.audio) == len(both.envelope) == 4
    torch.testing.assert_close(both.envelope[2:], own.envelope)
    torch.testing.assert_close(both.audio[2:], own.audio)
    torch.testing.assert_close(both.audio[:2], own.audio)


def test_crops_of_a_talker_that_has_said_nothing_yet_are_refused(crops):
    training = trainer(crops, replace(SCHEDULE, features=replace(FEATURES, crops=FORCED.crops)))
    with pytest.raises(InputError, match=r"only schedule\.forced\.crops"):
        training.take_step()


def test_larger_batches_learn_from_as_much_in_fewer_steps():
    larger = SCHEDULE.with_larger_batches(2)
    assert (larger.features.steps, larger.features.decay_steps, larger.sound.steps) == (3, 1, 2)
    assert larger.average_decay == pytest.approx(SCHEDULE.average_decay**2)
    assert larger.autoencoder_steps == 2
