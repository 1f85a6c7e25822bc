"""One training from its newest state to its last update: what happens when."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from types import FrameType
from typing import Any

from accelerate import Accelerator
from tqdm import tqdm

from pipelines.train.choice import highest, kept, tired
from pipelines.train.curve import Step
from pipelines.train.distributed import said_by_first
from pipelines.train.ears import Ears
from pipelines.train.listening import Heard
from pipelines.train.settings import Listen, Train
from pipelines.train.snapshots import Snapshots
from pipelines.train.trainer import Trainer
from voice.errors import InputError
from voice.out_of_memory import is_out_of_memory

log = logging.getLogger(__name__)

OUT_OF_MEMORY = (
    "Lower train.max_positions or set train.gradient_checkpointing=always, and the same command goes on from the last "
    "state; or start anew with train.optimizer=adamw_8bit or train=lora."
)


class Stopped(Exception):  # noqa: N818  not an error: somebody asked for it
    """A signal asked for the end; the state is on the disk."""

    def __init__(self, signum: int, step: int, steps: int) -> None:
        super().__init__(f"stopped after update {step} of {steps}. Run the same command to go on from there.")
        self.signum = signum


@dataclass
class History:
    """What a training has measured so far; it is part of the state."""

    curve: list[Step] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    forgetting: list[Heard] = field(default_factory=list)  # before the first update, and of what is exported
    run_id: str = ""  # in MLflow

    def content(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return asdict(self)

    def restore(self, content: dict[str, Any]) -> None:
        """Take over what `content` gave."""
        self.curve = [Step.of(s) for s in content["curve"]]
        self.heard = [Heard.of(h) for h in content["heard"]]
        self.forgetting = [Heard.of(h) for h in content["forgetting"]]
        self.run_id = content["run_id"]


class Training:
    """A trainer, its states on the disk and its listener. Only the first process writes, listens and reports."""

    def __init__(
        self, trainer: Trainer, train: Train, snapshots: Snapshots, ears: Ears | None, accelerator: Accelerator
    ) -> None:
        self.history = History()
        self.trainer, self._train, self._snapshots, self._ears = trainer, train, snapshots, ears
        self._accelerator, self._signum = accelerator, 0

    def resume(self) -> None:
        """Go back to the newest whole state, if there is one."""
        snapshot = self._snapshots.latest()
        if self._accelerator.is_main_process:
            self._snapshots.forget_best_after(snapshot.state["step"] if snapshot else 0)
        if snapshot is None:
            return
        self.trainer.restore(snapshot.weights, snapshot.state)
        self.history.restore(snapshot.history)
        log.info("going on after update %d of %d", self.trainer.step, self.trainer.steps)

    def run(self) -> Iterator[Step | Heard]:
        """Train to the end and yield what was measured. Raises InputError or Stopped; nothing before it is lost."""
        with self._signals(), tqdm(
            total=self.trainer.steps, initial=self.trainer.step, desc="finetune", unit="update",
            disable=not self._accelerator.is_main_process,
        ) as bar:  # fmt: skip
            if not self.history.curve:
                yield from self._validate()
                yield from self._listen()
                self._check_forgetting(0)
            while self.trainer.step < self.trainer.steps and not self._is_tired():
                yield from self._note(step := self._update())
                bar.update()
                bar.set_postfix_str(f"loss {step.loss:.3f}, {step.tokens_per_second:.0f} tokens/s")
                yield from self._after_update()

    def keep_chosen(self) -> tuple[Heard | None, Step]:
        """Put the weights back that listening chose; validate them, and check what they forgot.

        Where nobody listened they are the last ones.
        """
        chosen = self._choose(self._train.listen) if self._train.listen else None
        # the first process alone has heard anything, but all validate, and on the same weights
        step = said_by_first(chosen.step if chosen else self.trainer.step, self._accelerator)
        if step != self.trainer.step:
            self.trainer.put_weights(self._snapshots.best(step))
        with self._memory():
            validation = self.trainer.validate()
        self._check_forgetting(step)
        return chosen, validation

    def _choose(self, listen: Listen) -> Heard | None:
        if self.trainer.step < self.trainer.steps:
            return highest(self.history.heard)  # patience ended it: the learning rate had not come to its end
        return kept(self.history.heard, confidence=listen.confidence)

    def _check_forgetting(self, step: int) -> None:
        if self._ears is None:
            return
        with self._memory():
            heard = self._ears.hear_untrained(step)
        self.history.forgetting += [heard] if heard else []

    def _update(self) -> Step:
        with self._memory():
            return self.trainer.update()

    @contextmanager
    def _memory(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise InputError(f"out of memory after update {self.trainer.step}. {OUT_OF_MEMORY}") from error

    def _after_update(self) -> Iterator[Step | Heard]:
        at_epoch = self.trainer.step % self.trainer.per_epoch == 0
        if at_epoch:
            yield from self._validate()
        every = self._train.listen.every if self._train.listen else None
        # the last weights are heard in any case: nothing unheard is exported
        if at_epoch if every is None else self.trainer.step % every == 0 or self.trainer.step == self.trainer.steps:
            yield from self._listen()
        signum = said_by_first(self._signum, self._accelerator)
        if signum or at_epoch or self.trainer.step % self._train.checkpoint_every == 0:
            self._save()
        if signum and self.trainer.step < self.trainer.steps:
            raise Stopped(signum, self.trainer.step, self.trainer.steps)

    def _note(self, step: Step) -> Iterator[Step]:
        self.history.curve.append(step)
        yield step

    def _validate(self) -> Iterator[Step]:
        with self._memory():
            step = self.trainer.validate()
        yield from self._note(step)

    def _listen(self) -> Iterator[Heard]:
        if self._train.listen is None:
            return
        if self._ears is not None:  # the first process alone has them; the others wait below
            with self._memory():
                self.history.heard.append(heard := self._ears.hear(self.trainer.step))
            if highest(self.history.heard) is heard:
                self._snapshots.save_best(self.trainer.step, self.trainer.parameters)
            yield heard
        self._accelerator.wait_for_everyone()

    def _is_tired(self) -> bool:
        listen = self._train.listen
        decided = listen is not None and tired(self.history.heard, patience=listen.patience)
        return bool(said_by_first(decided, self._accelerator))

    def _save(self) -> None:
        if self._accelerator.is_main_process:
            trainer = self.trainer
            self._snapshots.save(trainer.step, trainer.parameters, trainer.state(), self.history.content())

    def _signals(self) -> "_Signals":
        return _Signals(self._ask_to_stop)

    def _ask_to_stop(self, signum: int) -> None:
        self._signum = signum


class _Signals:
    """While it is entered, the first SIGTERM or SIGINT asks for the end after this update; the next ends at once."""

    def __init__(self, ask: Callable[[int], None]) -> None:
        self._ask = ask
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for signum in (signal.SIGTERM, signal.SIGINT):
            self._before[signum] = signal.signal(signum, self._handle)

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, self._before[signum])
        self._ask(signum)
