"""From a corpus of three voices to a checkpoint: codes, the talker in training, what stock `qwen_tts` makes of it."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.pretrain import nano
from pipelines.pretrain.aligner.align import even_bounds
from pipelines.pretrain.device import Device
from pipelines.pretrain.material import read_codes
from pipelines.pretrain.run import fit
from pipelines.pretrain.sounds import embeddings, read_sounds
from pipelines.pretrain.talker.__main__ import begin
from pipelines.pretrain.talker.data import SILENT, Draws, Mixture, Source, _Chain, held_out, spoken, told
from pipelines.pretrain.talker.train import FRAME_RMS, Schedule, Trainer, embed_as_they_sound
from pipelines.train.history import retold
from tests.pipelines.pretrain import test_speaker
from tests.pipelines.pretrain.resuming import assert_goes_on
from tests.pipelines.pretrain.shapes import TALKER_SHAPE as SHAPE
from tests.pipelines.pretrain.shapes import TEXTS
from tests.sounds import spoken_by
from voice import checkpoint
from voice.audio import FRAME_SAMPLES
from voice.errors import InputError
from voice.fresh import write_generation_config
from voice.prompt import assistant_ids

MIXTURE = Mixture(
    recordings=0.0, chains=0.3, links=3, interleaved=0.4, tagged=0.5, wavering=0.5, own=0.5, predictor=0.5
)
SCHEDULE = Schedule(
    steps=8, lr=3e-3, final_lr_share=0.1, warmup_steps=2, decay_steps=2, weight_decay=0.01, clip_norm=1.0,
    average_decay=0.9, positions=200, candidates=6, predictor=1.0, guidance=0.3, guided_steps=6, first_frames=1000,
    added_frames=0.0, mixture=MIXTURE, own_temperature=0.5, save_minutes=60.0, log_every=2, seed=0,
)  # fmt: skip
CPU = Device(name="cpu", autocast=None, fuse=False, batch_factor=1)


def source_of(work: Path, tokenizer: Any) -> Source:
    shards = read_codes(work / "material", ["train"])
    bounds = [[even_bounds(1, n.frames, len(n.text)) for n in shard.lines] for shard in shards]
    return Source(shards, bounds, tokenizer, language="english")


def trainer(work: Path, schedule: Schedule = SCHEDULE, *, seed: int = 0) -> Trainer:
    talker, tokenizer, vocabulary = begin(SHAPE, seed=seed)
    source = source_of(work, tokenizer)
    unheard = held_out(source, vocabulary, positions=200, candidates=6)
    return Trainer(talker, Draws(source, None, vocabulary, schedule.mixture, seed=0), unheard, schedule, CPU)


def test_material_keeps_every_clip_and_is_not_made_twice(work):
    [codes] = read_codes(work / "material", ["train"])
    assert [line.text for line in codes.lines] == len(test_speaker.FORMANTS) * list(TEXTS)
    assert codes.codes.shape == (sum(line.frames for line in codes.lines), SHAPE.codebooks)
    assert codes.speakers.shape == (len(codes.lines), SHAPE.talker.hidden)
    # an embedding's numbers are as large as those of the rows beside it
    assert 0.02 < np.sqrt(np.square(codes.speakers).mean()) < 0.5


def test_it_learns_with_every_kind_of_example(work):
    training = trainer(work, replace(SCHEDULE, steps=100, decay_steps=10, guided_steps=80))
    rows = [training.take_step() for _ in range(60)]
    for name in ("talker", "predictor", "place"):
        assert np.mean([r[name] for r in rows[-8:]]) < 0.9 * np.mean([r[name] for r in rows[:8]]), name


def test_sounds_are_read_from_the_codec_of_the_material(work):
    sounds = read_sounds(work / "material")
    assert sounds.shape[:2] == (SHAPE.codebooks, SHAPE.codebook_size)
    power = (sounds - sounds.mean(dim=1, keepdim=True)).square().sum(dim=(1, 2))
    assert float(power[0]) == pytest.approx(float(power[1:].sum()), rel=1e-4)  # what is said, and how it sounds


def test_a_resumed_training_equals_an_uninterrupted_one(work, tmp_path):
    whole, first, second = trainer(work), trainer(work), trainer(work, seed=7)
    assert_goes_on(whole, first, second, SCHEDULE, tmp_path, weights="guided")


def test_guidance_ends(work):
    training = trainer(work)
    assert training.guidance() == SCHEDULE.guidance
    training.step = SCHEDULE.guided_steps
    assert training.guidance() == 0.0


def test_what_is_put_together_speaks_and_clones_through_stock_qwen_tts(work, tmp_path):
    training = trainer(work)
    fit(training, tmp_path / "talker", SCHEDULE)
    config = nano.Nano(
        shape=SHAPE, codec=str(work / "codec"), speaker=str(work / "speaker"), talker=str(tmp_path / "talker"), out="",
        generation={"temperature": 0.4},
    )  # fmt: skip
    nano.assemble(config, tmp_path / "nano")
    model = checkpoint.load(tmp_path / "nano", device="cpu", dtype=torch.float32)
    reference = spoken_by(test_speaker.FORMANTS["a"], seed=0, seconds=1.0)
    assert model.model.generate_config["temperature"] == 0.4
    assert model.model.generate_config["top_k"] == 50
    embedding = model.model.extract_speaker_embedding(reference, 24_000)
    assert embedding.shape == (SHAPE.talker.hidden,)
    waveforms, rate = model.generate_voice_clone(
        "Two.", language="english", ref_audio=(reference, 24_000), ref_text="One.", max_new_tokens=6
    )
    assert rate == 24_000
    assert len(waveforms[0]) % FRAME_SAMPLES == 0


def test_an_unknown_way_of_drawing_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="has no 'heat'"):
        write_generation_config(tmp_path, {"heat": 1.0})


def test_text_is_spoken_between_its_bounds():
    bounds = np.array([2.0, 3.0, 6.0, 8.0], np.float32)
    assert spoken(bounds, 10).tolist() == [SILENT, SILENT, 0, 1, 1, 1, 2, 2, SILENT, SILENT]


@pytest.mark.parametrize("interleaved", [0.0, 1.0])
@pytest.mark.parametrize("chains", [0.0, 1.0])
def test_the_places_of_a_batch_are_where_its_texts_stand(work, interleaved, chains):
    mixture = replace(MIXTURE, interleaved=interleaved, chains=chains)
    training = trainer(work, replace(SCHEDULE, mixture=mixture))
    _, tokenizer, _ = begin(SHAPE, seed=0)
    found = set()
    for number in range(6):
        taught = training.draws.draw(number, positions=200, candidates=6)
        for row in range(len(taught.batch.text)):
            places = taught.place[(taught.row == row) & (taught.place != SILENT)]
            said = tokenizer.decode(taught.batch.text[row, places.unique()])
            parts = re.findall("|".join(TEXTS), said)
            assert len(parts) == 1 if not chains else len(parts) in (2, MIXTURE.links)
            found.add(tuple(re.split("|".join(TEXTS), said)[1:-1]))
    # what is said is joined by spaces, a reference and what is said after it by nothing
    ways = {(" ",), ("",), (" ", " "), (" ", ""), ("", " ")}
    assert found == (ways if chains else {()})


def test_a_chain_reads_as_its_sentences_in_one(work):
    _, tokenizer, _ = begin(SHAPE, seed=0)
    one, other = source_of(work, tokenizer).clips[:2]
    _, whole = assistant_ids(tokenizer, f"{one.line.text} {other.line.text}")
    assert one.first.tokens + other.further.tokens == whole


def test_short_examples_come_first(work):
    training = trainer(work, replace(SCHEDULE, first_frames=9, added_frames=0.5))
    assert training.longest() == 9
    training.step = 8
    assert training.longest() == 13
    rows = training.draws.draw(0, positions=200, candidates=6, longest=9).row.bincount()
    assert 0 < rows.max() <= 9
    with pytest.raises(InputError, match="no clip has as few as 2 frames"):
        training.draws.draw(0, positions=200, candidates=6, longest=2)


def test_attention_is_shown_the_place(work):
    training = trainer(work)
    taught = training.draws.draw(0, positions=200, candidates=6)
    batch, length = taught.batch, taught.batch.text.shape[1]
    place = torch.where(taught.place == SILENT, 0, taught.place)
    there, elsewhere = (torch.zeros(len(batch.text), 2, length, length) for _ in range(2))
    there[taught.row, :, batch.frames_at % length - 1, place] = 1.0
    elsewhere[:, :, :, 0] = 1.0
    assert float(training.guided.distance(taught, there)) < 1e-3
    assert float(training.guided.distance(taught, elsewhere)) > 2.0


def test_codes_start_as_they_sound():
    talker, _, _ = begin(SHAPE, seed=0)
    sounds = torch.randn(SHAPE.codebooks, SHAPE.codebook_size, 5)
    embed_as_they_sound(talker, sounds)
    rows = embeddings(sounds, width=SHAPE.talker.hidden, frame_rms=FRAME_RMS)
    tables = [talker.get_input_embeddings(), *talker.code_predictor.get_input_embeddings()]
    for table, expected in zip(tables, rows, strict=True):
        assert torch.equal(table.weight[: SHAPE.codebook_size], expected)


def test_held_out_clips_are_tried_with_texts_of_others(work):
    notes = trainer(work).notes()
    assert notes["held_out"] > 0
    assert notes["other_text"] not in (0.0, notes["held_out"])


def test_a_clips_own_embedding_never_tells_what_it_says(work):
    _, tokenizer, _ = begin(SHAPE, seed=0)
    source = source_of(work, tokenizer)
    rng = np.random.default_rng(0)
    for clip in source.clips:
        chain = (clip, source.another([clip], rng))
        others = [source.another(chain, rng) for _ in range(5)]
        assert all(o.line.id not in {c.line.id for c in chain} for o in others)
        assert all(o.line.speaker == clip.line.speaker for o in others)


def test_larger_batches_learn_from_as_much_in_fewer_steps():
    larger = SCHEDULE.with_larger_batches(4)
    assert (larger.steps, larger.positions, larger.candidates, larger.guided_steps) == (2, 800, 24, 2)


def test_others_are_told_from_that_codebook_on():
    codes, others = torch.zeros(3, 4, dtype=torch.int64), torch.ones(3, 4, dtype=torch.int64)
    assert told(codes, others, torch.tensor([4, 0, 2])).tolist() == [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]]


def test_what_wavers_is_told_and_not_asked_for(work):
    training = trainer(work, replace(SCHEDULE, mixture=replace(MIXTURE, wavering=1.0, own=0.0)))
    taught = training.draws.draw(0, positions=200, candidates=6)
    assert not torch.equal(taught.history, taught.batch.frames)
    steady = trainer(work, replace(SCHEDULE, mixture=replace(MIXTURE, wavering=0.0))).draws.draw(
        0, positions=200, candidates=6
    )
    assert torch.equal(steady.history, steady.batch.frames)
    assert torch.equal(taught.batch.frames, steady.batch.frames)
    assert torch.equal(taught.batch.targets, steady.batch.targets)


def test_a_reference_is_told_as_it_was_and_the_rest_wavers(work):
    mixture = replace(MIXTURE, wavering=1.0, own=0.0)
    draws, rng = trainer(work, replace(SCHEDULE, mixture=mixture)).draws, np.random.default_rng(0)
    clips, source = tuple(draws._corpus.clips[:3]), draws._corpus
    for heard in range(3):
        histories = [draws._remember(_Chain(clips, heard, source), rng, own=False) for _ in range(20)]
        wrong = [(told != torch.cat([clip.codes for clip in clips])).any(dim=1) for told, _ in histories]
        begins = sum(clip.line.frames for clip in clips[:heard])
        assert not any(w[:begins].any() for w in wrong)
        assert torch.stack(wrong).any(dim=0)[begins:].float().mean() > 0.9


def test_a_history_changes_what_a_batch_costs(work):
    training = trainer(work, replace(SCHEDULE, mixture=replace(MIXTURE, wavering=1.0, own=0.0)))
    taught = training.draws.draw(0, positions=200, candidates=6)
    with torch.no_grad():
        wrong = training.guided(taught)[0]
        true = training.guided(replace(taught, history=taught.batch.frames))[0]
    assert wrong.talker != true.talker


def test_what_wavers_can_be_what_it_says_itself(work):
    training = trainer(work, replace(SCHEDULE, mixture=replace(MIXTURE, wavering=1.0, own=1.0, chains=1.0)))
    taught = training.draws.draw(0, positions=400, candidates=6)
    assert taught.own
    own, again = training._retold(taught, 3), training._retold(taught, 3)
    assert torch.equal(own.history, again.history)
    assert not torch.equal(own.history, training._retold(taught, 4).history)
    changed = own.history != taught.batch.frames
    wrong = taught.since < SHAPE.codebooks
    assert not changed[~wrong].any()
    assert changed[wrong].any(dim=1).float().mean() > 0.5
    assert not changed[taught.since > 0, 0].any()  # the first codebook is its own only where it was to waver
    assert changed[taught.since == 0, 0].any()
    assert own.history.max() < SHAPE.codebook_size
    assert torch.equal(own.batch.frames, taught.batch.frames)


def test_a_talker_sure_of_itself_says_what_is_true(work):
    """Where the likeliest codes are the true ones, its own history is the true one."""
    training = trainer(work, replace(SCHEDULE, mixture=replace(MIXTURE, wavering=1.0, own=1.0)))
    taught = training.draws.draw(0, positions=60, candidates=2)
    assert torch.equal(taught.history, taught.batch.frames)  # what it is to say itself is drawn after the truth
    taught = replace(taught, since=taught.since.clamp(max=1))  # in all frames
    optimizer = torch.optim.AdamW(training.guided.parameters(), lr=3e-3)
    batch = replace(taught.batch, predicted=torch.arange(len(taught.batch.frames)))
    for _ in range(150):
        losses, _ = training.guided(replace(taught, batch=batch))
        optimizer.zero_grad()
        (losses.talker + losses.predictor).backward()
        optimizer.step()
    training.guided.eval()
    frames, dice = (
        taught.batch.frames,
        torch.rand(taught.batch.frames.shape, generator=torch.Generator().manual_seed(0)),
    )
    sure, chance = (
        retold(training.guided.objective, taught.batch, taught.since, temperature=warmth, later=warmth, dice=dice)
        for warmth in (0.1, 100.0)
    )
    assert (sure == frames).float().mean(dim=0).min() > 0.9  # the first, where it wavers, too
    assert (chance == frames)[:, 1:].float().mean() < 0.5
