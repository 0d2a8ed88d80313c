"""Parts of the pixels, and means over them that are safe when the part is empty."""

from keras import ops

from models.replicas import over_replicas, shares

IGNORE, OUTSIDE = 255, 254  # no label; beyond the frame, after augmentation
REGIONS = ("confident", "ignored", "all")


def labelled_region(label):
    """Mask of the pixels that carry a label: float32 `[batch, height, width]`, 1 where `label < 254`."""
    return ops.cast(ops.less(ops.cast(label, "int32"), OUTSIDE), "float32")


def region_of(label, region: str):
    """Mask of a region by its name in IAST and HIAST: float32 `[batch, height, width]`.

    Args:
        region: "confident" (pixels with a pseudo-label), "ignored" (the others of the frame) or "all" of the frame.

    Raises:
        ValueError: an unknown name.
    """
    if region not in REGIONS:
        raise ValueError(f"no region {region!r}: choose from {', '.join(REGIONS)}")
    confident, ignored = labelled_region(label), ops.cast(ops.equal(ops.cast(label, "int32"), IGNORE), "float32")
    return {"confident": confident, "ignored": ignored, "all": confident + ignored}[region]


def mean_over(values, mask, count=None):
    """Mean of `values` over the pixels where `mask` is 1; 0 (with zero gradient) where there is none.

    In a distributed step: this replica's part of the mean over the global batch; the parts of all replicas add up.

    Args:
        values: float `[batch, height, width]`.
        mask: float32 of the same shape, 0 or 1.
        count: divide by this number instead of the pixels of the mask (a part of a larger mean). A loss of one part of
            an accumulated step must have it.
    """
    return ops.sum(values * mask) / ops.maximum(over_replicas(ops.sum(mask)) if count is None else count, 1.0)


def mean_of_all(values):
    """Mean of all `values`; where they are one share of the global batch, its part of the mean: shares are equal."""
    return ops.mean(values) / shares()
