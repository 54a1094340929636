"""The theme: one accent colour, one neutral scale, system fonts, light and dark; and what all pages load with it."""

from __future__ import annotations

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).parent / "assets"
FAVICON = ASSETS / "mark.svg"
STYLES = ("base", "frame", "begin", "launch", "runs", "compare", "race", "studies", "inspect", "demo")
SHRUNK_LISTS = ASSETS / "shrunk_lists.js"
FRAME = ASSETS / "frame.js"

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Calm and compact; nothing is fetched from elsewhere."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.blue,
        secondary_hue=gr.themes.colors.blue,
        neutral_hue=gr.themes.colors.slate,
        spacing_size=gr.themes.sizes.spacing_sm,
        radius_size=gr.themes.sizes.radius_md,
        text_size=gr.themes.sizes.text_md,
        font=list(FONTS),
        font_mono=list(MONO),
    ).set(
        body_background_fill="#f6f7f9",
        body_background_fill_dark="#0f1318",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#171c23",
        background_fill_secondary="#f6f7f9",
        background_fill_secondary_dark="#0f1318",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_text_weight="500",
        block_title_text_size="*text_sm",
        block_info_text_size="12px",
        block_padding="2px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#10151b",
        input_border_width="1px",
        border_color_primary="#d9dde3",
        border_color_primary_dark="#2c343f",
        button_primary_background_fill="#2563eb",
        button_primary_background_fill_hover="#1d4ed8",
        button_primary_background_fill_dark="#2f6df0",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#ffffff",
        button_secondary_background_fill_dark="#1d242d",
        button_secondary_border_color="#d9dde3",
        button_secondary_border_color_dark="#2c343f",
        body_text_color_subdued="#5b6572",
        body_text_color_subdued_dark="#98a3b0",
    )


def css() -> str:
    """The style sheets of all pages, what they share first."""
    return "\n".join((ASSETS / "style" / f"{name}.css").read_text() for name in STYLES)


def head() -> str:
    """The script that every page runs when it is drawn."""
    return f"<script>{SHRUNK_LISTS.read_text()}</script>"


def first_script() -> str:
    """The script that every page runs before anything of it is drawn."""
    return FRAME.read_text()
