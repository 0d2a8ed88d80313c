"""What hangs between scene and lens: lamp glows, rain streaks, a veil of haze."""

import cv2
import numpy as np

from training.data.streetsim.raster import Canvas


def add_glows(canvas: Canvas) -> None:
    """Bloom of the lamps of what was just drawn, unless a nearer plane hides them; what comes nearer covers it."""
    height, width = canvas.camera.size
    strength = 0.25 + 0.75 * canvas.light.night
    for x, y, radius, rgb, depth in canvas.glows:
        column, row = int(x), int(y)
        if not (0 <= column < width and 0 <= row < height) or canvas.near[row, column] > 1 / depth:
            continue
        reach = max(2.0, 3.2 * radius * strength)
        x0, x1 = max(0, int(x - reach)), min(width, int(x + reach) + 1)
        y0, y1 = max(0, int(y - reach)), min(height, int(y + reach) + 1)
        dx, dy = np.arange(x0, x1, dtype=np.float32)[None, :] - x, np.arange(y0, y1, dtype=np.float32)[:, None] - y
        fall = np.clip(1 - np.sqrt(dx * dx + dy * dy) / reach, 0, 1) ** 2 * strength
        patch = canvas.image[y0:y1, x0:x1]
        patch[:] = np.clip(patch + fall[..., None] * np.array(rgb, np.float32), 0, 255).astype(np.uint8)
    canvas.glows.clear()


def add_rain(image: np.ndarray, rng: np.random.Generator, amount: float) -> None:
    """Slanting streaks, faint and blurred; `amount` 0 .. 1; in place."""
    height, width = image.shape[:2]
    streaks = np.zeros((height, width), np.uint8)
    slant = rng.normal(0, 0.15)
    for _ in range(int(160 * amount)):
        x, y, length = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.08) * height
        cv2.line(streaks, (int(x), int(y)), (int(x + slant * length), int(y + length)), int(rng.integers(30, 90)), 1)
    streaks = cv2.GaussianBlur(streaks, (3, 3), 0)
    image[:] = cv2.add(image, cv2.merge([streaks, streaks, streaks]))


def add_reflections(canvas: Canvas, wet: float) -> None:
    """A wet road mirrors what stands beyond the horizon row, smeared downwards; in place, road pixels only."""
    horizon = int(canvas.camera.horizon_row)
    height = canvas.camera.size[0]
    reach = min(horizon, height - horizon)
    if reach < 8 or wet <= 0:
        return
    mirrored = cv2.blur(canvas.image[horizon - reach : horizon][::-1], (5, max(3, reach // 6) | 1))
    ground = canvas.image[horizon : horizon + reach]
    share = np.linspace(0.5 * wet, 0, reach, dtype=np.float32)[:, None, None]
    mixed = (ground + share * (mirrored.astype(np.float32) - ground)).astype(np.uint8)
    cv2.copyTo(mixed, (canvas.label[horizon : horizon + reach] == 0).astype(np.uint8), ground)
