"""FDA: low-frequency amplitudes of a target image in place of a source image's (Yang and Soatto, CVPR 2020, eq. 4).

The Fourier phase of an image carries what is shown where, its low-frequency amplitudes carry light and colours.
Nothing is trained. Of a target image only these amplitudes are needed, some numbers per image, so as many target images
as there is memory for are read once. SciPy's FFT on one thread took least time beside a training step on two cores: see
`tests/benchmarks/fourier.py`.
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from scipy import fft

from training.data.frame_changes import Load, changed
from training.data.images import resize_image
from training.data.input_pipeline import CACHE_BYTES, TrainingStream, load_frame
from training.data.samples import Dataset
from training.data.sampling import batch_uniform, position_uniform
from training.errors import UserError

_PURPOSE = 0x4644  # keeps these random numbers apart from others of the same seed and position


def half_width(beta: float, size: tuple[int, int]) -> int:
    """b of the window -b..b of frequencies in both directions, for images of `size` (height, width).

    Raises:
        UserError: beta is not in [0, 0.5), so the window would be larger than the spectrum.
    """
    if not 0 <= beta < 0.5:
        raise UserError(f"FDA has the beta {beta}: expected at least 0 and below 0.5, such as 0.01.")
    return int(beta * min(size))


def low_amplitudes(image: np.ndarray, width: int) -> np.ndarray:
    """Amplitudes of the low frequencies of float [h, w, c]: [2 * width + 1, width + 1, c], rows -width..width.

    The columns -width..-1 are left out, since a real image has the same amplitudes there.
    """
    spectrum = fft.rfft2(image, axes=(0, 1), workers=1)
    return np.abs(spectrum[np.arange(-width, width + 1), : width + 1])


def with_low_amplitudes(image: np.ndarray, amplitudes: np.ndarray) -> np.ndarray:
    """The image with these low-frequency amplitudes and its own phase: float [h, w, c], exactly real.

    Args:
        image: float [h, w, c]; float32 is computed in float32.
        amplitudes: [2b + 1, b + 1, c], as `low_amplitudes` gives them of another image of this size. A frequency that
            the image does not have gets the phase 0.
    """
    width = amplitudes.shape[1] - 1
    rows = np.arange(-width, width + 1)
    spectrum = fft.rfft2(image, axes=(0, 1), workers=1)
    low = spectrum[rows, : width + 1]
    own = np.abs(low)
    phase = np.divide(low, own, out=np.ones_like(low), where=own > 0)
    spectrum[rows, : width + 1] = amplitudes * phase
    return fft.irfft2(spectrum, s=image.shape[:2], axes=(0, 1), workers=1)


@dataclass(frozen=True, eq=False)
class PartnerAmplitudes:
    """Low-frequency amplitudes of the images of a data set at one size, each computed when it is first asked for, and
    kept as long as there is room: together at most CACHE_BYTES. Several threads may ask.

    Attributes:
        dataset: the target.
        size: (height, width) that its images are brought to.
        width: of the window, see `half_width`.
    """

    dataset: Dataset
    size: tuple[int, int]
    width: int
    _known: dict[int, np.ndarray] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def image(self, index: int) -> np.ndarray:
        """uint8 [h, w, 3]; raises UserError naming a damaged file."""
        return resize_image(self.dataset.read_image(index), self.size)

    def of(self, index: int, width: int) -> np.ndarray:
        """float32 [2 * width + 1, width + 1, 3] of image `index`, for a `width` up to that of the window.

        Raises:
            UserError: a damaged file.
        """
        found = self._known.get(index)
        if found is None:
            found = low_amplitudes(self.image(index).astype(np.float32), self.width)
            with self._lock:
                if found.nbytes * (len(self._known) + 1) <= CACHE_BYTES:
                    self._known[index] = found
        outside = self.width - width
        return found[outside : outside + 2 * width + 1, : width + 1]


@dataclass(frozen=True)
class Drawn:
    """What a position of the stream is translated with: the target's sample, and beta."""

    partner: int
    beta: float


@dataclass(frozen=True, eq=False)
class AmplitudeExchange:
    """The change of a source frame (`frame_changes.FrameChange`) that gives it the low amplitudes of a target image.

    Partner and beta depend on seed and position alone, and so does, with `alongside`, whether the frames of a global
    batch are changed; the label stays. A frame whose partner is its own image stays as it is.

    Attributes:
        partners: of the target.
        betas: sizes of the window, one of which is drawn for each position.
        alongside: each global batch shows originals or translated frames, with probability 1/2 each.
        seed: any integer >= 0.
        batch_size: samples per global batch.
    """

    partners: PartnerAmplitudes
    betas: tuple[float, ...]
    alongside: bool
    seed: int
    batch_size: int = 1

    needs_other_frames: ClassVar[bool] = False

    def drawn_at(self, position: int) -> Drawn | None:
        """What the frame at this position is translated with; None where the original is shown."""
        if self.alongside and batch_uniform(self.seed, _PURPOSE, position, position + 1, self.batch_size)[0, 2] < 0.5:
            return None
        for_partner, for_beta, *_ = position_uniform(self.seed, _PURPOSE, position, position + 1)[0]
        return Drawn(int(for_partner * len(self.partners.dataset)), self.betas[int(for_beta * len(self.betas))])

    def change(self, index: int, position: int, frame: np.ndarray, load: Load) -> np.ndarray:
        drawn = self.drawn_at(position)
        if drawn is None:
            return frame
        amplitudes = self.partners.of(drawn.partner, half_width(drawn.beta, self.partners.size))
        translated = with_low_amplitudes(frame[..., :3].astype(np.float32), amplitudes)
        result = frame.copy()
        result[..., :3] = np.clip(np.rint(translated), 0, 255)
        return result


@dataclass(frozen=True, eq=False)
class FourierTranslation:
    """FDA as a translation (`translation.Translation`) of the source.

    Attributes:
        partners: of the target; what they hold in memory serves every stage of a run.
        betas, alongside: see `AmplitudeExchange`.
    """

    partners: PartnerAmplitudes
    betas: tuple[float, ...]
    alongside: bool

    titles: ClassVar[tuple[str, ...]] = ("source", "partner of the target", "translated")

    @classmethod
    def to(cls, target: Dataset, size: tuple[int, int], betas: tuple[float, ...], alongside: bool):
        """Towards the images of `target`. Raises UserError for a beta out of range."""
        widest = max(half_width(beta, size) for beta in betas)
        return cls(PartnerAmplitudes(target, size, widest), betas, alongside)

    def applied_to(self, stream: TrainingStream) -> TrainingStream:
        return replace(stream, changes=(self._change(stream), *stream.changes))

    def examples(self, stream: TrainingStream) -> Iterator[tuple[np.ndarray, ...]]:
        change, count = self._change(stream), stream.steps * stream.batch_size

        def load(index: int) -> np.ndarray:
            return load_frame(stream.dataset, index, stream.size)

        for position, index in enumerate(stream.order.indices(0, count, stream.seed)):
            drawn = change.drawn_at(position)
            if drawn is not None:
                partner, translated = self.partners.image(drawn.partner), changed([change], index, position, load)
                yield load(index)[..., :3], partner, translated[..., :3]

    def _change(self, stream: TrainingStream) -> AmplitudeExchange:
        return AmplitudeExchange(self.partners, self.betas, self.alongside, stream.seed, stream.batch_size)
