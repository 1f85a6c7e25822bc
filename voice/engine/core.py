"""The engine without threads: utterances begin in slots, frames are drawn for all of them, chunks become samples."""

import copy
import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Int64
from torch import Tensor

from voice.audio import FRAME_RATE, Waveform
from voice.engine import sampling
from voice.engine.frames import Draws, Frames
from voice.engine.graphs import Graphs
from voice.engine.linear import Precision
from voice.engine.memory import SavedCodec
from voice.engine.prompts import Prompts
from voice.engine.references import References
from voice.engine.talker import SavedKeys
from voice.engine.vocoder import StreamingDecoder
from voice.engine.voices import Voice
from voice.errors import InputError
from voice.prompt import Opening, Situation, Vocabulary, assistant_ids, build_opening, instruction_ids
from voice.request import Request, Sampling
from voice.text import spoken_bytes, usual_seconds


@dataclass(slots=True, eq=False)
class Utterance:
    """A request that has been laid out, and how far it is."""

    request: Request
    voice: Voice
    situation: Situation
    sampling: Sampling
    opening: Opening
    heard: SavedCodec  # the vocoder after the voice's reference
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
    is_read: bool  # whether the talker has read its last frame


def in_float32(module: Any) -> Any:
    """The codec's decoder as it is in float32, else a copy: wholly in bf16 it hisses."""
    is_wide = next(module.parameters()).dtype == torch.float32
    return module if is_wide else copy.deepcopy(module).float()


