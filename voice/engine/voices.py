"""Who speaks, as the engine's prompts need it."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from voice.errors import InputError
from voice.prompt import Situation, Vocabulary
from voice.request import Request
from voice.text import language_name


@dataclass(frozen=True, slots=True, eq=False)
class Voice:
    """A row of the checkpoint, a clone (its embedding, and in context also words and codes), or neither (designed)."""

    name: str
    row: int | None = None
    dialect: str | None = None  # the language that the row speaks instead of Chinese
    embedding: Float[Tensor, " dimensions"] | None = None
    words: tuple[int, ...] = ()  # text ids of what is said in the reference
    codes: Int64[Tensor, "frames codebooks"] | None = None
    takes_instructions: bool = False

    def situation(self, request: Request, instruction: list[int], vocabulary: Vocabulary) -> Situation:
        """What the request's text is spoken in. Raises InputError for a language that the checkpoint lacks."""
        language: str | None = language_name(request.language)
        if self.dialect and language in ("auto", "chinese"):
            language = self.dialect  # as upstream: the row was trained under that tag
        elif language == "auto":
            language = None
        if language is not None and language not in vocabulary.languages:
            known = ", ".join(sorted(vocabulary.languages))
            raise InputError(f"the checkpoint has no language {language!r}. It has {known}.")
        return Situation(
            language=language,
            layout=request.layout,
            instruction=tuple(instruction),
            speaker=self.row,
            has_embedding=self.embedding is not None,
            words=self.words,
            frames=0 if self.codes is None else len(self.codes),
        )


def designed(name: str) -> Voice:
    """A voice that an instruction describes (voice_design)."""
    return Voice(name, takes_instructions=True)
