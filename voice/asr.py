"""Speech recognisers that judge intelligibility. Their names go into the metrics' names."""

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from voice import hub
from voice.audio import SAMPLE_RATE, Waveform, encode, resample, to_pcm16
from voice.errors import InputError
from voice.provenance import identity

JUDGE_RATE = 16_000  # Hz; both recognisers were trained at this rate
# the same weights lie on the hub in five more formats
WHISPER_FILES = ("*.json", "*.txt", "model.safetensors")
KEY = "ASR_API_KEY"  # environment: a service's key belongs into no file under conf/
PIECE_SECONDS = 30.0  # what Whisper hears at once, and the limit of many a service
_CUT_SECONDS = 10.0  # of the end of a piece: the cut falls into the quietest spot of it
_SPOT = 480  # samples: 20 ms
INSTEAD = "or use the offline judges: `judges: offline` in params.yaml, `asr: pocketsphinx` elsewhere under conf/."


class ASR(Protocol):
    """Hears a waveform, writes words."""

    name: str
    identity: str  # all that its answers depend on besides the audio: weights, language, code
    copies: bool  # whether it is light enough to be copied into several processes
    batch: int  # waveforms to hand over at once

    def transcribe(self, waveform: Waveform) -> str:
        """Return the words heard, possibly none."""
        ...

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        """The words heard in each; the same as one at a time."""
        ...


