"""attempts: what the talker makes of texts, several times each, and how well that is understood.

    python -m pipelines.pretrain.talker.attempts     # the talker goes on with attempts=.cache/pretrain/attempts

The talker speaks by itself, as the engine would; the codec makes sound of it, and the aligner's recogniser tells how
many nats each letter of the text costs. Texts, references and voices are drawn as the talker's examples are. What is
already there stays.
"""

import logging
from functools import partial

from tqdm import tqdm

from pipelines.pretrain.talker.attempts.making import TEXTS, Attempts, make_folder
from pipelines.workers import workers
from voice.stage import stage

log = logging.getLogger(__name__)


@stage(Attempts)
def main(config: Attempts) -> None:
    """Say all texts that have not been said."""
    wanted = range(-(-config.texts // TEXTS))
    with workers(config.processes) as pool:
        done = pool.map(partial(make_folder, config=config), wanted)
        made = sum(tqdm(done, total=len(wanted), desc="attempts", unit="folder"))
    log.info("%d texts, %d attempts at each, in %s", made, config.attempts, config.out)


if __name__ == "__main__":
    main()
