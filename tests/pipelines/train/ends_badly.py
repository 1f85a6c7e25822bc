"""`pipelines.train.finetune` as a program, with judges who like each epoch much less than the one before."""

from pipelines.train.ears import Ears
from pipelines.train.finetune import main
from pipelines.train.listening import Heard
from tests.pipelines.train.voices import heard

LIKED = 0.9


def _hear(_: Ears, step: int) -> Heard:
    liked = LIKED - 0.1 * step
    return heard(step, liked, liked)  # by both sentences alike: no doubt about it


if __name__ == "__main__":
    Ears.hear = _hear  # type: ignore[method-assign]
    main()
