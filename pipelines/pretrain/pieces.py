"""pieces: what `nano` reads: parts of words, joined as byte pairs of the project's own sentences are common.

    python -m pipelines.pretrain.pieces              # writes merges.txt, which is part of the project

Single letters come at 16 a second and frames at 12.5: beside the frames, text would lag behind what is spoken. Whole
words, in turn, are many and each is rarely heard. These come at 0.6 a frame, hardly ever at more than one.
"""

import json
import random
from functools import cache
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from pipelines.pretrain.sentences import Sentences

MERGES = Path(__file__).with_name("merges.txt")
COUNT = 300  # two letters each
SENTENCES = 25_000


@cache
def merges() -> tuple[str, ...]:
    """The lines of merges.txt."""
    return tuple(MERGES.read_text(encoding="utf-8").splitlines())


def learn() -> list[str]:
    """Byte pairs in the order in which they are joined."""
    sentences, alphabet = Sentences(random.Random(0), unordered=0.0), pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) + COUNT, initial_alphabet=sorted(alphabet), show_progress=False
    )
    tokenizer.train_from_iterator((sentences.draw(held_out=False) for _ in range(SENTENCES)), trainer)
    return [" ".join(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def main() -> None:
    """Write merges.txt."""
    MERGES.write_text("\n".join(learn()) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
