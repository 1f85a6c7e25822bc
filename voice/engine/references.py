"""The vocoder after each voice's reference: an in-context text goes on in the room, and with the breath, of that."""

import threading

import torch

from voice.engine.kept import Kept
from voice.engine.memory import SavedCodec
from voice.engine.out_of_memory import is_out_of_memory, no_memory
from voice.engine.vocoder import StreamingDecoder
from voice.engine.voices import Voice

KEPT_BYTES = 256 << 20  # at the published size a voice takes 2 MB
CHUNK = 50  # frames decoded at a time: flat memory, however long a reference is


class References:
    """Decodes references, each once, in memory of its own.

    Who lays out a request does it, on a thread of their own: a long reference holds up nobody's frames, nor who speaks
    as a voice that is known.
    """

    def __init__(self, vocoder: StreamingDecoder) -> None:
        self._vocoder = vocoder
        self._kept: Kept[Voice, SavedCodec] = Kept(KEPT_BYTES)
        self._decoding = threading.Lock()  # one at a time

    def after(self, voice: Voice) -> SavedCodec:
        """What the vocoder remembers after a voice's reference; nothing where it has none in context.

        Raises InputError where memory is short.
        """
        if voice.codes is None:
            return []
        known = self._kept.get(voice)
        if known is not None:
            return known
        with self._decoding:
            known = self._kept.get(voice)  # by now: whoever was before may have been the same
            if known is None:
                known = self._decode(voice.codes)
                self._kept.put(voice, known)
        return known

    def forget(self, voice: Voice) -> None:
        """Keep nothing of a voice."""
        self._kept.drop(lambda kept: kept is voice)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()

    @torch.inference_mode()
    def _decode(self, codes: torch.Tensor) -> SavedCodec:
        try:
            decoder = self._vocoder.alone()
            for chunk in codes.to(decoder.device).split(CHUNK):
                decoder.decode(chunk[None], [0])
            return decoder.save(0)
        except Exception as error:
            if is_out_of_memory(error):
                raise no_memory() from error
            raise
