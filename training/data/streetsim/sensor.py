"""The camera's electronics: exposure, contrast, colour cast, vignetting, blur, noise and JPEG."""

import cv2
import numpy as np

from training.data.streetsim.styles import Style, pick


def develop(image: np.ndarray, style: Style, rng: np.random.Generator) -> np.ndarray:
    """A rendered uint8 image [h, w, 3] RGB as the style's camera would have stored it."""
    height, width = image.shape[:2]
    tone = _tone(style, rng, float(image.mean()))
    saturation, veil = pick(rng, style.saturation), pick(rng, style.haze)
    vignette, blur = pick(rng, style.vignette), pick(rng, style.blur) * height / 256
    noise, quality = pick(rng, style.noise), int(pick(rng, style.jpeg))
    grain_seed = int(rng.integers(2**31))
    image = cv2.LUT(image, tone)
    if abs(saturation - 1) > 0.02:
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        image = cv2.addWeighted(image, saturation, grey, 1 - saturation, 255 * veil * 0.6)
    if vignette > 0.02:
        image = _darken_corners(image, vignette)
    if blur > 0.25:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    image = _grain(image, noise, grain_seed)
    if quality < 97:
        packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    return image[:height, :width]


def _tone(style: Style, rng: np.random.Generator, mean: float) -> np.ndarray:
    """Automatic exposure to the style's mean grey (most of the way, as cameras do), contrast, gamma and cast.

    Returns one look-up table uint8 [256, 1, 3].
    """
    exposure = (pick(rng, style.grey) / max(mean, 4.0)) ** 0.85
    contrast, gamma = pick(rng, style.contrast), pick(rng, style.gamma)
    cast = 1 + pick(rng, style.cast) * rng.standard_normal(3)
    values = np.linspace(0, 1, 256)[:, None] * exposure * cast[None, :]
    values = np.clip((values - 0.45) * contrast + 0.45, 0, 1) ** gamma
    return np.rint(values * 255).astype(np.uint8)[:, None, :]


def _darken_corners(image: np.ndarray, strength: float) -> np.ndarray:
    height, width = image.shape[:2]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None, :] ** 2
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None] ** 2
    gain = 1 - strength * 0.5 * (across + down)
    return cv2.multiply(image, cv2.merge([gain, gain, gain]), dtype=cv2.CV_8U)


def _grain(image: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Gaussian noise, a little of it common to the three channels."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    common = rng.standard_normal((height, width, 1), dtype=np.float32) * (0.8 * deviation)
    own = rng.standard_normal((height, width, 3), dtype=np.float32) * (0.5 * deviation)
    return np.clip(image + common + own, 0, 255).astype(np.uint8)
