"""The speech tokenizer while it learns: stock encoder and decoder, our codebooks between them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from safetensors.torch import load_file
from torch import Tensor, nn

from pipelines.pretrain.codec import layers
from pipelines.pretrain.codec.data import LETTERS, SYMBOLS
from pipelines.pretrain.codec.loss import Envelope, Periods
from pipelines.pretrain.codec.quantize import Codebooks, Vectors
from pipelines.pretrain.weights import WEIGHTS_FILE, save_weights
from voice.audio import FRAME_SAMPLES
from voice.bounds import within
from voice.errors import InputError
from voice.fresh import write_config, write_feature_extractor
from voice.upstream import Qwen3TTSTokenizerV2Config, Qwen3TTSTokenizerV2Model

READER = 256  # width of what tells letters from the first codebook


@dataclass(kw_only=True)
class Shape:  # conf/nano/codec.yaml
    """Widths of the codec."""

    codebooks: int = within(low=2)
    codebook_size: int = within(low=2)
    codebook_dim: int = within(low=1)
    encoder_filters: int = within(low=1)
    encoder_residuals: int = within(low=1)
    encoder_hidden: int = within(low=1)
    encoder_layers: int = within(low=0)
    decoder_latent: int = within(low=1)
    decoder_hidden: int = within(low=1)
    decoder_layers: int = within(low=0)
    decoder_window: int = within(low=1)
    decoder_dim: int = within(low=1)
    upsampling_ratios: list[int]
    upsample_rates: list[int]
    heads: int = within(low=1)


def build(shape: Shape) -> Any:
    """A stock model with random weights."""
    config = Qwen3TTSTokenizerV2Config(
        encoder_config={
            "hidden_size": shape.encoder_hidden,
            "num_filters": shape.encoder_filters,
            "num_residual_layers": shape.encoder_residuals,
            "codebook_size": shape.codebook_size,
            "codebook_dim": shape.codebook_dim,
            "vector_quantization_hidden_dimension": shape.codebook_dim,
            "num_quantizers": shape.codebooks,
            "upsample_groups": shape.encoder_hidden,
            "num_hidden_layers": shape.encoder_layers,
            "intermediate_size": 4 * shape.encoder_hidden,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "head_dim": shape.encoder_hidden // shape.heads,
            "layer_scale_initial_scale": 0.1,  # the published 0.01 is for 8 layers; with it few layers learn late
        },
        decoder_config={
            "codebook_size": shape.codebook_size,
            "codebook_dim": 2 * shape.codebook_dim,  # the decoder's quantizer halves it
            "hidden_size": shape.decoder_hidden,
            "latent_dim": shape.decoder_latent,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.heads,
            "head_dim": shape.decoder_hidden // shape.heads,
            "intermediate_size": 3 * shape.decoder_hidden,
            "num_hidden_layers": shape.decoder_layers,
            "num_quantizers": shape.codebooks,
            "sliding_window": shape.decoder_window,
            "decoder_dim": shape.decoder_dim,
            "upsampling_ratios": shape.upsampling_ratios,
            "upsample_rates": shape.upsample_rates,
            "layer_scale_initial_scale": 0.1,
        },
        encoder_valid_num_quantizers=shape.codebooks,
    )
    total = int(torch.tensor([*shape.upsampling_ratios, *shape.upsample_rates]).prod())
    if total != FRAME_SAMPLES:
        raise InputError(f"upsampling_ratios times upsample_rates give {total} samples a frame, not {FRAME_SAMPLES}.")
    model = Qwen3TTSTokenizerV2Model(config)
    _initialise(model)
    return model


@torch.no_grad()
def _initialise(model: Any) -> None:
    for module in model.modules():
        if type(module).__name__ == "Qwen3TTSTokenizerV2ConvNeXtBlock":
            module.gamma.fill_(0.1)  # 1e-6, the library's, takes thousands of steps to wake up
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5 * module.in_features**-0.5)  # 0.02 is for wide layers
    # As it comes, the encoder sees speech (0.05) as a ripple on its biases (0.4): a straight line there, and the steps
    # down average it away. At a power of one its activations bend, and tell how loud each band is.
    first = model.encoder.encoder.layers[0].conv
    for module in model.encoder.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.normal_(module.weight, std=1.2 * (module.in_channels * module.kernel_size[0]) ** -0.5)
            if module.bias is not None:
                module.bias.zero_()
    first.weight.mul_(20.0)
    # As they come, the waveform blocks fade to 1e-6. Where each passes its input's power on, the last layer needs
    # weights of 1e-3 to be as quiet as speech, of the size of one step of the optimiser, and swings. So: half of it.
    for module in model.decoder.modules():
        if isinstance(module, nn.Conv1d):
            nn.init.normal_(module.weight, std=(module.in_channels / module.groups * module.kernel_size[0]) ** -0.5)
        elif isinstance(module, nn.ConvTranspose1d):
            taps = module.kernel_size[0] // module.stride[0]
            nn.init.normal_(module.weight, std=(module.in_channels * taps) ** -0.5)
    *blocks, last_snake, _ = model.decoder.decoder[1:]
    for depth, (snake, step, *units) in enumerate(block.block for block in blocks):
        step.conv.weight.mul_(0.5)
        _bend_at(snake, depth)
        for unit in units:
            unit.conv2.conv.weight.mul_(0.3)
            _bend_at(unit.act1, depth + 1)
            _bend_at(unit.act2, depth + 1)
    _bend_at(last_snake, len(blocks))


def _bend_at(snake: Any, depth: int) -> None:
    # x + sin(a x)^2 / a is the same curve at every scale 1 / a; for signals much smaller it is a straight line
    for logarithm in (snake.alpha, snake.beta):
        logarithm.fill_(0.6 + 0.4 * depth)  # 0.55 after the first convolution, 0.67 of it after each block


class Output(NamedTuple):
    """One pass through the codec."""

    audio: layers.Audio | None  # if asked for
    envelope: Float[Tensor, "rows time bands"]  # what the features before the waveform tell of it (loss.Envelope)
    periods: Float[Tensor, "rows time lags"]  # the same (loss.Periods)
    letters: Float[Tensor, "batch frames LETTERS SYMBOLS"]  # logits: what the first codebook alone tells
    commitment: Tensor
    codes: Int[Tensor, "vectors codebooks"] | None


class TrainableCodec(nn.Module):
    """A stock model whose codes are chosen by codebooks that learn. Until `start_quantising` it is an autoencoder.

    What the first codebook holds is learnt from letters alone (as from a recogniser in arXiv:2410.00037): the talker
    predicts it from a text. How the voice sounds is for the others; each may be the last that the decoder is given, so
    that those which the code predictor makes first matter most.
    """

    def __init__(self, shape: Shape, *, decay: float, revive_below: float) -> None:
        super().__init__()
        self.shape = shape
        self.stock = build(shape)
        size, dim = shape.codebook_size, shape.codebook_dim
        self.first = Codebooks(1, size, dim, decay=decay, revive_below=revive_below)
        self.rest = Codebooks(shape.codebooks - 1, size, dim, decay=decay, revive_below=revive_below)
        self.hop = FRAME_SAMPLES // int(torch.tensor(shape.upsampling_ratios).prod())  # samples per feature
        self.envelope, self.periods = Envelope(self.hop), Periods(self.hop)
        self.teller = nn.Linear(shape.decoder_latent, self.envelope.bands)
        nn.init.constant_(self.teller.bias, -5.0)  # the mean of log-mels of speech
        self.tuner = nn.Linear(shape.decoder_latent, Periods.LAGS)
        nn.init.zeros_(self.tuner.weight)  # good features, of an unpacked checkpoint, are not pulled at random
        self.reader = nn.Sequential(nn.Linear(dim, READER), nn.GELU(), nn.Linear(READER, LETTERS * SYMBOLS))
        self.quantising: Tensor
        self.register_buffer("quantising", torch.tensor(False))

    def _halves(self) -> tuple[tuple[Any, Any, Codebooks], tuple[Any, Any, Codebooks]]:
        encoder, decoder = self.stock.encoder.quantizer, self.stock.decoder.quantizer
        return (
            (encoder.semantic_residual_vector_quantizer, decoder.rvq_first, self.first),
            (encoder.acoustic_residual_vector_quantizer, decoder.rvq_rest, self.rest),
        )

    def latents(self, audio: layers.Audio) -> layers.Features:
        """What is to be quantised, before the projections: 12.5 vectors a second."""
        return layers.contextualise(layers.analyse(audio, self.stock.encoder), self.stock.encoder)

    def forward(
        self,
        audio: layers.Audio,
        *,
        quantise: bool,
        sound: bool = True,
        kept: Int[Tensor, " batch"] | None = None,
        forced: Int[Tensor, "forced frames codebooks"] | None = None,
    ) -> Output:
        """Encode, quantise (if so far) and decode crops of whole frames; up to the waveform if `sound`.

        Of each crop's codebooks after the first the decoder is given `kept`; by default all. What it makes of `forced`
        codes comes after the crops, in `audio`, `envelope` and `periods`.
        """
        latents = self.latents(audio)
        batch, time, _ = latents.shape
        parts, commitment, codes = [], latents.new_zeros((), dtype=torch.float32), []
        letters = latents.new_zeros(0)
        said = forced.tensor_split([1], dim=-1) if forced is not None else (None, None)
        for (encoder, decoder, books), given in zip(self._halves(), said, strict=True):
            vectors = layers.convolve(latents, encoder.input_proj)
            if quantise:
                levels = None if kept is None or books is self.first else kept.repeat_interleave(time)
                with torch.autocast(latents.device.type, enabled=False):
                    # once there is sound, codes are final (train.Schedule)
                    quantised = books(
                        vectors.float().reshape(batch * time, -1), learn=self.training and not sound, levels=levels
                    )
                vectors = quantised.vectors.reshape(batch, time, -1)
                commitment = commitment + quantised.commitment
                codes.append(quantised.codes)
            if books is self.first:
                letters = self.reader(vectors).view(batch, time, LETTERS, SYMBOLS)
                vectors = vectors.detach()
            if given is not None:
                vectors = torch.cat([vectors, books.look_up(given).to(vectors.dtype)])
            parts.append(layers.convolve(vectors, decoder.output_proj))
        hidden = layers.foresee(parts[0] + parts[1], self.stock.decoder)
        features = layers.refine(hidden, self.stock.decoder)
        rendered = layers.render(features, self.stock.decoder) if sound else None
        told = self.teller(features), self.tuner(features)
        return Output(rendered, *told, letters, commitment, torch.cat(codes, dim=1) if codes else None)

    def restore(self, weights: dict[str, Tensor]) -> None:
        """Take the weights of a training run. Raises InputError if they are of another network."""
        try:
            self.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(
                "the codec's state is of another network than conf/nano/codec.yaml and this version make. "
                "Move its folder away; `python -m pipelines.pretrain.unpack` begins from pretrained/nano."
            ) from error

    @torch.no_grad()
    def start_quantising(self, latents: Vectors, *, iterations: int) -> None:
        """Give latents unit variance, by moving their scale into the projections, and put codebooks where they lie.

        Quantised from the first step, latents collapse: codebooks chase them while they shrink (docs/log.md).
        """
        for encoder, decoder, books in self._halves():
            vectors = layers.convolve(latents.unsqueeze(0), encoder.input_proj).squeeze(0)
            scale = (vectors - vectors.mean(0)).square().mean().sqrt()
            encoder.input_proj.weight.div_(scale)
            decoder.output_proj.weight.mul_(scale)
            books.fit(vectors / scale, iterations=iterations)
        self.quantising.fill_(True)

    @torch.no_grad()
    def write(
        self, folder: Path, *, step: int, weights: dict[str, Tensor] | None = None, dtype: torch.dtype = torch.float16
    ) -> None:
        """Write the `speech_tokenizer` folder that stock `qwen_tts` loads; `weights` replace those of `stock`."""
        folder.mkdir(parents=True)
        tensors = {**self.stock.state_dict(), **(weights or {})}
        for prefix, decoder_prefix, books in self._stored():
            for level, book in enumerate(books.vectors):
                for side, total in (
                    (f"{prefix}.layers.{level}.codebook", "embed_sum"),
                    (f"{decoder_prefix}.vq.layers.{level}._codebook", "embedding_sum"),
                ):
                    tensors[f"{side}.{total}"] = book
                    tensors[f"{side}.cluster_usage"] = torch.ones(len(book))
        stored = {name: tensor.detach().cpu().to(dtype).contiguous().clone() for name, tensor in tensors.items()}
        save_weights(stored, folder, codec=step)
        write_config(self.stock.config.to_dict(), folder)
        write_feature_extractor(folder)

    @torch.no_grad()
    def read(self, folder: Path) -> None:
        """Take weights and codebooks from a folder that `write` wrote. What tells spectra and the like stays."""
        tensors = load_file(folder / WEIGHTS_FILE)
        self.stock.load_state_dict(tensors)
        for prefix, _, books in self._stored():
            for level in range(len(books.sums)):
                books.sums[level] = tensors[f"{prefix}.layers.{level}.codebook.embed_sum"]
            books.usage.fill_(1.0)
        self.quantising.fill_(True)

    def _stored(self) -> tuple[tuple[str, str, Codebooks], tuple[str, str, Codebooks]]:
        # names of the encoder's and the decoder's copy
        return (
            ("encoder.quantizer.semantic_residual_vector_quantizer", "decoder.quantizer.rvq_first", self.first),
            ("encoder.quantizer.acoustic_residual_vector_quantizer", "decoder.quantizer.rvq_rest", self.rest),
        )


def parameters_by_part(model: Any) -> dict[str, int]:
    """How many numbers each half stores, codebooks included."""
    return {name: sum(t.numel() for t in getattr(model, name).state_dict().values()) for name in ("encoder", "decoder")}


def perplexity(usage: Float[Tensor, " size"]) -> float:
    """How many codes are in use, each counted by how often it is."""
    share = usage / usage.sum()
    return float(torch.exp(-(share * (share + 1e-9).log()).sum()))
