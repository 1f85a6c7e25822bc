"""The vocoder after each voice's reference: an in-context text goes on in the room, and with the breath, of that."""

import threading
from collections.abc import Callable, Container

import torch

from voice.engine.kept import Kept
from voice.engine.memory import SavedCodec
from voice.engine.vocoder import StreamingDecoder
from voice.engine.voices import Voice
from voice.out_of_memory import is_out_of_memory, refusing

KEPT_BYTES = 256 << 20  # at the published size a voice takes 5 MB


class References:
    """Decodes references, each once, in memory of its own.

    Who lays out a request does it, on a thread of their own: a long reference holds up nobody's frames, nor who speaks
    as a voice that is known.
    """

    def __init__(self, vocoder: StreamingDecoder, *, gone: Container[Voice], make_room: Callable[[], None]) -> None:
        """Nothing is kept of voices that are `gone`. `make_room` frees memory that is taken for speed alone."""
        self._vocoder, self._gone, self._make_room = vocoder, gone, make_room
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
                known = self._decode_somehow(voice.codes)
                self._kept.put(voice, known)
                if voice in self._gone:  # perhaps since a moment ago
                    self.forget(voice)
        return known

    def forget(self, voice: Voice) -> None:
        """Keep nothing of a voice."""
        self._kept.drop(lambda kept: kept is voice)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()

    def _decode_somehow(self, codes: torch.Tensor) -> SavedCodec:
        try:
            return self._decode(codes)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        self.clear()
        self._make_room()
        with refusing():
            return self._decode(codes)

    @torch.inference_mode()
    def _decode(self, codes: torch.Tensor) -> SavedCodec:
        decoder = self._vocoder.alone()
        for _ in decoder.in_stretches(codes, 0):
            pass
        return decoder.save(0)
