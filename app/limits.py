"""What the page accepts, in one place: every limit keeps memory, disk and waiting time bounded."""

from training.data.photo_files import HEIC_SUFFIXES, IMAGE_SUFFIXES

UPLOAD_BYTES = 64 * 2**20  # of one file
USUAL_PIXELS = 40_000_000  # a larger photo is shrunk while it is read, and its owner is told
WHOLE_PIXELS = 80_000_000  # the largest that has to be decoded whole before it is shrunk: 320 MB with transparency
JPEG_PIXELS = 175_000_000  # a JPEG that is not progressive is decoded at a half, quarter or eighth; Pillow refuses more
LARGE_PIXELS = 8_000_000  # of photos above this one is decoded at a time
WORKING_SIDE = 1600  # a photo's longer side while it is segmented and drawn
MASK_SIDE = 960  # the longer side of the picture with the masks to hover over
PROBABILITY_SIDE = 1024  # of pseudo-labels: one map of 19 classes takes up to 80 MB
PSEUDO_LABEL_PHOTOS = 40
BATCH_PHOTOS = 200
VIDEO_SECONDS = 30
VIDEO_FRAMES = 900
VIDEO_SIDE = 960
FRAME_PIXELS = 40_000_000  # of a video

AT_ONCE = 2  # photos that a tab segments at any moment, beside the long jobs
LONG_JOBS_AT_ONCE = 1  # pseudo-labels and batches
WAITING = 200  # requests in the queue; who comes later is told so
SESSIONS = 500  # browsers and programs whose settings are remembered
KEEP_SECONDS = 3600  # uploads and results are deleted after this ...
CLEANING_SECONDS = 300  # ... by a look every so often

PICTURE_FORMATS_TOLD = "PNG, JPEG, WebP, BMP, GIF" + (", TIFF or AVIF" if ".avif" in IMAGE_SUFFIXES else " or TIFF")
PICTURE_SUFFIXES = tuple(dict.fromkeys((*IMAGE_SUFFIXES, *HEIC_SUFFIXES)))  # a HEIC that is not read is told of
