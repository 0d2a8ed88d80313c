"""Data sets where they lie, as their authors publish them: the one place to import readers and their types from."""

from training.data.readers_camvid import camvid
from training.data.readers_folders import folders, image_and_label_folders, image_folder, streetsim
from training.data.readers_published import CITIES, bdd100k, cityscapes, cross_city, gta5, robotcar, synthia
from training.data.samples import Dataset, LabelDecoder, Sample, check_no_overlap

__all__ = [
    "CITIES",
    "Dataset",
    "LabelDecoder",
    "Sample",
    "bdd100k",
    "camvid",
    "check_no_overlap",
    "cityscapes",
    "cross_city",
    "folders",
    "gta5",
    "image_and_label_folders",
    "image_folder",
    "robotcar",
    "streetsim",
    "synthia",
]
