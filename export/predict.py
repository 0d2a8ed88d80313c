"""Segment pictures and videos with an exported model. NumPy, Pillow and ONNX Runtime only.

python export/predict.py --model model.onnx --images photos/ --out predictions
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import argparse
import os
from collections.abc import Iterable
from pathlib import Path

from export.progress import Progress
from export.results import CLASS, RAW, Results, ShareTable
from export.segmenter import OnnxSegmenter
from export.video import segment_video
from export.video_reading import VIDEO_SUFFIXES
from models.terminal import accept_all_characters
from training.data.photo_files import IMAGE_SUFFIXES, folded_name, with_text_name
from training.data.photo_folders import found_photos, is_list, listed_paths
from training.data.picture_files import MAX_PIXELS
from training.data.picture_pixels import range_of_files, range_sentence
from training.errors import UserError, printable
from training.prediction.onnx_providers import CPU, CUDA

SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)
OF_VIDEOS = (
    "Of a video, overlays/ gets a video (H.264 in .mp4 where FFmpeg with libx264 or libopenh264 is on the PATH, else "
    "VP8 in .webm) at the source's mean frame rate, and labels/, confidence/ and pseudo_labels/ get a PNG per frame: "
    "labels/NAME/000001.png, 000002.png, ..."
)
PROVIDERS = {"auto": None, "cpu": [CPU], "cuda": [CUDA, CPU]}


def main(argv: list[str] | None = None) -> int:
    """The exit status: 0 done, 1 files could not be used, 2 a mistake of the user's, 130 stopped by Ctrl-C."""
    accept_all_characters()
    arguments = parsed(argv)
    try:
        failures = predict(arguments)
    except UserError as error:
        print(f"streetshift: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped; what was written is whole.", file=sys.stderr)
        return 130
    for sentence in failures:
        print(f"  {sentence}", file=sys.stderr)
    return 1 if failures else 0


def parsed(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="export/predict.py", description=__doc__.split("\n")[0], epilog=OF_VIDEOS)
    parser.add_argument("--model", type=Path, required=True, help="the .onnx file that export/run.py wrote")
    parser.add_argument(
        "--images",
        required=True,
        help="a picture, a video, a folder with its subfolders, a text file of paths (.txt), a pattern in quotes",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--overlay", type=float, nargs="?", const=0.5, metavar="OPACITY",
        help="overlays/: classes' colours over the picture, 0 to 1 (0.5); written also if nothing else is asked for",
    )  # fmt: skip
    parser.add_argument(
        "--labels", nargs="?", const=CLASS, choices=(CLASS, RAW),
        help="labels/: PNG of class ids at the picture's size; with raw of the numbers in label files of the model's "
        "label space (raw_ids), to correct and to score on",
    )  # fmt: skip
    parser.add_argument("--confidence", action="store_true", help="confidence/: 8-bit PNG, 255 = certain")
    parser.add_argument(
        "--pseudo-labels", action="store_true",
        help="pseudo_labels/: labels kept by the thresholds of the model's last round, 255 = ignored, and a manifest",
    )  # fmt: skip
    parser.add_argument("--device", choices=PROVIDERS, default="auto", help="auto: CUDA where it works, else the CPU")
    parser.add_argument("--threads", type=whole_number, help="of one prediction on the CPU; all cores if not given")
    parser.add_argument(
        "--max-megapixels", type=megapixels, default=MAX_PIXELS / 1e6, help="larger pictures are refused (80)"
    )
    return parser.parse_args(argv)


def whole_number(text: str) -> int:
    """A number of threads; argparse says what is wrong with another text."""
    number = int(text)
    if not 1 <= number <= 1024:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 to 1024")
    return number


def megapixels(text: str) -> float:
    """A size in megapixels; argparse says what is wrong with another text."""
    number = float(text)
    if not 0 < number <= 4096:
        raise argparse.ArgumentTypeError(f"{text}: expected above 0, at most 4096")
    return number


