"""What a talker says by itself, how well that is understood, and what it learns from the difference."""

import math
from copy import copy
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.pretrain.aligner.data import Batch as HeardBatch
from pipelines.pretrain.aligner.data import Heard
from pipelines.pretrain.aligner.model import RATE, SYMBOLS, Recogniser, Shape
from pipelines.pretrain.aligner.train import nats_a_letter
from pipelines.pretrain.run import STATE_FILE, fit, resume, save
from pipelines.pretrain.talker.__main__ import begin
from pipelines.pretrain.talker.attempts.making import Attempts, Texts, draw_texts, folder_of, make_folder, open_studio
from pipelines.pretrain.talker.attempts.odds import Attempted, log_odds
from pipelines.pretrain.talker.attempts.records import Judged, read_attempts
from pipelines.pretrain.talker.attempts.saying import Asked, Attempt, Sayer
from pipelines.pretrain.talker.data import Chain, Source
from pipelines.pretrain.talker.preference import Pairs, compare, pairs_of
from pipelines.pretrain.talker.train import Schedule, Trainer
from pipelines.train.loss import Objective
from tests.pipelines.pretrain import test_talker
from tests.pipelines.pretrain.resuming import assert_goes_on
from tests.pipelines.pretrain.shapes import TALKER_SHAPE
from voice.audio import FRAME_SAMPLES
from voice.errors import InputError
from voice.prompt import Vocabulary
from voice.tts import Layout

RECOGNISER = Shape(width=8, kernel=3, layers=1, dropout=0.0)
TEXTS = Texts(recordings=0.0, chains=0.7, links=3, interleaved=0.5, tagged=0.5)


