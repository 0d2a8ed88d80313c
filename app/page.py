"""The page: four tabs on one model, and what is known of the model, for people and as named endpoints for programs."""

from typing import Any

import gradio as gr

from app.context import PageContext
from app.endpoints import LIGHT, endpoint
from app.limits import CLEANING_SECONDS, KEEP_SECONDS, WAITING
from app.look import FOOTER, TITLE, banner
from app.pseudo_labelling import usable_selectors
from app.tabs.batch import BatchTab
from app.tabs.before_after import BeforeAfterTab
from app.tabs.pseudo_labels import PseudoLabelsTab
from app.tabs.segment import SegmentTab


def build_page(context: PageContext) -> gr.Blocks:
    """The Gradio page, ready to launch."""
    with gr.Blocks(
        title=TITLE, analytics_enabled=False, fill_width=True, delete_cache=(CLEANING_SECONDS, KEEP_SECONDS)
    ) as page:
        gr.HTML(banner(context.model), padding=False)
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap"):
            with gr.Tab("Segment", id="segment", elem_id="tab-segment"):
                segment = SegmentTab(context)
            with gr.Tab("Before / after", id="before-after", elem_id="tab-before-after", render_children=True):
                BeforeAfterTab(context, segment.photo)
            with gr.Tab("Pseudo-labels", id="pseudo-labels", elem_id="tab-pseudo-labels"):
                PseudoLabelsTab(context)
            with gr.Tab("Batch", id="batch", elem_id="tab-batch"):
                BatchTab(context)
        gr.HTML(FOOTER, padding=False)
        endpoint(lambda: about(context), "model", [], **LIGHT)
    return page.queue(max_size=WAITING)


def about(context: PageContext) -> dict[str, Any]:
    """What the model says of itself: classes with colours, where it learned and where it went, figures, selectors."""
    metadata = context.model.metadata
    told = ("label_space", "network", "recipe", "source", "target", "stage", "weights_of", "trained_on_target")
    told += ("metrics", "version", "licence")
    return {
        "names": list(metadata.names),
        "colors": [list(color) for color in metadata.colors],
        "training_size": list(metadata.training_size),
        **{name: getattr(metadata, name) for name in told},
        "selectors": list(usable_selectors(context.model)),
        "compares": context.source is not None,
    }
