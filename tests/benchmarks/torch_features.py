"""Do weights of other projects give the same features here? Random weights, saved there, loaded here.

    python tests/benchmarks/torch_features.py --torch-python TORCH/bin/python

TORCH is an environment of its own: `pip install torch transformers timm segmentation-models-pytorch`. There the script
builds a network with random weights, saves these as a user would have them, and writes what the network gives for an
image; here it loads the file and compares, relative to the largest value. Status 1 if one differs by more than 1e-4.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

LIMIT = 1e-4
CASES = {  # by case: the network here
    "hugging_face_b0": "segformer_mit_b0",
    "hugging_face_b3": "segformer_mit_b3",
    "modules_b0": "segformer_mit_b0",
    "authors_b0": "daformer_mit_b0",
    "authors_b3": "daformer_mit_b3",
    "timm_mobilenet_odd": "deeplab_v2_mobilenet_v2",
    "timm_mobilenet_even": "deeplab_v2_mobilenet_v2",
}
SIZES = ((97, 131), (64, 160))  # of the images for transformers
CLASSES = 19
# MobileNetV2 pads otherwise at the border: what the border reaches, 17 cells of 16 pixels, is left out.
MOBILENET_SIZE, REACH, SHIFT = (673, 705), 18, 15


def write(folder: Path, case: str) -> None:
    """With PyTorch: `weights.safetensors`, and images and maps in `maps.npz`."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    writers = {"hugging": write_hugging_face, "modules": write_modules, "authors": write_authors, "timm": write_timm}
    with torch.no_grad():
        images, maps = writers[case.split("_")[0]](folder, case)
    arrays = {f"image_{index}": image for index, image in enumerate(images)}
    for index, several in enumerate(maps):
        arrays |= {f"map_{index}_{name}": value.permute(0, 2, 3, 1).numpy() for name, value in several.items()}
    np.savez(folder / "maps.npz", **arrays)


def write_hugging_face(folder: Path, case: str):
    network = segformer(case)
    network.save_pretrained(folder)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    return segformer_maps(network)


def write_modules(folder: Path, case: str):
    from safetensors.torch import save_file

    network = segformer(case)
    save_file(network.state_dict(), folder / "weights.safetensors")
    return segformer_maps(network)


def write_authors(folder: Path, case: str):
    from safetensors.torch import save_file
    from segmentation_models_pytorch.encoders import get_encoder

    network = lively(get_encoder(f"mit_{case[-2:]}", weights=None))
    save_file(network.state_dict(), folder / "weights.safetensors")
    images = [picture(size) for size in SIZES]
    levels = [network(standardised(image))[-4:] for image in images]
    return images, [{f"level_{number}": level for number, level in enumerate(several)} for several in levels]


def write_timm(folder: Path, case: str):
    import timm
    from safetensors.torch import save_file

    network = lively(timm.create_model("mobilenetv2_100", output_stride=16))
    save_file(network.state_dict(), folder / "weights.safetensors")
    # At even sizes the cells lie 1 + 2 + 4 + 8 pixels further down and right here than there.
    shift = SHIFT if case.endswith("even") else 0
    image = picture(tuple(side + shift for side in MOBILENET_SIZE))
    features = network.blocks(network.bn1(network.conv_stem(standardised(image[:, shift:, shift:]))))
    inside = features[:, :, REACH:-REACH, REACH:-REACH]
    return [image], [{"inside": inside}]


def segformer(case: str):
    from transformers import SegformerConfig, SegformerForSemanticSegmentation

    sizes = {"b0": {}, "b3": {"hidden_sizes": [64, 128, 320, 512], "depths": [3, 4, 18, 3], "decoder_hidden_size": 768}}
    return lively(SegformerForSemanticSegmentation(SegformerConfig(num_labels=CLASSES, **sizes[case[-2:]])))


def segformer_maps(network):
    images, maps = [picture(size) for size in SIZES], []
    for image in images:
        result = network(standardised(image), output_hidden_states=True)
        levels = {f"level_{number}": level for number, level in enumerate(result.hidden_states)}
        maps.append({**levels, "logits": result.logits})
    return images, maps


def lively(network):
    """Every parameter and statistic moved away from zeros and ones, so that none can be mistaken for another."""
    import torch

    for name, value in network.state_dict().items():
        if value.dtype.is_floating_point:
            is_variance = name.endswith("running_var")
            value.mul_(0.7 + 0.6 * torch.rand_like(value)).add_(0 if is_variance else 0.02 * torch.randn_like(value))
    return network.eval()


def picture(size: tuple[int, int]) -> np.ndarray:
    coarse = np.random.default_rng(1).integers(0, 256, (1, size[0] // 8 + 1, size[1] // 8 + 1, 3))
    return coarse.repeat(8, 1).repeat(8, 2)[:, : size[0], : size[1]].astype(np.uint8)


def standardised(image: np.ndarray):
    import torch

    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((torch.from_numpy(image.copy()) / 255 - mean) / deviation).permute(0, 3, 1, 2)


def compare(folder: Path, network_name: str) -> float:
    """The largest difference of any map, relative to the largest value of that map."""
    from models.levels import with_levels
    from models.segmenter import build_segmenter
    from models.weights import load_weights

    network = build_segmenter(network_name, CLASSES, seed=3)
    print(f"  {load_weights(network, folder / 'weights.safetensors')}")
    network, worst, arrays = with_levels(network), 0.0, np.load(folder / "maps.npz")
    for name in arrays.files:
        if not name.startswith("map_"):
            continue
        _, index, key = name.split("_", 2)
        outputs = network(arrays[f"image_{index}"], training=False)
        if key.startswith("level_"):
            found = outputs["levels"][int(key.removeprefix("level_"))]
        elif key == "logits":
            found = outputs["logits"]
        else:
            found = outputs["features"][:, REACH:-REACH, REACH:-REACH]
        expected = arrays[name]
        if tuple(found.shape) != expected.shape:
            raise SystemExit(f"{name}: {tuple(found.shape)} here, {expected.shape} there")
        difference = float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
        print(f"  {name} {expected.shape}: {difference:.1e} of {np.abs(expected).max():.3g}")
        worst = max(worst, difference)
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch-python", help="the interpreter of the environment with PyTorch")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--write", type=Path, help="(used by the script itself, with PyTorch)")
    options = parser.parse_args()
    if options.write:
        write(options.write, options.cases[0])
        return 0
    if not options.torch_python:
        parser.error("--torch-python is needed")
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    results = {}
    for case in options.cases:
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([options.torch_python, __file__, "--write", folder, "--cases", case], check=True)
            print(f"{case} -> {CASES[case]}")
            results[case] = compare(Path(folder), CASES[case])
    print(*(f"| {case} | {CASES[case]} | {worst:.1e} |" for case, worst in results.items()), sep="\n")
    return int(max(results.values()) > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