class Core:
    """A model in slots. One thread at a time, but for `lay_out`."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        slots: int,
        positions: int,
        precision: Precision,
        dtype: torch.dtype,
        codec: torch.dtype = torch.float32,
    ) -> None:
        """`precision` says how matrices are held, `dtype` what is computed in, `codec` what its products read."""
        self.vocabulary, self._tokenizer = Vocabulary.of(model.config), tokenizer
        self._sampling = sampling.of_checkpoint(model.generate_config)
        self._tokenizing = threading.Lock()  # callers lay out on threads of their own
        self.slots, self.positions = slots, positions
        self.frames = Frames(model, slots=slots, positions=positions, precision=precision, dtype=dtype)
        self.vocoder = StreamingDecoder(in_float32(model.speech_tokenizer.model.decoder), slots=slots, dtype=codec)
        self.device = self.frames.talker.device
        self._begin_slots()
        self._gone: WeakSet[Voice] = WeakSet()  # voices that are no more
        self._prompts = Prompts(self.frames.talker, gone=self._gone)
        self._references = References(self.vocoder, gone=self._gone, make_room=self._prompts.keep_nothing)

    def _begin_slots(self) -> None:
        self._graphs = Graphs(self.frames) if self.device.type == "cuda" else None
        self._active: list[int] = []
        self._utterances: list[Utterance | None] = [None] * self.slots

    def lay_out(self, request: Request, voice: Voice, *, budget: int | None) -> Utterance:
        """Tokenise and check a request. Without a budget of frames it is what the slot has room for.

        Raises InputError for what this voice or these slots cannot say.
        """
        if not request.text.strip():
            raise InputError("the text is empty. Send the words to speak.")
        if request.instruct and not voice.takes_instructions:
            raise InputError(f"voice {voice.name!r} takes no instructions. Leave `instruct` out.")
        heard = self._references.after(voice)
        with self._tokenizing:
            role, text = assistant_ids(self._tokenizer, request.text)
            instruction = instruction_ids(self._tokenizer, request.instruct) if request.instruct else []
        situation = voice.situation(request, instruction, self.vocabulary)
        opening = build_opening(role, text, situation, self.vocabulary)
        room = self.positions - len(opening.text)
        usual = math.ceil(FRAME_RATE * usual_seconds(spoken_bytes(request.text)))
        needed = max(2, len(opening.beside), usual if budget is None else min(budget, usual))
        if needed > room:
            raise InputError(
                f"text, reference and instruction take {self.positions - room} positions and about {needed} frames of "
                f"speech, there is room for {self.positions}. Send a shorter text or use a shorter reference."
            )
        asked = request.sampling or self._sampling
        frames = room if budget is None else min(budget, room)
        return Utterance(request, voice, situation, asked, opening, heard, frames)

    @torch.inference_mode()
    def begin(self, slot: int, utterance: Utterance) -> None:
        """Put an utterance into a free slot. Nothing can be drawn before `read_prompt` has read all of its prompt."""
        opening, voice = utterance.opening, utterance.voice
        frames = None if voice.codes is None else self.frames.read_codes(voice.codes)
        inputs = self.frames.talker.embed_opening(opening, embedding=voice.embedding, frames=frames)
        self._prompts.begin(slot, inputs, shared=opening.shared, key=(voice, utterance.situation))
        utterance.at = len(inputs)
        self.frames.slots.at[slot] = utterance.at  # frames of other slots touch nothing before it
        self._utterances[slot] = utterance

    @torch.inference_mode()
    def read_prompt(self, slot: int) -> bool:
        """Read the next stretch of a slot's prompt. Returns whether that was the last."""
        utterance = self._moving(slot)
        read = self._prompts.read(slot, self._graphs.prefill if self._graphs else self.frames.talker.prefill)
        if read is None:
            return False
        hidden, logits = read
        groups = self.frames.predictor.groups
        self.frames.slots.begin(
            slot, hidden, logits,
            at=utterance.at,
            beside=self.frames.talker.embed_text(torch.tensor(utterance.opening.beside, dtype=torch.int64)),
            uniforms=torch.from_numpy(sampling.uniforms(utterance.request.seed, utterance.budget, groups)),
            sampling=utterance.sampling,
        )  # fmt: skip
        self.vocoder.reset(slot)
        if utterance.heard:
            self.vocoder.load(slot, utterance.heard)
        return True

    def forget(self, voice: Voice) -> None:
        """Keep nothing of a voice that is no more; any thread may say so. Who speaks as it goes on."""
        self._gone.add(voice)
        self._references.forget(voice)
        self._prompts.forget_voice(voice)

    def keep_nothing(self) -> None:
        """Give back the memory of what is kept for speed alone."""
        self._references.clear()
        self._prompts.keep_nothing()

    def park(self, slot: int, *, is_read: bool = True) -> "Parked":
        """Free a slot, keeping all that is needed to go on later in the host's memory."""
        utterance = self._moving(slot)
        keys, values = self.frames.talker.save(slot, utterance.at)
        rows, audio = self.frames.slots.save(slot), self.vocoder.save(slot)
        parked = Parked(
            utterance, (keys.cpu(), values.cpu()), [r.cpu() for r in rows], [a.cpu() for a in audio], is_read
        )
        self.end(slot)
        return parked

    def resume(self, slot: int, parked: "Parked") -> None:
        """Go on in a free slot."""
        self.frames.talker.load(slot, parked.keys)
        self.frames.slots.load(slot, parked.rows)
        self.vocoder.load(slot, parked.audio)
        self._utterances[slot] = parked.utterance
        if not parked.is_read and not parked.utterance.is_over:
            self.read([slot])

    def resize(self, slots: int) -> None:
        """Begin anew with so many slots, and without what is kept only for speed. Park the utterances first.

        Where this fails there are no slots; it may be tried again with fewer.
        """
        self.slots, self._utterances, self._graphs = 0, [], None
        self._prompts.clear()
        self._references.clear()
        self.frames.release()
        self.vocoder.release()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.frames.allocate(slots)
        self.vocoder.allocate(slots)
        self.slots = slots
        self._begin_slots()

    def end(self, slot: int) -> None:
        """Free a slot."""
        self._utterances[slot] = None
        self._prompts.forget(slot)
        self.frames.slots.end(slot)

    @property
    def runs_whole_frames(self) -> bool:
        """Whether drawing and reading a frame at once is cheaper than one after the other."""
        return self._graphs is not None

    @torch.inference_mode()
    def frame(self, moving: Sequence[int]) -> None:
        """Draw and read the next frame of these slots."""
        if self._graphs is None:
            raise ValueError("whole frames are for CUDA")
        self._activate(moving)
        self._graphs.frame(self._draws(moving), self._longest(moving))
        self._take_codes(moving)
        for slot in moving:
            self._moving(slot).at += 1

    @torch.inference_mode()
    def draw(self, moving: Sequence[int]) -> None:
        """Draw the next frame of these slots and append it to their utterances, or end them."""
        draws = self._draws(moving)
        if self.frames.talker.is_native:
            self.frames.draw(draws, torch.tensor(moving))
        else:
            self._activate(moving)
            self._graphs.draw(draws) if self._graphs else self.frames.draw(draws)
        self._take_codes(moving)

    @torch.inference_mode()
    def read(self, moving: Sequence[int]) -> None:
        """Let the talker read the frames just drawn for these slots."""
        if not moving:
            return
        at = {slot: self._moving(slot).at for slot in moving}
        if self.frames.talker.is_native:
            self.frames.read_some(moving, list(at.values()))
        else:
            self._activate(moving)
            if self._graphs:
                self._graphs.read(self._longest(moving))
            else:
                lengths = [at.get(slot) for slot in range(self.slots)]
                self.frames.read(self.frames.talker.attend_one_by_one(lengths))
        for slot in moving:
            self._moving(slot).at += 1

    def _take_codes(self, moving: Sequence[int]) -> None:
        codes = self.frames.slots.codes.cpu().clone()  # the frame's one synchronisation
        for slot in moving:
            utterance = self._moving(slot)
            if int(codes[slot, 0]) == self.frames.end_code:
                utterance.ended = True
            else:
                utterance.codes.append(codes[slot])

    def _activate(self, moving: Sequence[int]) -> None:
        if list(moving) != self._active:
            self._active = []  # unknown, should the copy fail
            self.frames.slots.active.copy_(torch.tensor([slot in moving for slot in range(self.slots)]))
            self._active = list(moving)

    def _longest(self, moving: Sequence[int]) -> int:
        return max(self._moving(slot).at for slot in moving)

    @torch.inference_mode()
    def samples(self, frames: dict[int, int]) -> Iterator[tuple[int, Waveform]]:
        """Decode the last frames of slots, so many of each. What has been given stays decoded if a later one fails."""
        for size in sorted(set(frames.values())):
            alike = [slot for slot, count in frames.items() if count == size]
            # on the CPU one by one, so that no sample depends on its neighbours; on CUDA launches are what costs
            for group in [alike] if self._graphs else [[slot] for slot in alike]:
                codes = torch.stack([torch.stack(self._moving(slot).codes[-size:]) for slot in group])
                waveforms = self.vocoder.decode(codes.to(self.device), group).float().cpu().numpy()
                yield from zip(group, waveforms, strict=True)

    def _moving(self, slot: int) -> Utterance:
        utterance = self._utterances[slot]
        if utterance is None:
            raise ValueError(f"slot {slot} is idle")
        return utterance

    def _draws(self, moving: Sequence[int]) -> Draws:
        asked = [d for slot in moving for d in sampling.drawings(self._moving(slot).sampling)]
        widths = [sampling.candidates(d) for d in asked]
        width = None if None in widths else max((w for w in widths if w is not None), default=sampling.NARROW)
        return Draws(width, nucleus=any(d.top_p < 1 for d in asked))
