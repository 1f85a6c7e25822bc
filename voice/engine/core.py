"""The engine without threads: utterances begin in slots, frames are drawn for all of them, chunks become samples."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from voice.audio import Waveform
from voice.engine import sampling
from voice.engine.frames import Draws, Frames
from voice.engine.linear import MakeLinear
from voice.engine.talker import SavedKeys
from voice.engine.vocoder import SavedCodec, StreamingDecoder
from voice.engine.voices import Voice
from voice.errors import InputError
from voice.prompt import Opening, Situation, Vocabulary, assistant_ids, build_opening, instruction_ids
from voice.request import Request

PREFIXES = 32  # kept; one of 200 positions takes 23 MB at 1.7B in bf16


@dataclass(slots=True, eq=False)
class Utterance:
    """A request that has been laid out, and how far it is."""

    request: Request
    voice: Voice
    situation: Situation
    opening: Opening
    budget: int  # frames
    at: int = 0  # the next position in its slot
    codes: list[Int64[Tensor, " codebooks"]] = field(default_factory=list)  # on the host
    ended: bool = False  # by itself

    @property
    def is_over(self) -> bool:
        """Whether no further frame will be drawn."""
        return self.ended or len(self.codes) >= self.budget


@dataclass(frozen=True, slots=True, eq=False)
class Parked:
    """An utterance that has left its slot half way."""

    utterance: Utterance
    keys: SavedKeys
    rows: list[Tensor]
    audio: SavedCodec


class Core:
    """A model in slots. One thread at a time, but for `lay_out`."""

    def __init__(
        self, model: Any, tokenizer: Any, *, slots: int, positions: int, make: MakeLinear, dtype: torch.dtype
    ) -> None:
        """`make` says how matrices are held, `dtype` what is computed in."""
        self.vocabulary, self._tokenizer = Vocabulary.of(model.config), tokenizer
        self._tokenizing = threading.Lock()  # callers lay out on threads of their own
        self.slots, self.positions = slots, positions
        self.frames = Frames(model, slots=slots, positions=positions, make=make, dtype=dtype)
        self.vocoder = StreamingDecoder(model.speech_tokenizer.model.decoder, slots=slots)
        self.device = self.frames.talker.device
        self._utterances: list[Utterance | None] = [None] * slots
        self._prefixes: OrderedDict[tuple[Voice, Situation], SavedKeys] = OrderedDict()
        self._heard: dict[Voice, SavedCodec] = {}  # the vocoder after a reference

    def lay_out(self, request: Request, voice: Voice, *, budget: int) -> Utterance:
        """Tokenise and check a request. Raises InputError for what this voice or these slots cannot say."""
        if not request.text.strip():
            raise InputError("the text is empty. Send the words to speak.")
        if request.instruct and not voice.takes_instructions:
            raise InputError(f"voice {voice.name!r} takes no instructions. Leave `instruct` out.")
        with self._tokenizing:
            role, text = assistant_ids(self._tokenizer, request.text)
            instruction = instruction_ids(self._tokenizer, request.instruct) if request.instruct else []
        situation = voice.situation(request, instruction, self.vocabulary)
        opening = build_opening(role, text, situation, self.vocabulary)
        if len(opening.text) + 2 > self.positions:
            raise InputError(
                f"text, reference and instruction take {len(opening.text)} positions, there is room for "
                f"{self.positions}. Send a shorter text or use a shorter reference."
            )
        return Utterance(request, voice, situation, opening, min(budget, self.positions - len(opening.text)))

    @torch.inference_mode()
    def begin(self, slot: int, utterance: Utterance) -> None:
        """Read an utterance's prompt into a free slot."""
        opening, voice = utterance.opening, utterance.voice
        frames = None if voice.codes is None else self.frames.read_codes(voice.codes)
        inputs = self.frames.talker.embed_opening(opening, embedding=voice.embedding, frames=frames)
        self._read_shared(slot, utterance, inputs[: opening.shared])
        hidden, logits = self.frames.talker.prefill(slot, opening.shared, inputs[opening.shared :])
        groups = self.frames.predictor.groups
        self.frames.slots.begin(
            slot, hidden, logits,
            at=len(inputs),
            beside=self.frames.talker.embed_text(torch.tensor(opening.beside, dtype=torch.int64)),
            uniforms=torch.from_numpy(sampling.uniforms(utterance.request.seed, utterance.budget, groups)),
            sampling=utterance.request.sampling,
        )  # fmt: skip
        self._begin_audio(slot, voice)
        utterance.at = len(inputs)
        self._utterances[slot] = utterance

    def _read_shared(self, slot: int, utterance: Utterance, inputs: Tensor) -> None:
        # always read apart from the rest, cached or not: so that a request's codes do not depend on who came before
        key, talker = (utterance.voice, utterance.situation), self.frames.talker
        if key not in self._prefixes:
            talker.prefill(slot, 0, inputs)
            self._prefixes[key] = talker.save(slot, len(inputs))
            if len(self._prefixes) > PREFIXES:
                self._prefixes.popitem(last=False)
            return
        self._prefixes.move_to_end(key)
        talker.load(slot, self._prefixes[key])

    def _begin_audio(self, slot: int, voice: Voice) -> None:
        self.vocoder.reset(slot)
        if voice.codes is None:
            return
        if voice not in self._heard:
            self.vocoder.decode(voice.codes[None].to(self.device), [slot])
            self._heard[voice] = self.vocoder.save(slot)
        self.vocoder.load(slot, self._heard[voice])

    def park(self, slot: int) -> "Parked":
        """Free a slot, keeping all that is needed to go on later."""
        utterance = self._moving(slot)
        talker = self.frames.talker.save(slot, utterance.at)
        parked = Parked(utterance, talker, self.frames.slots.save(slot), self.vocoder.save(slot))
        self.end(slot)
        return parked

    def resume(self, slot: int, parked: "Parked") -> None:
        """Go on in a free slot."""
        self.frames.talker.load(slot, parked.keys)
        self.frames.slots.load(slot, parked.rows)
        self.vocoder.load(slot, parked.audio)
        self._utterances[slot] = parked.utterance

    def end(self, slot: int) -> None:
        """Free a slot."""
        self._utterances[slot] = None
        self.frames.slots.end(slot)

    @torch.inference_mode()
    def draw(self, moving: Sequence[int]) -> None:
        """Draw the next frame of these slots and append it to their utterances, or end them."""
        utterances = {slot: self._moving(slot) for slot in moving}
        draws = self._draws(list(utterances.values()))
        if self.frames.talker.is_native:
            self.frames.draw(draws, torch.tensor(moving))
        else:
            self._activate(moving)
            self.frames.draw(draws)
        codes = self.frames.slots.codes.cpu().clone()  # the frame's one synchronisation
        for slot, utterance in utterances.items():
            if int(codes[slot, 0]) == self.frames.end_code:
                utterance.ended = True
            else:
                utterance.codes.append(codes[slot])

    @torch.inference_mode()
    def read(self, moving: Sequence[int]) -> None:
        """Let the talker read the frames just drawn for these slots."""
        if not moving:
            return
        at = {slot: self._moving(slot).at for slot in moving}
        for slot in moving:
            self._moving(slot).at += 1
        if self.frames.talker.is_native:
            self.frames.read_some(moving, list(at.values()))
            return
        self._activate(moving)
        self.frames.read(self.frames.talker.attend_one_by_one([at.get(slot) for slot in range(self.slots)]))

    def _activate(self, moving: Sequence[int]) -> None:
        active = self.frames.slots.active
        active.zero_()
        active[list(moving)] = True

    def samples(self, slot: int, frames: int) -> Waveform:
        """Decode the last `frames` frames of a slot."""
        codes = torch.stack(self._moving(slot).codes[-frames:])[None].to(self.device)
        return self.vocoder.decode(codes, [slot])[0].float().cpu().numpy()

    def _moving(self, slot: int) -> Utterance:
        utterance = self._utterances[slot]
        if utterance is None:
            raise ValueError(f"slot {slot} is idle")
        return utterance

    @staticmethod
    def _draws(utterances: list[Utterance]) -> Draws:
        asked = [u.request.sampling for u in utterances]
        widths = [sampling.candidates(s) for s in asked]
        width = None if None in widths else max((w for w in widths if w is not None), default=sampling.NARROW)
        return Draws(width, nucleus=any(s.top_p < 1 for s in asked))
