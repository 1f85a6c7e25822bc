"""A LoRA voice on its own: some megabytes that make any copy of the base speak as it.

    adapter/   adapter_config.json  adapter_model.safetensors  speaker.safetensors  adapter.json  reference.wav  .txt

Apply it to the base it was trained on, at another scale for instance:

    python -m pipelines.train.adapter adapter=models/demo/finetuned/adapter scale=0.7 out=models/demo/softer
"""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipelines.train.export import export
from pipelines.train.lora import merge_adapters, set_scale
from pipelines.train.speakers import add_speaker
from voice import checkpoint
from voice.bounds import within
from voice.errors import InputError
from voice.pack import Reference, VoiceCard
from voice.publish import publish
from voice.stage import stage

log = logging.getLogger(__name__)

ADAPTER = "adapter"
CARD_FILE, SPEAKER_FILE = "adapter.json", "speaker.safetensors"


def save_adapter(folder: Path, adapted: PeftModel, card: VoiceCard, embedding: Tensor, reference: Reference) -> None:
    """Write an adapter with all that a voice needs besides the base."""
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card
    save_file({"speaker_embedding": embedding.contiguous()}, folder / SPEAKER_FILE)
    (folder / CARD_FILE).write_text(json.dumps(asdict(card), indent=2) + "\n", encoding="utf-8")
    reference.copy_to(folder)


@dataclass(kw_only=True)
class Adapter:  # conf/adapter.yaml
    """Settings of the command."""

    adapter: str
    out: str
    base: str | None  # null: the one it was trained on
    scale: float = within(low=0)


def apply_adapter(folder: Path, out: Path, *, base: str | None, scale: float) -> None:
    """Merge an adapter into its base and write a voice pack. Raises InputError if the base has another shape."""
    try:
        card = VoiceCard(**json.loads((folder / CARD_FILE).read_text(encoding="utf-8")))
        embedding = load_file(folder / SPEAKER_FILE)["speaker_embedding"]
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise InputError(f"{folder}: is not an adapter ({error}). Name the folder that `finetune` wrote.") from error
    source = base or card.base
    # a folder may have changed: then it is said what that means
    found = checkpoint.resolve(source, None if base or Path(source).is_dir() else card.base_revision)
    if found.revision != card.base_revision:
        log.warning(
            "%s was trained on %s, revision %s; this is revision %s: of another model it is no voice.",
            *(folder, card.base, card.base_revision, found.revision),
        )
    tts = checkpoint.load(found.path, device="cpu", dtype=checkpoint.stored_dtype(found.path))
    try:
        add_speaker(tts.model, str(card.speaker), embedding)
        adapted = PeftModel.from_pretrained(tts.model.talker, str(folder))
    except RuntimeError as error:
        raise InputError(f"{folder} does not fit {found.source}. It was trained on {card.base}.") from error
    set_scale(adapted, scale)
    tts.model.talker = merge_adapters(adapted)
    with publish(out) as draft:
        export(found.path, draft, tts.model)
        card.write(draft)
        Reference.read(folder).copy_to(draft)


@stage(Adapter)
def main(config: Adapter) -> None:
    """Apply an adapter."""
    apply_adapter(Path(config.adapter), Path(config.out), base=config.base, scale=config.scale)
    log.info("%s speaks", config.out)


if __name__ == "__main__":
    main()