@pytest.fixture(scope="module")
def config(work: Path) -> Attempts:
    """A talker and a recogniser that have hardly learnt anything."""
    training = test_talker.trainer(work)
    training.take_step()
    save(training, work / "talker")
    torch.manual_seed(0)
    (work / "aligner").mkdir()
    torch.save(
        {"shape": asdict(RECOGNISER), "recogniser": Recogniser(RECOGNISER).state_dict()}, work / "aligner" / STATE_FILE
    )
    return Attempts(
        material=str(work / "material"), codec=str(work / "codec"), talker=str(work / "talker"),
        aligner=str(work / "aligner"), out=str(work / "attempts"), shape=TALKER_SHAPE, recordings=None,
        language="english", mixture=TEXTS, longest=40, texts=10, attempts=3, temperature=1.0, together=9, processes=1,
        seed=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def talker() -> tuple[Any, Any, Vocabulary]:
    """With random weights, its tokenizer and its vocabulary."""
    talker, tokenizer, vocabulary = begin(TALKER_SHAPE, seed=1)
    return talker.eval(), tokenizer, vocabulary


@pytest.fixture(scope="module")
def source(work: Path, talker: Any) -> Source:
    return test_talker.source_of(work, talker[1])


@pytest.fixture(scope="module")
def attempts(work: Path, config: Attempts, source: Source) -> list[tuple[Asked, list[Judged]]]:
    """What the stage wrote."""
    make_folder(0, config)
    return list(read_attempts(work / "attempts", [source]))


def asked_of(source: Source) -> list[Asked]:
    """In context and not, tagged and not, in both layouts, of several lengths."""
    clips = source.clips
    chains = [
        Chain((clips[0],), 0, source),
        Chain((clips[1], clips[2]), 1, source),
        Chain((clips[2], clips[0], clips[3]), 2, source),
        Chain((clips[3], clips[1]), 0, source),
    ]
    return [
        Asked(chain, clips[(number + 1) % 4], tagged, layout)
        for layout in Layout
        for tagged in (True, False)
        for number, chain in enumerate(chains)
    ]


def test_what_is_said_is_what_the_objective_finds_likeliest(talker, source):
    """Rows of all kinds side by side, each to its own end or budget: as if each had been said alone."""
    model, _, vocabulary = talker
    objective, asked = Objective(model), asked_of(source)
    budgets = [3 + number % 7 for number in range(len(asked))]
    said = Sayer(objective, vocabulary, temperature=1e-4).say(asked, budgets, torch.Generator().manual_seed(0))
    codes = TALKER_SHAPE.codebook_size
    for one, attempt, budget in zip(asked, said, budgets, strict=True):
        assert len(attempt.codes) == budget or attempt.ended
        attempted = Attempted.of([one], [attempt], vocabulary)
        batch = replace(attempted.batch, predicted=torch.arange(len(attempted.batch.frames)))
        with torch.no_grad():
            logits = objective.logits(batch)
        choices = torch.cat([logits.talker[:, :codes], logits.talker[:, vocabulary.codec_eos, None]], dim=1)
        own = attempted.own.clone()
        likeliest = choices.argmax(dim=1)[own]
        ending = torch.tensor([codes]) if attempt.ended else torch.empty(0, dtype=torch.int64)
        assert torch.equal(likeliest[2:], torch.cat([attempt.codes[:, 0], ending])[2:])
        heard = one.chain.frames_heard
        assert torch.equal(logits.predictor.argmax(dim=-1)[heard:], attempt.codes[:, 1:])


def test_an_attempt_lasts_two_frames_at_least_and_its_budget_at_most(talker, source):
    model, _, vocabulary = talker
    asked, sayer = asked_of(source), Sayer(Objective(model), vocabulary, temperature=1.0)

    class Pushed(torch.nn.Linear):
        """A head that is for the end, or against it."""

        by = 0.0

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = super().forward(hidden)
            logits[:, vocabulary.codec_eos] += self.by
            return logits

    head = model.codec_head
    pushed = Pushed(head.in_features, head.out_features, bias=False)
    pushed.weight = head.weight
    found = {}
    try:
        model.codec_head = pushed
        for pushed.by in (100.0, -100.0):
            said = sayer.say(asked, [6] * len(asked), torch.Generator().manual_seed(0))
            found[pushed.by] = {(len(one.codes), one.ended) for one in said}
    finally:
        model.codec_head = head
    assert found == {100.0: {(2, True)}, -100.0: {(6, False)}}


def test_what_shares_the_batch_changes_only_the_dice(talker, source):
    model, _, vocabulary = talker
    asked, sayer = asked_of(source), Sayer(Objective(model), vocabulary, temperature=1e-4)
    together = sayer.say(asked, [5] * len(asked), torch.Generator().manual_seed(0))
    for one, attempt in zip(asked, together, strict=True):
        [alone] = sayer.say([one], [5], torch.Generator().manual_seed(1))
        assert torch.equal(alone.codes, attempt.codes)
        assert alone.ended == attempt.ended


def test_odds_count_what_the_talker_said_and_nothing_else(talker, source):
    model, _, vocabulary = talker
    objective, asked = Objective(model), asked_of(source)
    said = [Attempt(torch.randint(16, (3 + n % 3, 3)), ended=n % 2 == 0) for n in range(len(asked))]
    with torch.no_grad():
        together = log_odds(objective, Attempted.of(asked, said, vocabulary))
        for one, attempt, odds in zip(asked, said, together, strict=True):
            attempted = Attempted.of([one], [attempt], vocabulary)
            assert attempted.own.sum() == len(attempt.codes) + attempt.ended
            batch = replace(attempted.batch, predicted=torch.tensor([0]))
            logits = objective.logits(batch).talker.log_softmax(dim=-1)
            own = logits[torch.arange(len(logits)), attempted.batch.targets][one.chain.frames_heard :]
            assert float(odds) == pytest.approx(float(own[: attempted.own.sum()].sum()), rel=1e-4)


def test_the_stage_says_each_text_several_times_and_keeps_what_it_was(config, attempts, source, work):
    assert len(attempts) == config.texts
    assert all(len(judged) == config.attempts for _, judged in attempts)
    drawn = draw_texts(open_studio(config)[1], config, 0)
    for (read, judged), asked in zip(attempts, drawn, strict=True):
        assert [clip.line for clip in read.chain.clips] == [clip.line for clip in asked.chain.clips]
        assert (read.chain.heard, read.tagged, read.layout) == (asked.chain.heard, asked.tagged, asked.layout)
        assert read.voice.line == asked.voice.line
        assert all(len(one.attempt.codes) >= 2 for one in judged)
        assert all(math.isfinite(one.odds) and one.nats > 0 for one in judged)
    assert len({tuple(one.attempt.codes.flatten().tolist()) for _, judged in attempts for one in judged}) > config.texts


def test_odds_are_those_of_the_talker_that_spoke(config, attempts, talker):
    _, _, vocabulary = talker
    studio, _ = open_studio(config)
    for asked, judged in attempts:
        with torch.no_grad():
            odds = log_odds(studio._objective, Attempted.of([asked], [judged[0].attempt], vocabulary))
        assert float(odds) == pytest.approx(judged[0].odds, rel=1e-3)


def test_what_is_there_is_not_said_again_and_the_seed_alone_decides(config, attempts, source, tmp_path):
    index = folder_of(config, 0) / "index.csv"
    before = index.stat().st_mtime_ns
    make_folder(0, config)
    assert index.stat().st_mtime_ns == before
    for seed, same in ((0, True), (1, False)):
        again = replace(config, out=str(tmp_path / str(seed)), seed=seed)
        make_folder(0, again)
        codes = [np.load(folder_of(c, 0) / "codes.npy") for c in (config, again)]
        assert np.array_equal(*codes) == same


def test_attempts_at_other_texts_are_refused(config, attempts, source, tmp_path):
    renamed = copy(source)
    renamed.clips = [replace(clip, line=replace(clip.line, id=f"x{clip.line.id}")) for clip in source.clips]
    with pytest.raises(InputError, match="another corpus"):
        list(read_attempts(Path(config.out), [renamed]))
    with pytest.raises(InputError, match="holds no attempts"):
        list(read_attempts(tmp_path, [source]))


def test_a_text_costs_least_where_it_is_said():
    sound = np.zeros(4 * FRAME_SAMPLES, np.float32)
    batch = HeardBatch.of([Heard.of(sound, text) for text in ("ab", "ba", "abcdefghijklm")])
    scores = torch.full((3, 4 * RATE, SYMBOLS), -20.0)
    for output, symbol in enumerate([0, 0, 1 + ord("a"), 0, 0, 0, 1 + ord("b"), 0, 0, 0, 0, 0]):
        scores[:, output, symbol] = 0.0
    costs = nats_a_letter(scores.log_softmax(dim=-1), batch)
    assert costs[0] < 1e-3
    assert costs[1] > 5
    assert math.isinf(costs[2])  # more letters than can be heard in so little time


def test_the_best_and_the_worst_attempt_are_compared_if_they_differ_enough(source):
    [asked, *_] = asked_of(source)
    attempt = Attempt(torch.zeros(2, 3, dtype=torch.int64), ended=True)
    judged = [Judged(attempt, nats, 0.0) for nats in (0.5, 0.3, math.inf, 0.9)]
    [pair] = pairs_of([(asked, judged)], margin=0.1)
    assert (pair.better.nats, pair.worse.nats) == (0.3, math.inf)
    assert not pairs_of([(asked, judged[:2])], margin=0.25)
    assert not pairs_of([(asked, [judged[2], judged[2]])], margin=0.0)
    with pytest.raises(InputError, match="far enough apart"):
        Pairs([], begin(TALKER_SHAPE, seed=0)[2], seed=0)


def pairs(attempts: list[tuple[Asked, list[Judged]]]) -> Pairs:
    return Pairs(pairs_of(attempts, margin=0.0), begin(TALKER_SHAPE, seed=0)[2], seed=0)


def trainer(work: Path, attempts: list[tuple[Asked, list[Judged]]], schedule: Schedule, *, seed: int = 0) -> Trainer:
    """The talker that spoke, going on; the truth has been learnt after `schedule.steps`."""
    training = test_talker.trainer(work, schedule, seed=seed)
    training.restore(torch.load(work / "talker" / STATE_FILE, weights_only=True))
    training.pairs = pairs(attempts)
    return training


def test_at_first_neither_attempt_is_preferred(work, attempts, config):
    studio, _ = open_studio(config)
    drawn = pairs(attempts).draw(0, positions=300)
    outcome = compare(studio._objective, drawn, sharpness=0.5)
    assert float(outcome.comparison) == pytest.approx(math.log(2), abs=1e-3)


def test_the_better_attempts_gain_on_the_worse(work, attempts):
    """Beside the same training on the truth alone."""
    last = []
    for weight in (1.0, 0.0):
        preference = replace(test_talker.SCHEDULE.preference, steps=50, weight=weight)
        training = trainer(work, attempts, replace(test_talker.SCHEDULE, steps=1, preference=preference))
        last.append([training.take_step() for _ in range(40)][-8:])
    right, untold = (np.mean([row["right"] for row in rows]) for rows in last)
    assert right > 0.9
    assert right > untold
    assert np.mean([row["comparison"] for row in last[0]]) < 0.5 * math.log(2)


def test_without_attempts_it_ends_with_the_truth_and_goes_on_with_them(work, attempts, tmp_path):
    schedule = test_talker.SCHEDULE
    alone = test_talker.trainer(work)
    assert alone.steps == schedule.steps
    fit(alone, tmp_path, schedule)
    later = test_talker.trainer(work)
    later.pairs = pairs(attempts)
    assert resume(later, tmp_path, device="cpu")
    assert later.learning_rate() == schedule.preference.learning_rate(0)
    assert "comparison" in later.take_step()
    fit(later, tmp_path, schedule)
    assert later.step == schedule.steps + schedule.preference.steps
    fresh = trainer(work, attempts, schedule)
    assert fresh.learning_rate() == schedule.learning_rate(1)
    assert "comparison" not in fresh.take_step()  # the truth first


def test_a_resumed_training_with_attempts_equals_an_uninterrupted_one(work, attempts, tmp_path):
    schedule = replace(test_talker.SCHEDULE, steps=3)  # it is cut off in the middle of the preference
    whole, first, second = (trainer(work, attempts, schedule, seed=seed) for seed in (0, 0, 7))
    assert_goes_on(whole, first, second, schedule, tmp_path, weights="guided")
