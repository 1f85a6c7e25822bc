"""Speech recognisers that judge intelligibility. Their names go into the metrics' names."""

from typing import Protocol

import numpy as np

from voice import hub
from voice.audio import SAMPLE_RATE, Waveform, resample, to_pcm16
from voice.errors import InputError

JUDGE_RATE = 16_000  # Hz; both recognisers were trained at this rate
# the same weights lie on the hub in five more formats
WHISPER_FILES = ("*.json", "*.txt", "model.safetensors")


class ASR(Protocol):
    """Hears a waveform, writes words."""

    name: str

    def transcribe(self, waveform: Waveform) -> str:
        """Return the words heard, possibly none."""
        ...


class Whisper:
    """OpenAI's Whisper through transformers, the recogniser of seed-tts-eval."""

    def __init__(self, model: str, *, language: str, device: str) -> None:
        from transformers import WhisperForConditionalGeneration, WhisperProcessor

        self.name = model.rstrip("/").rsplit("/", 1)[-1].replace("-", "_").replace(".", "_")
        instead = "or use `eval.asr=pocketsphinx`."
        folder = hub.fetch(model, files=WHISPER_FILES, instead=instead)
        try:
            self._processor = WhisperProcessor.from_pretrained(folder)
            self._model = WhisperForConditionalGeneration.from_pretrained(folder, device_map=device)
        except OSError as error:
            raise InputError(f"{folder}: is not a whole Whisper model. Download it again, {instead}") from error
        self._options = {"task": "transcribe"} | ({} if language == "auto" else {"language": language})

    def transcribe(self, waveform: Waveform) -> str:
        """Greedy decoding, as in seed-tts-eval."""
        audio = resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE)
        inputs = self._processor(audio, sampling_rate=JUDGE_RATE, return_tensors="pt", return_attention_mask=True)
        tokens = self._model.generate(
            inputs.input_features.to(self._model.device, self._model.dtype),
            attention_mask=inputs.attention_mask.to(self._model.device),
            **self._options,
        )
        return str(self._processor.batch_decode(tokens, skip_special_tokens=True)[0]).strip()


class PocketSphinx:
    """CMU PocketSphinx with the English model in its wheel: weak, but real, and it needs no model hub."""

    name = "pocketsphinx"

    def __init__(self, *, language: str) -> None:
        from pocketsphinx import Decoder

        if language not in ("en", "auto"):
            raise InputError(f"pocketsphinx hears English only, not {language!r}. Use `eval.asr=whisper`.")
        self._decoder_class = Decoder

    def transcribe(self, waveform: Waveform) -> str:
        """Decode with a fresh decoder: its cepstral mean would otherwise carry over from the clip before."""
        decoder = self._decoder_class(samprate=float(JUDGE_RATE), loglevel="FATAL")
        pcm = to_pcm16(resample(waveform, from_rate=SAMPLE_RATE, to_rate=JUDGE_RATE))
        decoder.start_utt()
        decoder.process_raw(np.ascontiguousarray(pcm).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


def load_asr(judge: str, *, model: str, language: str, device: str) -> ASR:
    """Choose a recogniser: `whisper` (with its hub id or folder) or `pocketsphinx`."""
    match judge:
        case "whisper":
            return Whisper(model, language=language, device=device)
        case "pocketsphinx":
            return PocketSphinx(language=language)
        case _:
            raise InputError(f"eval.asr={judge} is not a judge. Use whisper or pocketsphinx.")
