"""CamVid (Brostow et al. 2009): the authors' 32-class release, the SegNet authors' 11-class form, and plain folders."""

from pathlib import Path

from training.data.classes import IGNORE, LabelSpace
from training.data.readers import (
    MissingFolder,
    checked_sizes,
    dataset,
    existing_folder,
    files_by_key,
    label_folder,
    own_id_decoder,
    pair_folders,
    paired,
)
from training.data.samples import Dataset, LabelDecoder, Sample
from training.errors import UserError

CAMVID_CLASSES: dict[str, tuple[int, int]] = {
    "Animal": (0x408040, 9),
    "Archway": (0xC00080, 1),
    "Bicyclist": (0x0080C0, 10),
    "Bridge": (0x008040, 1),
    "Building": (0x800000, 1),
    "Car": (0x400080, 8),
    "CartLuggagePram": (0x4000C0, 9),
    "Child": (0xC08040, 9),
    "Column_Pole": (0xC0C080, 2),
    "Fence": (0x404080, 7),
    "LaneMkgsDriv": (0x8000C0, 3),
    "LaneMkgsNonDriv": (0xC00040, 3),
    "Misc_Text": (0x808040, 6),
    "MotorcycleScooter": (0xC000C0, 10),
    "OtherMoving": (0x804040, 8),
    "ParkingBlock": (0x40C080, 4),
    "Pedestrian": (0x404000, 9),
    "Road": (0x804080, 3),
    "RoadShoulder": (0x8080C0, 4),
    "Sidewalk": (0x0000C0, 4),
    "SignSymbol": (0xC08080, 6),
    "Sky": (0x808080, 0),
    "SUVPickupTruck": (0x4080C0, 8),
    "TrafficCone": (0x000040, 2),
    "TrafficLight": (0x004040, 6),
    "Train": (0xC04080, 8),
    "Tree": (0x808000, 5),
    "Truck_Bus": (0xC080C0, 8),
    "Tunnel": (0x400040, 1),
    "VegetationMisc": (0xC0C000, 5),
    "Void": (0x000000, IGNORE),
    "Wall": (0x40C000, 1),
}
"""Class of the original annotation -> its colour 0xRRGGBB and its camvid11 id in the SegNet authors' grouping."""

SPLITS = ("train", "val", "test")


def camvid(root: Path | str, split: str, label_space: LabelSpace, labelled: bool | None = True) -> Dataset:
    """CamVid in whichever of its three layouts `root` has.

    - `701_StillsRaw_full/*.png` + `LabeledApproved_full/*_L.png` (colours of 32 classes; 367 / 101 / 233 as by SegNet)
    - `<split>/*.png` + `<split>annot/*.png` (SegNet; ids 0-10, 11 = void)
    - `<split>/images` + `<split>/labels` (the same ids)

    Raises:
        UserError: unknown split, none of the layouts, a label space other than camvid11, or files that do not pair.
    """
    root = existing_folder(Path(root), "CamVid")
    if split not in SPLITS:
        raise UserError(f"CamVid has no split '{split}': choose {', '.join(SPLITS)}.")
    if label_space.name != "camvid11":
        raise UserError(
            f"The labels of CamVid can only be read as 'camvid11', not as '{label_space.name}': use --classes camvid11."
        )
    samples, decode = _original(root, split, labelled) or _plain(root, split, labelled, label_space)
    return dataset(f"camvid {split}", samples, label_space, decode)


def _original(root: Path, split: str, labelled: bool | None) -> tuple[tuple[Sample, ...], LabelDecoder] | None:
    image_root = root / "701_StillsRaw_full"
    if not image_root.is_dir():
        return None
    label_root = label_folder(root, "LabeledApproved_full", "the colour labels *_L.png of CamVid", labelled)
    images = _of_split(files_by_key(image_root), split)
    labels = None if label_root is None else _of_split(files_by_key(label_root, "_L.png"), split)
    decode = LabelDecoder.from_mapping("rgb", dict(CAMVID_CLASSES.values()))
    return checked_sizes(paired(images, labels, image_root, label_root)), decode


def _of_split(files: dict[str, Path], split: str) -> dict[str, Path]:
    return {stem: file for stem, file in files.items() if original_split(stem) == split}


def original_split(stem: str) -> str:
    """The SegNet authors' split of the 701 frames, told from the sequence and frame number in the file's name."""
    sequence, _, frame = stem.partition("_")
    number = int("".join(filter(str.isdigit, frame)) or 0)
    if sequence == "Seq05VD" or (sequence == "0001TP" and number >= 8550):
        return "test"
    return "val" if sequence == "0016E5" and 7959 <= number <= 8159 else "train"


def _plain(
    root: Path, split: str, labelled: bool | None, label_space: LabelSpace
) -> tuple[tuple[Sample, ...], LabelDecoder]:
    nested = (root / split / "images").is_dir()
    images, labels = (f"{split}/images", f"{split}/labels") if nested else (split, f"{split}annot")
    if not (root / images).is_dir():
        raise MissingFolder(
            f"{root} does not hold the {split} images of CamVid: "
            f"expected 701_StillsRaw_full/, {split}/images/ or {split}/."
        )
    label_root = label_folder(root, labels, f"the {split} labels of CamVid", labelled)
    return pair_folders(root / images, label_root), own_id_decoder(label_space)
