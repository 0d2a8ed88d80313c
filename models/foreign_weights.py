"""Weights of other projects: `.safetensors` files with the names of Hugging Face, of authors, or of timm.

1. The file is read, and its naming scheme recognised by one tensor (`foreign_names.SCHEMES`).
2. For every layer of the network its tensors are looked up and brought into Keras' shapes.
3. A file of another architecture or size is refused; what else is missing, unexpected or of another shape is reported.
4. Only then is the network changed.
"""

import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from models.catalogue import Network
from models.foreign_names import SCHEMES, NamingScheme, Source, Tensors
from models.loaded_weights import LoadedWeights, WeightsError, first_line, layers_with_weights
from models.terminal import shell_words

SUFFIX = ".safetensors"
PICKLES = (".bin", ".pth", ".pt", ".ckpt", ".pkl")
# By the variable's name in Keras: the tensor's in PyTorch.
TENSORS = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
BLOCK = re.compile(r"stage\d+_block\d+|block_\d+")  # what the names of all layers of one block begin with


@dataclass
class Found:
    """What a file holds for a network: by layer its values, and the names of layers and tensors left over."""

    values: dict[str, list[np.ndarray]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)  # there, here
    used: set[str] = field(default_factory=set)


def load_foreign_weights(model: keras.Model, network: Network, path: Path) -> LoadedWeights:
    """Give `model`, a network of the catalogue, what a `.safetensors` file of another project holds for it.

    Raises:
        WeightsError: the file is damaged, of unknown names, or of another architecture or size; `model` is unchanged.
    """
    scheme, tensors = recognised(read_tensors(path), path)
    if not network.backbone.startswith(scheme.backbone):
        raise WeightsError(
            f"{path} holds {scheme.title}, and {network.title} has no such backbone: choose --model to suit the file, "
            "or other weights"
        )
    if scheme.refusal:
        published = f"--weights imagenet, a copy of {network.imagenet}, or " if network.imagenet else ""
        raise WeightsError(
            f"{path} holds {scheme.title}: {scheme.refusal(network.backbone).format(network=network.title)}: pass "
            f"{published}--weights none"
        )
    tensors = scheme.adapted(tensors)
    found = found_for(model, scheme, tensors)
    check_size(network, scheme, found, tensors, path)
    for name, values in found.values.items():
        model.get_layer(name).set_weights(values)
    unexpected = sorted(name for name in tensors if name not in found.used and not name.endswith("num_batches_tracked"))
    return LoadedWeights(
        origin=str(path),
        kind="backbone" if any(name.startswith("head_") for name in found.missing) else "checkpoint",
        loaded=tuple(found.values),
        missing=tuple(found.missing),
        mismatched=tuple(found.mismatched),
        unexpected=tuple(unexpected),
        notes=tuple(note for note in (scheme.note, network.licence) if note),
    )


def read_tensors(path: Path) -> Tensors:
    """All tensors of a `.safetensors` file, floating-point ones as float32.

    Raises:
        WeightsError: not such a file, a part of one, or numbers that are not finite.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError, TypeError) as error:
        raise WeightsError(
            f"{path} is not a whole safetensors file ({first_line(error)}): download or save it again"
        ) from error
    for name, values in tensors.items():
        if not np.issubdtype(values.dtype, np.integer):
            tensors[name] = values.astype(np.float32)
            if not np.isfinite(tensors[name]).all():
                raise WeightsError(f"{path} holds numbers in {name} that are not finite: choose other weights")
    return tensors


def recognised(tensors: Tensors, path: Path) -> tuple[NamingScheme, Tensors]:
    """The file's scheme, and its tensors without a prefix.

    Raises:
        WeightsError: no scheme's names, or the backbone is there several times.
    """
    for scheme in SCHEMES:
        prefixes = [name.removesuffix(scheme.landmark) for name in tensors if is_landmark(name, scheme)]
        if len(prefixes) > 1:
            raise WeightsError(
                f"{path} holds {len(prefixes)} networks (their tensors begin with {', '.join(sorted(prefixes))}): "
                "keep one of them in a file of its own"
            )
        if prefixes:
            return scheme, unprefixed(tensors, prefixes[0])
    known = ", ".join(scheme.title for scheme in SCHEMES if not scheme.refusal)
    first = f"its first is {min(tensors)}" if tensors else "it is empty"
    raise WeightsError(f"{path} holds no names that are known here ({first}): expected {known}")


def is_landmark(name: str, scheme: NamingScheme) -> bool:
    return name == scheme.landmark or name.endswith(f".{scheme.landmark}")


def unprefixed(tensors: Tensors, prefix: str) -> Tensors:
    """The backbone's tensors without their prefix ("module.backbone."), the head's without its own ("module.")."""
    shared = re.sub(r"[^.]+\.$", "", prefix)
    return {name.removeprefix(prefix).removeprefix(shared): values for name, values in tensors.items()}


def found_for(model: keras.Model, scheme: NamingScheme, tensors: Tensors) -> Found:
    """Look up every layer of `model`, convert what is there, and compare shapes; `model` stays as it is."""
    found = Found()
    for layer in layers_with_weights(model):
        source = scheme.source(model.name, layer.name)
        names = [f"{source.name}.{TENSORS[variable.name]}" for variable in layer.weights] if source else []
        if not names or not set(names) <= set(tensors):
            found.missing.append(layer.name)
            continue
        found.used |= set(names)
        values = converted(layer, source, [tensors[name] for name in names], scheme.epsilon)
        pairs = [(value.shape, tuple(weight.shape)) for value, weight in zip(values, layer.weights, strict=True)]
        differing = [pair for pair in pairs if pair[0] != pair[1]]
        if differing:
            found.mismatched[layer.name] = differing[0]
        else:
            found.values[layer.name] = values
    return found


def converted(layer: keras.Layer, source: Source, values: list[np.ndarray], epsilon: float) -> list[np.ndarray]:
    """The tensors of one module, in the order and the layout of the layer's variables."""
    parts = [part_of(value, source) for value in values]
    if isinstance(layer, keras.layers.BatchNormalization):
        return with_epsilon(parts, epsilon, layer.epsilon)
    return [in_keras_order(layer, value) for value in parts]