def predict(arguments: argparse.Namespace) -> list[str]:
    """Segment everything; a sentence for each file that could not be used.

    Raises:
        UserError: no such model or input, nothing to write to, an option that does not fit.
    """
    files = named(found_files(arguments.images, arguments.out))
    segmenter = OnnxSegmenter(
        arguments.model,
        providers=PROVIDERS[arguments.device],
        threads=arguments.threads,
        max_pixels=round(arguments.max_megapixels * 1e6),
    )
    stretch(segmenter, arguments.images, files.values())
    results = Results.wanted(arguments, segmenter)
    print(f"{counted(len(files))} on the {segmenter.device}, results in {arguments.out}")
    failures, notes = [], []
    with ShareTable(arguments.out, segmenter.names) as table, Progress(len(files)) as progress:
        for name, file in files.items():
            try:
                if is_video(file):
                    shares, note = segment_video(segmenter, file, name, results, progress)
                    notes += [f"{file}: {note}"] if note else []
                else:
                    shares = results.write(name, segmenter(file))
                table.add(file, shares)
            except UserError as error:
                failures.append(str(error))
            progress.advance()
    results.finish()
    for note in notes:
        print(printable(note))
    print(f"{counted(len(files) - len(failures))} done, class shares in {table.path}")
    return failures


def stretch(segmenter: OnnxSegmenter, place: str, files: Iterable[Path]) -> None:
    """Where the model does not say from which values 16-bit photos are stretched, find it from all of them."""
    if segmenter.sixteen_bit_range is None:
        photos = [file for file in files if not is_video(file)]
        segmenter.sixteen_bit_range = range_of_files(photos)
        if segmenter.sixteen_bit_range is not None:
            print(range_sentence(place, segmenter.sixteen_bit_range))


def is_video(file: Path) -> bool:
    return file.suffix.lower() in VIDEO_SUFFIXES


def counted(files: int) -> str:
    return f"{files} file" + ("s" if files != 1 else "")


def found_files(text: str, out: Path) -> list[Path]:
    """The pictures and videos that --images means, sorted; what was left out is printed.

    A file that is named is taken whatever its ending; of a folder or a pattern what is no picture or video is told of,
    and what this program wrote, or what holds labels, is left out (`photo_folders`).

    Raises:
        UserError: there is none, a name is no text, or results would lie among the pictures.
    """
    place = Path(os.path.expanduser(text))  # Path.expanduser fails where there is no such user
    if place.is_file() and not is_list(place):
        return [with_text_name(place)]
    if place.is_dir() and os.path.realpath(place) == os.path.realpath(out):  # resolve() does not survive circles
        raise UserError(f"--out {out} is the folder of the pictures: choose another, so that results stay apart.")
    found = found_photos(place, SUFFIXES, results=None if lies_below(place, out) else out)
    files = [file for file in found.photos if file.is_file()]
    if not files:
        raise UserError(
            f"--images {text} names no picture or video: give a file, a folder that holds some ({' '.join(SUFFIXES)}), "
            f"a text file of paths, or a pattern in quotes.{''.join(f' {sentence}' for sentence in found.sentences)}"
        )
    for sentence in found.sentences:
        print(printable(sentence))
    return files


def lies_below(place: Path, out: Path) -> bool:
    """Does what `place` means lie in `out`, so that pictures there need not be results?"""
    folder = Path(os.path.realpath(out))
    places = [Path(os.path.realpath(each)) for each in (listed_paths(place) if is_list(place) else [place])]
    return any(folder in (each, *each.parents) for each in places)


def named(files: list[Path]) -> dict[str, Path]:
    """A name for the results of each file: its path below their common folder, without endings where that will do.

    The name of a video is also a folder, of its frames' maps: no other result may lie in it. Names that differ by case,
    or by composed letters, alone are taken for the same, for on some disks they are.

    Raises:
        UserError: the files have no common folder.
    """
    try:
        root = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    except ValueError as error:
        raise UserError(
            "--images names files on several drives: give those of each drive in a run of its own."
        ) from error
    whole = [Path(os.path.abspath(file)).relative_to(root) for file in files]
    stems = [path.with_suffix("") for path in whole]
    folded = [Path(folded_name(str(stem))) for stem in stems]
    folders = {stem for stem, file in zip(folded, files, strict=True) if is_video(file)}
    unique = len(set(folded)) == len(folded) and not any(folders & set(stem.parents) for stem in folded)
    return {name.as_posix(): file for name, file in zip(stems if unique else whole, files, strict=True)}


if __name__ == "__main__":
    sys.exit(main())
