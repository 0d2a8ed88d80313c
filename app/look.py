"""How the page looks: system fonts, quiet colours, one accent; nothing comes from a network."""

from html import escape
from pathlib import Path

import gradio as gr

from app.loaded_model import LoadedModel
from training.data.classes import CITYSCAPES_COLORS, LabelSpace
from training.evaluation.tables import told_miou
from training.prediction.model_metadata import ModelMetadata

TITLE = "StreetShift"
HERE = Path(__file__).parent
STRIPE = (0, 1, 2, 8, 10, 6, 7, 11, 13)  # Cityscapes classes whose colours make the stripe


def theme() -> gr.themes.Base:
    """Gradio's base theme on slate and teal, with the fonts of the reader's own system."""
    fonts = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")]
    mono = [gr.themes.Font(name) for name in ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")]
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=fonts,
        font_mono=mono,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_border_width="1px",
        block_shadow="none",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_600",
        button_primary_background_fill_dark="*primary_700",
        button_primary_text_color="white",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_400",
        block_label_text_color="*neutral_600",
        color_accent="*primary_700",
        slider_color="*primary_600",
        slider_color_dark="*primary_500",
    )


def head() -> str:
    """What the page's head gets: its description, its styles, and the script for hovering over a picture.

    The styles come this way because Gradio rewrites the selectors of its own `css` argument.
    """
    styles, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "hover.js"))
    description = "Street photos, segmented class by class."
    return f'<meta name="description" content="{description}"><style>{styles}</style><script>{script}</script>'


def banner(model: LoadedModel) -> str:
    """Name, what the page does, and the model behind it."""
    stripe = "".join("<i style='background:rgb({},{},{})'></i>".format(*CITYSCAPES_COLORS[k]) for k in STRIPE)
    return (
        f'<div class="stripe" aria-hidden="true">{stripe}</div><header class="banner"><h1>{TITLE}</h1>'
        f"<p>Upload a street photo and see what is where in it{_how_learned(model.metadata)}.</p>"
        f'<p class="model">{facts(model)}</p></header>'
    )


def _how_learned(about: ModelMetadata) -> str:
    """Of a model that was trained on its target, or was to be; nothing of others, or of one that had labels there."""
    had_labels = about.source == about.target or about.target.endswith(", the rest")  # oracle, semi-supervised
    if about.trained_on_target and not had_labels:
        return ", as told by a model that learned this place <b>without a single label from it</b>"
    if about.trained_on_target or about.weights_of is None:
        return ""
    kept = ", which the watch kept" if about.stage == "final" else ""
    return f", as told by the model {escape(about.weights_of)}{kept}: it was <b>not trained on photos of this place</b>"


def why_unchanged(model: LoadedModel, source: LoadedModel | None) -> str:
    """Why a photo looks the same before and after: both files hold one model; "" where they hold two, or do not say."""
    kept = model.metadata.weights_of
    if source is None or kept is None or kept != source.metadata.weights_of:
        return ""
    return f"Both are the model {escape(kept)}: the watch kept it, as no adapted model was safely better."


def hex_colours(space: LabelSpace) -> dict[str, str]:
    """Class name -> "#rrggbb"."""
    return {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in zip(space.names, space.colors, strict=True)}


def facts(model: LoadedModel) -> str:
    """The model in one line: where it learned, where it went, and what that gained."""
    about = model.metadata
    parts = [
        f"<b>{escape(about.source)}</b> → <b>{escape(about.target)}</b>",
        f"{escape(about.recipe)}, {escape(about.network)}, {model.space.count} classes",
    ]
    before, after = (told_miou((about.metrics or {}).get(side)) for side in ("before", "after"))
    if before is not None and after is not None:
        parts.append(f"mIoU {before:.1f} → <b>{after:.1f}</b> (before → after)")
    return " · ".join(parts)


CERTAINTY_SCALE = '<p class="scale"><span>unsure</span><i></i><span>sure of it</span></p>'

FOOTER = (
    '<p class="foot">Photos stay on the computer this page runs on and are deleted after an hour. '
    "Made for study, not for driving.</p>"
)
