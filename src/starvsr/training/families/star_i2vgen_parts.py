"""The parts of the published STAR for training: where the network starts from, and what stays as it is.

The network starts from VEnhancer, from a published STAR or from another run; VAE and text tower are those that
`starvsr upscale` uses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from starvsr.errors import DataError, WeightsError
from starvsr.families.registry import get_spec, names_of
from starvsr.families.star_i2vgen.load import load_text, load_vae
from starvsr.families.star_i2vgen.prompts import NEGATIVE_PROMPT, USER_PROMPT, join_prompts
from starvsr.families.star_i2vgen.spec import StarI2VGenSpec
from starvsr.models.star.config import StarUNetConfig
from starvsr.models.star.unet import StarUNet
from starvsr.models.text.clip_encoder import TextTower
from starvsr.models.text.clip_tokenizer import Tokenizer
from starvsr.models.vae.codec import TemporalVaeCodec
from starvsr.models.weights import build_empty, known_digest, load_star_unet, load_training_start, read_tensors
from starvsr.models.weights.cache import Places
from starvsr.models.weights.locate import find_start
from starvsr.models.weights.star import is_venhancer
from starvsr.training.config import TrainConfig
from starvsr.training.model import Start

KEPT_CAPTIONS = 1024
"""Captions whose features are held, 0.3 MB each."""

_WHOLE_CLIP = 1 << 20
"""Frames of a group of the codec: the training cuts clips into slices itself."""


class CaptionedStar(nn.Module):
    """A STAR network conditioned on text features instead of a learned context."""

    def __init__(self, config: StarUNetConfig) -> None:
        """Build with fresh weights."""
        super().__init__()
        self.unet = StarUNet(config)

    def forward(self, x: Tensor, timesteps: Tensor, hint: Tensor, context: Tensor) -> Tensor:
        """Return the velocity [B, C, T, h, w]; sizes as :class:`StarUNet` takes them."""
        out: Tensor = self.unet(x, timesteps, context, hint)
        return out


class CaptionReader:
    """Turns captions into text features; each caption is read once as long as it is remembered."""

    def __init__(
        self, tokenizer: Tokenizer, tower: TextTower, *, dropped: str = "", autocast: torch.dtype | None = None
    ) -> None:
        """Build.

        Args:
            tokenizer: Cuts captions into tokens; what is beyond 75 is left off.
            tower: The text tower, frozen here.
            dropped: What is read in place of a caption that is not there.
            autocast: Type that the tower's matrices are multiplied in; None is theirs.
        """
        self.tokenizer, self.tower, self.dropped = tokenizer, tower.eval().requires_grad_(False), dropped
        self._autocast = autocast
        self._read: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, captions: Sequence[str | None]) -> Tensor:
        """Return features [B, 77, D], float32 on the tower's device."""
        return torch.stack([self._features((caption or "").strip() or self.dropped) for caption in captions])

    @torch.no_grad()
    def _features(self, text: str) -> Tensor:
        """Read one text alone, so that its features do not depend on the batch."""
        if text not in self._read:
            ids = torch.tensor([self.tokenizer.context_ids(text)], device=self.tower.positional_embedding.device)
            scope = torch.autocast(ids.device.type, self._autocast) if self._autocast else nullcontext()
            with scope:
                self._read[text] = self.tower(ids)[0].float()
            if len(self._read) > KEPT_CAPTIONS:
                self._read.popitem(last=False)
        self._read.move_to_end(text)
        return self._read[text]


def find_parts(config: TrainConfig, word: str) -> dict[str, Path]:
    """Return the paths of the network's start and of the fixed parts, by the names of `ModelFiles`.

    Args:
        config: The recipe.
        word: "venhancer", a published model's name, a path, or "" for none.

    Raises:
        WeightsError: something is not on this machine; the message names the command that gets it.
    """
    places = Places(Path(config.models).expanduser() if config.models else None)
    model = get_spec(config.model, StarI2VGenSpec)
    if word == "venhancer":
        return find_start(word, model, places=places)
    if word in names_of(StarI2VGenSpec):
        return find_start(get_spec(word, StarI2VGenSpec).parts["unet"][0], model, places=places)
    return find_start("", model, Path(word).expanduser() if word else None, places)


