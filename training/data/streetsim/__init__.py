"""StreetSim: the built-in streets, procedural, with exact labels of the 19 Cityscapes classes."""

from training.data.streetsim.renderer import render
from training.data.streetsim.styles import STYLES, Style

VERSION = 4  # raise it whenever frames change: cached frames of another version are not found again

__all__ = ["STYLES", "VERSION", "Style", "render"]