def pieces(waveform: Waveform, *, seconds: float = PIECE_SECONDS) -> Iterator[Waveform]:
    """Cut what is longer than `seconds` where it is quietest, so that what a judge hears ends inside no word."""
    longest, tail = round(seconds * SAMPLE_RATE), round(_CUT_SECONDS * SAMPLE_RATE)
    while len(waveform) > longest:
        window = waveform[longest - tail : longest]
        power = np.square(window[: len(window) // _SPOT * _SPOT].reshape(-1, _SPOT)).mean(axis=1)
        end = longest - tail + int(power.argmin()) * _SPOT + _SPOT // 2
        yield waveform[:end]
        waveform = waveform[end:]
    yield waveform


class Whisper:
    """OpenAI's Whisper through transformers, the recogniser of seed-tts-eval."""

    copies = False
    batch = 16

    def __init__(self, model: str, *, language: str, device: str | None = None) -> None:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        from voice.checkpoint import default_device

        self.name = metric_name(model)
        folder = hub.fetch(model, files=WHISPER_FILES, instead=INSTEAD)
        self.identity = identity(hub.version(folder), language, code=__file__, packages=("torch", "transformers"))
        try:
            self._processor = WhisperProcessor.from_pretrained(folder)
            self._model = WhisperForConditionalGeneration.from_pretrained(folder, device_map=device or default_device())
        except OSError as error:
            raise InputError(f"{folder}: is not a whole Whisper model. Download it again, {INSTEAD}") from error
        self._options = {"task": "transcribe"} | ({} if language == "auto" else {"language": language})
        if not getattr(self._model.generation_config, "is_multilingual", True):
            self._options = {}  # the English-only sizes refuse both

    def transcribe(self, waveform: Waveform) -> str:
        """Greedy decoding, as in seed-tts-eval; what is longer than 30 s piece by piece."""
        return self.transcribe_all([waveform])[0]

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        """Decode in batches; every piece is padded to 30 s anyway, so that neighbours change nothing."""
        cut = [list(pieces(waveform)) for waveform in waveforms]
        flat = [piece for parts in cut for piece in parts]
        texts = iter([t for i in range(0, len(flat), self.batch) for t in self._decode(flat[i : i + self.batch])])
        return [" ".join(next(texts) for _ in parts).strip() for parts in cut]

    def _decode(self, waveforms: Sequence[Waveform]) -> list[str]:
        audio = [resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE) for waveform in waveforms]
        inputs = self._processor(audio, sampling_rate=JUDGE_RATE, return_tensors="pt", return_attention_mask=True)
        tokens = self._model.generate(
            inputs.input_features.to(self._model.device, self._model.dtype),
            attention_mask=inputs.attention_mask.to(self._model.device),
            **self._options,
        )
        return [str(text).strip() for text in self._processor.batch_decode(tokens, skip_special_tokens=True)]


class PocketSphinx:
    """CMU PocketSphinx with the English model in its wheel: weak, but real, and it needs no model hub."""

    name = "pocketsphinx"
    copies = True
    batch = 1

    def __init__(self, *, language: str) -> None:
        if language not in ("en", "auto"):
            raise InputError(
                f"pocketsphinx hears English only, not {language!r}. Set judges: published in "
                "params.yaml, and asr: whisper in conf/data/ and conf/train/."
            )
        self.identity = identity(self.name, code=__file__, packages=("pocketsphinx",))

    def transcribe(self, waveform: Waveform) -> str:
        """Decode with a fresh decoder: its cepstral mean would otherwise carry over from the clip before."""
        from pocketsphinx import Decoder  # not kept: the class cannot be sent to another process

        decoder = Decoder(samprate=float(JUDGE_RATE), loglevel="FATAL")
        pcm = to_pcm16(resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE))
        decoder.start_utt()
        decoder.process_raw(np.ascontiguousarray(pcm).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        """One after another."""
        return [self.transcribe(waveform) for waveform in waveforms]


class HttpASR:
    """A recogniser behind OpenAI's `POST /v1/audio/transcriptions`: Nemotron, Qwen3-ASR and others served elsewhere."""

    copies = True
    batch = 1

    def __init__(self, url: str, *, model: str, language: str) -> None:
        self.name = metric_name(model)
        # a service that changes its weights keeps its name: rename it
        self.identity = identity(url, model, language, code=__file__, packages=())
        self._url, self._model, self._language = f"{url.rstrip('/')}/v1/audio/transcriptions", model, language

    def transcribe(self, waveform: Waveform) -> str:
        """Send 16 kHz WAV, of at most 30 s at once. Raises InputError if the service does not answer as it should."""
        return " ".join(self._post(piece) for piece in pieces(waveform)).strip()

    def transcribe_all(self, waveforms: Sequence[Waveform]) -> list[str]:
        """One after another."""
        return [self.transcribe(waveform) for waveform in waveforms]

    def _post(self, waveform: Waveform) -> str:
        import httpx2

        audio = encode(resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE), container="wav", rate=JUDGE_RATE)
        key = os.environ.get(KEY, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        fields = {"model": self._model} | ({} if self._language == "auto" else {"language": self._language})
        try:
            file = {"file": ("clip.wav", audio, "audio/wav")}
            answer = httpx2.post(self._url, data=fields, files=file, headers=headers, timeout=120)
            answer.raise_for_status()
            text = answer.json()["text"]
            if not isinstance(text, str):
                raise TypeError(f"its text is {text!r}")
            return text.strip()
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"recogniser {self._url} did not answer ({reason}). Start it, correct `asr_url`, set {KEY} if "
                f"it wants a key, {INSTEAD}"
            ) from error


def metric_name(model: str) -> str:
    """What a recogniser is called in a metric's name: its model without owner, folder and signs."""
    return model.rstrip("/").rsplit("/", 1)[-1].replace("-", "_").replace(".", "_")


def load_asr(judge: str, *, model: str, language: str, device: str | None = None, url: str | None = None) -> ASR:
    """Choose a recogniser: `whisper` (hub id or folder), `pocketsphinx`, or `http` (a service's address and model)."""
    match judge:
        case "whisper":
            return Whisper(model, language=language, device=device)
        case "pocketsphinx":
            return PocketSphinx(language=language)
        case "http":
            if not url:
                raise InputError(f"asr=http needs an address. Set asr_url under conf/, {INSTEAD}")
            return HttpASR(url, model=model, language=language)
        case _:
            raise InputError(f"asr={judge} is not a judge. Use whisper, pocketsphinx or http.")