def load_network(
    unet: StarUNetConfig, word: str, path: Path | None, *, seed: int, digest: str | None = None
) -> tuple[CaptionedStar, Start]:
    """Build the network with the weights that its training starts from, mapped from their file.

    Args:
        unet: Its sizes.
        word: See :class:`Start`.
        path: The weights of STAR or of VEnhancer; None draws fresh ones.
        seed: Of what is new.
        digest: What the file's SHA-256 must be; None takes any.

    Raises:
        WeightsError: the file is damaged, or not exactly this network's.
        DataError: it is not the file that the run began with.
    """
    if path is None:
        torch.manual_seed(seed)
        return CaptionedStar(unet), Start()
    if not path.exists():
        raise WeightsError(f"no weights at {path}, which the run began with: put them back")
    found = known_digest(path) if path.is_file() else None
    if digest is not None and found != digest:
        raise DataError(
            f"{path} is not the file that the run began with (SHA-256 {found}, then {digest}): the parts that do not "
            "train are read from it, so put it back, or begin another run"
        )
    network = build_empty(lambda: CaptionedStar(unet))
    new: tuple[str, ...] = ()
    if is_venhancer(read_tensors(path)):
        begun = load_training_start(path, unet, seed=seed)
        network.unet, new = begun.network, begun.new
    else:
        network.unet = load_star_unet(path, unet)
    is_name = word == "venhancer" or word in names_of(StarI2VGenSpec)
    return network.train(), Start(word if is_name else str(path.resolve()), path, found, new)


def load_codec(files: dict[str, Path], config: TrainConfig, device: torch.device | str) -> TemporalVaeCodec:
    """Load the VAE for training: float32, the decoder's blocks recomputed in the backward pass."""
    vae = load_vae(files.get("vae"), files.get("vae/config.json"))
    vae.decoder.activation_checkpointing = config.run.activation_checkpointing
    decode = torch.bfloat16 if config.run.codec_precision == "bf16" else None
    return TemporalVaeCodec(vae.to(device), group=_WHOLE_CLIP, overlap=0, decode_dtype=decode)


def load_reader(files: dict[str, Path], config: TrainConfig, device: torch.device | str) -> CaptionReader:
    """Load tokenizer and text tower; in a bfloat16 run its matrices are held in bfloat16."""
    tokenizer, tower = load_text(files.get("text"), files.get("text/merges.txt"))
    autocast = None
    if config.run.precision == "bf16":
        autocast = torch.bfloat16
        cast = {n: v.to(autocast) if is_matrix(n, v) else v for n, v in tower.state_dict().items()}
        tower.load_state_dict(cast, assign=True)
    dropped = NEGATIVE_PROMPT if config.data.dropped_caption == "negative" else ""
    return CaptionReader(tokenizer, tower.to(device), dropped=dropped, autocast=autocast)


def is_matrix(name: str, value: Tensor) -> bool:
    """Whether a tensor of the text tower is only multiplied by; embeddings are added up in float32."""
    return value.ndim > 1 and "embedding" not in name


def default_prompts(reader: CaptionReader) -> tuple[str, str]:
    """Return the texts that `starvsr upscale` gives the network by default: what is wanted, and what is not."""
    return join_prompts(USER_PROMPT, reader.tokenizer), NEGATIVE_PROMPT


def whole_tensors(start: Start, own: dict[str, Tensor], unet: StarUNetConfig, seed: int) -> dict[str, Tensor]:
    """Return all tensors of a network by the published names, those that never trained from the start's file.

    Args:
        start: What the run began with.
        own: What the run has, by its own names.
        unet: Sizes of the network.
        seed: Of the recipe: what is new in the network and never trained is drawn again from it.

    Raises:
        WeightsError: the start's file is gone or damaged.
        DataError: it is another file.
    """
    tensors = {name.removeprefix("unet."): value for name, value in own.items()}
    names = build_empty(lambda: StarUNet(unet)).state_dict()
    if all(name in tensors for name in names):
        return {name: tensors[name] for name in names}
    if start.path is None:
        lost = [name for name in names if name not in tensors]
        raise DataError(f"the checkpoint lacks {len(lost)} tensors ({lost[0]}, ...): it is damaged; use the one before")
    network, _ = load_network(unet, start.word, start.path, seed=seed, digest=start.digest)
    return network.unet.state_dict() | tensors
