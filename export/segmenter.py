"""An exported model as a function from pictures to labels. NumPy, Pillow and ONNX Runtime only: no TensorFlow.

segmentation = OnnxSegmenter("model.onnx")("photo.jpg")
segmentation.class_shares()          # {"road": 0.41, ...}
Image.fromarray(segmentation.overlay()).show()
"""

import itertools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime

from export.enlarge import enlarge, enlarged_label, window_starts, window_weight
from export.pictures import MAX_PIXELS, Picture, load_picture, network_size, resized
from training.errors import UserError
from training.prediction.model_metadata import METADATA_KEY, ModelMetadata
from training.prediction.onnx_providers import CPU, usual_providers
from training.probability_maps.scores import softmax

WINDOWS_FROM = 1.5  # times the training height or width: larger pictures are looked at in windows


@dataclass(frozen=True)
class Segmentation:
    """What the model sees in one picture, at the picture's own size.

    image: uint8 [h, w, 3] RGB as it was read. labels: uint8 [h, w] class ids. confidence: float32 [h, w], the
    probability of that class. names, colors: by class id.
    """

    image: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    confidence: np.ndarray = field(repr=False)
    names: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]

    def colored(self) -> np.ndarray:
        """The labels in their classes' colours, uint8 [h, w, 3]."""
        return np.array(self.colors, np.uint8)[self.labels]

    def overlay(self, opacity: float = 0.5) -> np.ndarray:
        """The classes' colours over the picture, uint8 [h, w, 3]; opacity 0 shows the picture, 1 the colours.

        Raises:
            UserError: the opacity is not in 0..1.
        """
        if not 0.0 <= opacity <= 1.0:
            raise UserError(f"The opacity is {opacity}: expected 0 (only the picture) to 1 (only the colours).")
        part = round(opacity * 256)  # 16-bit integers: a 12-megapixel photo in a third of a float's time and memory
        mixed = self.image.astype(np.uint16) * np.uint16(256 - part) + self.colored().astype(np.uint16) * np.uint16(
            part
        )
        return (mixed >> 8).astype(np.uint8)

    def class_shares(self) -> dict[str, float]:
        """Share of the pixels of every class, 0..1, by name; they sum to 1."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.names))
        return {name: float(count) / self.labels.size for name, count in zip(self.names, counts, strict=True)}


class OnnxSegmenter:
    """Segments pictures of any size with a file that `export/run.py` wrote. Calls from several threads are safe.

    Args:
        path: the `.onnx` file.
        providers: ONNX Runtime's execution providers in order of preference. None: CUDA where it works, else the CPU.
        threads: of one prediction on the CPU; None: all cores.
        max_pixels: larger pictures are refused with a UserError before they are decoded.

    Attributes:
        metadata: what the model says of itself (`training.prediction.model_metadata.ModelMetadata`).
        names, colors: its classes.
        sixteen_bit_range: the values of 16-bit pictures that become 0 and 255, at first those of training; None: their
            high byte.
        device: "CUDA" or "CPU", or the name of another provider: where it really runs.

    Raises:
        UserError: no such file, damaged, not exported by StreetShift, or a provider that does not work.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        providers: Sequence[str] | None = None,
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ):
        self.path = Path(path)
        self.session = open_session(self.path, providers, threads)
        try:
            text = self.session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            self._check_signature()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is damaged ({error}): export the run again.") from error
        self.metadata = ModelMetadata.from_json(text, str(path))
        self.names, self.colors = self.metadata.names, self.metadata.colors
        self.device = self.session.get_providers()[0].removesuffix("ExecutionProvider")
        self.max_pixels = max_pixels
        self.sixteen_bit_range = self.metadata.sixteen_bit_range

    def __call__(self, image: Picture) -> Segmentation:
        """The segmentation of one picture: a path, a Pillow image, or an array (`load_picture` says which).

        Raises:
            UserError: the picture cannot be read or is larger than `max_pixels`.
        """
        return self.batch([image])[0]

    def batch(self, images: Sequence[Picture]) -> list[Segmentation]:
        """The segmentations of several pictures; those that the network sees at one size go through it together."""
        pictures = [load_picture(image, self.max_pixels, self.sixteen_bit_range) for image in images]
        sizes = [self._size(picture) for picture in pictures]
        found: dict[int, Segmentation] = {}
        for size in dict.fromkeys(sizes):
            members = [index for index, other in enumerate(sizes) if other == size]
            found |= zip(members, self._segment([pictures[index] for index in members], size), strict=True)
        return [found[index] for index in range(len(pictures))]

    def probs(self, image: Picture, size: tuple[int, int] | None = None) -> np.ndarray:
        """Class probabilities float32 [h, w, c] of one picture at `size` (height, width).

        None: on the network's own coarse grid, one cell for `output_stride` x `output_stride` pixels.
        """
        picture = load_picture(image, self.max_pixels, self.sixteen_bit_range)
        coarse = self._coarse_probs([picture], self._size(picture))[0]
        return coarse if size is None else enlarge(coarse, size)

    def _size(self, picture: np.ndarray) -> tuple[int, int]:
        return network_size(picture.shape[:2], self.metadata.training_size)

    def _segment(self, pictures: list[np.ndarray], size: tuple[int, int]) -> list[Segmentation]:
        """Pictures that the network sees at `size`."""
        if self._window(size) == size and all(picture.shape[:2] == size for picture in pictures):
            results = zip(*self._run(["labels", "confidence"], np.stack(pictures)), strict=True)
        else:
            coarse = self._coarse_probs(pictures, size)
            results = (
                enlarged_label(probs, picture.shape[:2]) for probs, picture in zip(coarse, pictures, strict=True)
            )
        return [
            Segmentation(picture, labels, confidence, self.names, self.colors)
            for picture, (labels, confidence) in zip(pictures, results, strict=True)
        ]

    def _coarse_probs(self, pictures: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
        """float32 [b, h, w, c]: the weighted mean of all windows, or the only one."""
        batch = np.stack([resized(picture, size) for picture in pictures])
        stride, window = self.metadata.output_stride, self._window(size)
        if window == size:
            return softmax(self._run(["logits"], batch)[0])
        grid = (len(batch), *(-(-length // stride) for length in size))
        total = np.zeros((*grid, len(self.names)), np.float32)
        weights = np.zeros((*grid[1:], 1), np.float32)
        starts = (window_starts(length, part, stride) for length, part in zip(size, window, strict=True))
        for top, left in itertools.product(*starts):
            probs = softmax(self._run(["logits"], batch[:, top : top + window[0], left : left + window[1]])[0])
            weight = window_weight(*probs.shape[1:3])
            rows, columns = (
                slice(a // stride, a // stride + n) for a, n in zip((top, left), probs.shape[1:3], strict=True)
            )
            total[:, rows, columns] += weight * probs
            weights[rows, columns] += weight
        return total / weights

    def _window(self, size: tuple[int, int]) -> tuple[int, int]:
        """What the network looks at together: the whole picture unless a side is much longer than in training."""
        training = self.metadata.training_size
        return tuple(
            length if length <= WINDOWS_FROM * usual else max(32, usual // 32 * 32)
            for length, usual in zip(size, training, strict=True)
        )

    def _check_signature(self) -> None:
        inputs = {(each.name, each.type) for each in self.session.get_inputs()}
        outputs = {(each.name, each.type) for each in self.session.get_outputs()}
        wanted = {("labels", "tensor(uint8)"), ("confidence", "tensor(float)"), ("logits", "tensor(float)")}
        if {name for name, _ in outputs} == {"logits"}:
            raise UserError(
                f"{self.path} gives logits only, for other programs: export the run without --outputs logits."
            )
        if inputs != {("image", "tensor(uint8)")} or not wanted <= outputs:
            raise UserError(
                f"{self.path} has other inputs and outputs than an exported model (image in; labels, confidence and "
                "logits out): export the run again."
            )

    def _run(self, outputs: list[str], images: np.ndarray) -> list[np.ndarray]:
        count, height, width = images.shape[:3]
        try:
            results = self.session.run(outputs, {"image": np.ascontiguousarray(images)})
        except Exception as error:  # ONNX Runtime's own exceptions, out of memory among them, share no other base
            raise UserError(f"{self.path} failed on {count} x {height}x{width} pixels: {str(error).strip()}") from error
        stride, classes = self.metadata.output_stride, len(self.names)
        grid = (count, -(-height // stride), -(-width // stride), classes)
        for name, result in zip(outputs, results, strict=True):
            expected = grid if name == "logits" else (count, height, width)
            if result.shape != expected or (name == "labels" and result.max() >= classes):
                raise UserError(f"{self.path} gives {name} that do not fit its own description: export the run again.")
        return results


def open_session(path: Path, providers: Sequence[str] | None, threads: int | None) -> onnxruntime.InferenceSession:
    """An ONNX Runtime session on the wanted providers, or on CUDA where it works, else the CPU.

    Raises:
        UserError: no such file, no readable model, or none of the wanted providers works.
    """
    if not path.is_file():
        raise UserError(f"There is no model at {path}: export a run with python export/run.py --run RUN.")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = usual_providers() if providers is None else list(providers)
    try:
        # On the CPU there is nothing to fall back to, and ONNX Runtime prints that it tries.
        session = onnxruntime.InferenceSession(str(path), options, providers=wanted, enable_fallback=wanted[0] != CPU)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        raise UserError(
            f"{path} cannot be opened as an ONNX model ({str(error).strip()}): export the run again."
        ) from error
    if wanted[0] not in session.get_providers():
        message = f"ONNX Runtime could not start {wanted[0]}; using {session.get_providers()[0]}"
        if providers is not None:
            raise UserError(
                f"{message} was not asked for: choose among {', '.join(onnxruntime.get_available_providers())}."
            )
        warnings.warn(f"{message}: slower, but the same result", stacklevel=3)
    return session
