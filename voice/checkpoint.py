"""Qwen3-TTS checkpoints: where weights come from (hub, folder, or `tiny` built on the spot) and how they are loaded."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open

from voice import hub, tiny
from voice.errors import InputError
from voice.publish import publish
from voice.upstream import Qwen3TTSConfig, Qwen3TTSModel
from voice.weights import require_tensors

CACHE = Path(".cache/models")
TINY = "tiny"
A_SMALL_WEIGHT = "talker.model.norm.weight"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A folder in Hugging Face's layout and what it was resolved from."""

    path: Path
    source: str
    revision: str  # commit on the hub; content hash of a folder


def resolve(source: str, revision: str | None = None) -> Checkpoint:
    """Find or fetch a checkpoint: `tiny`, a folder, or a hub id; the revision of a folder is its `content_hash`.

    Raises InputError with the remedy.
    """
    if source == TINY:
        return _resolve_tiny()
    folder = require_checkpoint(hub.fetch(source, revision, instead="or use `model=tiny`."))
    if not Path(source).is_dir():
        return Checkpoint(folder, source, folder.name)
    content = content_hash(folder)
    if revision not in (None, content):
        raise InputError(f"{folder} holds {content}, not revision {revision}. Name that one, or null for any.")
    return Checkpoint(folder, source, content)


def _resolve_tiny() -> Checkpoint:
    code = hashlib.sha256(Path(tiny.__file__).read_bytes()).hexdigest()[:12]
    folder = CACHE / f"tiny-{code}"
    if not folder.is_dir():
        with publish(folder) as draft:
            tiny.build_tiny(draft)
    return Checkpoint(folder, TINY, content_hash(folder))


def require_checkpoint(folder: Path) -> Path:
    """Return `folder` if it holds a Qwen3-TTS checkpoint. Raises InputError that names what is missing."""
    for name in ("config.json", "generation_config.json", "speech_tokenizer/config.json"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder / name} is missing: not a Qwen3-TTS checkpoint. Download the whole folder again."
            )
    for part in (folder, folder / "speech_tokenizer"):
        if not any(part.glob("*.safetensors")):
            raise InputError(f"{part} holds no *.safetensors weights. Download the whole folder again.")
    return folder


def content_hash(folder: Path) -> str:
    """Hash of all files' names and bytes below `folder`, 16 hex digits.

    Without hidden ones (.git, the hub's .cache) and the model card, which decides nothing.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and _decides(p.relative_to(folder))):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _decides(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts) and path != Path("README.md")


def default_device() -> str:
    """`cuda:0` where there is one, else `cpu`."""
    return "cuda:0" if torch.cuda.is_available() else "cpu"


def attention(requested: str, device: str) -> str:
    """`auto` means flash_attention_2 where it is importable on CUDA, else sdpa."""
    if requested != "auto":
        return requested
    if device.startswith("cuda"):
        from transformers.utils.import_utils import is_flash_attn_2_available

        if is_flash_attn_2_available():
            return "flash_attention_2"
    return "sdpa"


def load(
    folder: Path, *, device: str, dtype: torch.dtype, attn_implementation: str = "auto", cloning: bool = False
) -> Qwen3TTSModel:
    """Load a checkpoint through the official package.

    With `cloning` a fine-tuned one is loaded as a base: it kept the speaker encoder, so it can clone as well. Raises
    InputError if it did not.
    """
    options = {"config": _as_base(require_checkpoint(folder))} if cloning else {}
    require_tensors(require_checkpoint(folder), options.get("config"))
    if torch.device(device).type == "cpu":
        device = "cpu"  # one of several processes is on `cpu:0`, which the library takes for the first CUDA device
    return Qwen3TTSModel.from_pretrained(
        str(folder),
        device_map=device,
        dtype=dtype,
        attn_implementation=attention(attn_implementation, device),
        **options,
    )


def _as_base(folder: Path) -> Qwen3TTSConfig:
    if not any(name.startswith("speaker_encoder.") for name in tensor_names(folder)):
        raise InputError(f"{folder} has no speaker encoder, so it cannot clone. Use a Base model in conf/model/.")
    config = Qwen3TTSConfig.from_pretrained(str(folder))
    config.tts_model_type = "base"
    return config


def tensor_names(folder: Path) -> set[str]:
    """Names of the weights in a checkpoint's own files, those of its speech tokenizer left out."""
    names: set[str] = set()
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            names.update(file.keys())
    return names


def stored_dtype(folder: Path) -> torch.dtype:
    """The dtype that the talker's weights have on the disk: bfloat16 in the published checkpoints."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if A_SMALL_WEIGHT in file.keys():  # noqa: SIM118  not a mapping
                return file.get_tensor(A_SMALL_WEIGHT).dtype
    raise InputError(f"{folder} holds no {A_SMALL_WEIGHT}. Download the whole folder again.")


def parameter_count(folder: Path) -> int:
    """Weights of a checkpoint without its speech tokenizer, read from the files' headers."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            total += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    return total


def inference_dtype(device: str) -> torch.dtype:
    """bfloat16 on CUDA, as published; float32 on CPU, where bf16 is emulated."""
    return torch.bfloat16 if device.startswith("cuda") else torch.float32