def part_of(value: np.ndarray, source: Source) -> np.ndarray:
    """The source's share of a tensor's channels; a tensor without that axis, or not divisible, stays whole."""
    if source.parts == 1 or value.ndim <= source.axis or value.shape[source.axis] % source.parts:
        return value
    return np.split(value, source.parts, axis=source.axis)[source.part]


def with_epsilon(values: list[np.ndarray], there: float, here: float) -> list[np.ndarray]:
    """Gamma, beta, mean, variance for a layer with another epsilon than the file's network: gamma makes up for it."""
    gamma, beta, mean, variance = values
    if here != there:
        gamma = (gamma * np.sqrt((variance + here) / (variance + there))).astype(np.float32)
    return [gamma, beta, mean, variance]


def in_keras_order(layer: keras.Layer, value: np.ndarray) -> np.ndarray:
    """A kernel [out, in, height, width], or [out, in] of a linear layer, as the layer has it; a vector as it is."""
    if value.ndim == 2:
        value = value[:, :, None, None]
    if value.ndim != 4:
        return value
    # A depthwise kernel is [channels, 1, height, width] there and [height, width, channels, 1] here.
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return np.ascontiguousarray(value.transpose((2, 3, 0, 1) if is_depthwise else (2, 3, 1, 0)))


def check_size(network: Network, scheme: NamingScheme, found: Found, tensors: Tensors, path: Path) -> None:
    """Refuse a backbone of another width or depth; single tensors that are missing, and heads, are reported only."""
    for difference in differences(scheme, found, tensors):
        raise WeightsError(
            f"{path} holds {scheme.title}, but of another size than {network.title} ({difference}): choose --model to "
            "suit the file, or other weights"
        )


def differences(scheme: NamingScheme, found: Found, tensors: Tensors) -> Iterator[str]:
    """What tells that the file's backbone is another one."""
    for layer, (there, here) in found.mismatched.items():
        if not layer.startswith("head_"):
            yield f"{layer} is {there} there and {here} here"
    # Blocks of which the file has no layer at all.
    with_values = {block_of(name) for name in (*found.values, *found.mismatched)}
    for name in found.missing:
        if BLOCK.match(name) and block_of(name) not in with_values:
            yield f"it lacks {block_of(name)}"
    # Blocks of which the network has no layer at all.
    block = re.compile(scheme.block)
    taken = {match[0] for match in map(block.match, found.used) if match}
    for name in sorted(tensors):
        match = block.match(name)
        if match and match[0] not in taken:
            yield f"{match[0].rstrip('.')} has no counterpart here"


def block_of(layer: str) -> str:
    match = BLOCK.match(layer)
    return match[0] if match else layer


def is_pickle(path: Path) -> bool:
    """Is this a file of `torch.save`, or an archive with one? Its name, its first bytes, or the names inside tell."""
    if path.suffix.lower() in PICKLES:
        return True
    with path.open("rb") as file:
        if file.read(2) == b"\x80\x02":
            return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(("data.pkl", *PICKLES)) for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def conversion(path: Path) -> str:
    """The sentence that refuses a pickle, with the command that makes a safetensors file of it."""
    target = path.with_suffix(SUFFIX)
    return (
        f"{path} is a pickle of PyTorch, which can run code when it is read: take its tensors out with `python "
        f"models/convert_torch.py {shell_words(str(path), str(target))}`, which runs nothing of it, then "
        "pass the new file"
    )
