"""CamVid (Brostow et al. 2009): the authors' 32-class release, the SegNet authors' 11-class form, and plain folders."""

from pathlib import Path

from training.data.class_maps import CAMVID_32
from training.data.classes import IGNORE, LabelSpace
from training.data.readers import (
    MissingFolder,
    checked_sizes,
    existing_folder,
    files_by_key,
    label_folder,
    own_id_decoder,
    pair_folders,
    paired,
)
from training.data.samples import Dataset, LabelDecoder, Sample
from training.errors import UserError

CAMVID_11_GROUPS = (
    ("Sky",),
    ("Archway", "Bridge", "Building", "Tunnel", "Wall"),
    ("Column_Pole", "TrafficCone"),
    ("LaneMkgsDriv", "LaneMkgsNonDriv", "Road"),
    ("ParkingBlock", "RoadShoulder", "Sidewalk"),
    ("Tree", "VegetationMisc"),
    ("Misc_Text", "SignSymbol", "TrafficLight"),
    ("Fence",),
    ("Car", "OtherMoving", "SUVPickupTruck", "Train", "Truck_Bus"),
    ("Animal", "CartLuggagePram", "Child", "Pedestrian"),
    ("Bicyclist", "MotorcycleScooter"),
)
"""Classes of the original annotation in each camvid11 class, in the SegNet authors' grouping."""

_CAMVID_11_IDS = {name: train_id for train_id, group in enumerate(CAMVID_11_GROUPS) for name in group}
CAMVID_CLASSES = {name: (color, _CAMVID_11_IDS.get(name, IGNORE)) for name, (color, _) in CAMVID_32.items()}
"""Class of the original annotation -> its colour 0xRRGGBB and its camvid11 id."""

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
    return Dataset(f"camvid {split}", samples, label_space, decode)


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
