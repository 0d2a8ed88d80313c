"""How other data sets number their classes, and which Cityscapes class each one is: tables of names, as published.

Each table lists the classes in the order of their ids, 0 first; None = no counterpart among the 19 Cityscapes classes.
"""

MAPILLARY_12: tuple[tuple[str, str | None], ...] = (
    ("bird", None), ("ground animal", None), ("curb", "sidewalk"), ("fence", "fence"), ("guard rail", None),
    ("barrier", None), ("wall", "wall"), ("bike lane", None), ("crosswalk - plain", None), ("curb cut", None),
    ("parking", None), ("pedestrian area", None), ("rail track", None), ("road", "road"), ("service lane", None),
    ("sidewalk", "sidewalk"), ("bridge", None), ("building", "building"), ("tunnel", None), ("person", "person"),
    ("bicyclist", "rider"), ("motorcyclist", "rider"), ("other rider", "rider"), ("lane marking - crosswalk", None),
    ("lane marking - general", "road"), ("mountain", None), ("sand", None), ("sky", "sky"), ("snow", None),
    ("terrain", "terrain"), ("vegetation", "vegetation"), ("water", None), ("banner", None), ("bench", None),
    ("bike rack", None), ("billboard", None), ("catch basin", None), ("cctv camera", None), ("fire hydrant", None),
    ("junction box", None), ("mailbox", None), ("manhole", "road"), ("phone booth", None), ("pothole", None),
    ("street light", None), ("pole", "pole"), ("traffic sign frame", None), ("utility pole", "pole"),
    ("traffic light", "traffic light"), ("traffic sign (back)", None), ("traffic sign (front)", "traffic sign"),
    ("trash can", None), ("bicycle", "bicycle"), ("boat", None), ("bus", "bus"), ("car", "car"), ("caravan", None),
    ("motorcycle", "motorcycle"), ("on rails", "train"), ("other vehicle", None), ("trailer", None),
    ("truck", "truck"), ("wheeled slow", None), ("car mount", None), ("ego vehicle", None), ("unlabeled", None),
)  # fmt: skip
"""Mapillary Vistas 1.2 (Neuhold et al. 2017), config_v1.2.json; grouped as by RobustNet (Choi et al. 2021), whose
figures on Mapillary are the ones most often quoted for the 19 classes."""

IDD: tuple[tuple[str, str | None], ...] = (
    ("road", "road"), ("parking", None), ("drivable fallback", None), ("sidewalk", "sidewalk"),
    ("rail track", None), ("non-drivable fallback", "terrain"), ("person", "person"), ("animal", None),
    ("rider", "rider"), ("motorcycle", "motorcycle"), ("bicycle", "bicycle"), ("autorickshaw", None),
    ("car", "car"), ("truck", "truck"), ("bus", "bus"), ("caravan", None), ("trailer", None),
    ("train", "train"), ("vehicle fallback", None), ("curb", None), ("wall", "wall"),
    ("fence", "fence"), ("guard rail", None), ("billboard", None), ("traffic sign", "traffic sign"),
    ("traffic light", "traffic light"), ("pole", "pole"), ("polegroup", None),
    ("obs-str-bar-fallback", None), ("building", "building"), ("bridge", None), ("tunnel", None),
    ("vegetation", "vegetation"), ("sky", "sky"), ("fallback background", None), ("unlabeled", None),
    ("ego vehicle", None), ("rectification border", None), ("out of roi", None),
    ("license plate", None),
)  # fmt: skip
"""India Driving Dataset (Varma et al. 2019), helpers/anue_labels.py of the AutoNUE tools: name and the class of its
csTrainId. The ids are those of `createLabels.py --id-type id`, *_gtFine_labelids.png."""

IDD_LEVEL3 = (
    "road", "drivable fallback", "sidewalk", "non-drivable fallback", "person", "rider", "motorcycle", "bicycle",
    "autorickshaw", "car", "truck", "bus", "vehicle fallback", "curb", "wall", "fence", "guard rail", "billboard",
    "traffic sign", "traffic light", "pole", "obs-str-bar-fallback", "building", "bridge", "vegetation", "sky",
)  # fmt: skip
"""The class of `IDD` that each level3Id is named after; some hold others too (4 animals, 12 trains, 25 background).
*_gtFine_labellevel3Ids.png, the form that `createLabels.py` writes unasked."""

CAMVID_32: dict[str, tuple[int, str | None]] = {
    "Animal": (0x408040, None),
    "Archway": (0xC00080, None),
    "Bicyclist": (0x0080C0, "rider"),
    "Bridge": (0x008040, None),
    "Building": (0x800000, "building"),
    "Car": (0x400080, "car"),
    "CartLuggagePram": (0x4000C0, None),
    "Child": (0xC08040, "person"),
    "Column_Pole": (0xC0C080, "pole"),
    "Fence": (0x404080, "fence"),
    "LaneMkgsDriv": (0x8000C0, "road"),
    "LaneMkgsNonDriv": (0xC00040, "road"),
    "Misc_Text": (0x808040, None),
    "MotorcycleScooter": (0xC000C0, "motorcycle"),
    "OtherMoving": (0x804040, None),
    "ParkingBlock": (0x40C080, None),
    "Pedestrian": (0x404000, "person"),
    "Road": (0x804080, "road"),
    "RoadShoulder": (0x8080C0, None),
    "Sidewalk": (0x0000C0, "sidewalk"),
    "SignSymbol": (0xC08080, "traffic sign"),
    "Sky": (0x808080, "sky"),
    "SUVPickupTruck": (0x4080C0, "car"),
    "TrafficCone": (0x000040, None),
    "TrafficLight": (0x004040, "traffic light"),
    "Train": (0xC04080, "train"),
    "Tree": (0x808000, "vegetation"),
    "Truck_Bus": (0xC080C0, None),  # two Cityscapes classes
    "Tunnel": (0x400040, None),
    "VegetationMisc": (0xC0C000, "vegetation"),
    "Void": (0x000000, None),
    "Wall": (0x40C000, "wall"),
}
"""CamVid (Brostow et al. 2009), label_colors.txt: class -> its colour 0xRRGGBB and the Cityscapes class of the same
meaning. Files of ids number the classes in this order."""
