"""The page shown to others: one network, examples and an image, without the bar and without anything to choose."""

from __future__ import annotations

from urllib.parse import quote

from app import text

# The bar of all pages. What is behind them is not locked: who has the address of the dashboard can still go there.
HIDDEN = "<style>#kd-frame, .nav-holder { display: none !important; }</style>"


def heading(called: str) -> str:
    """Stands above the page."""
    lead = "What is on this image? Choose an example, drop an image, or take one with the camera."
    return f'{HIDDEN}<h1 class="kd">{text.escape(called)}</h1><p class="kd-lead">{lead}</p>'


def link(run_ids: list[str] | None) -> str:
    """Where the page is shown alone with these students."""
    if not run_ids:
        return ""
    address = f"/demo?run={quote(','.join(run_ids))}&only"
    words = "Open this demo alone, to show it to others"
    return f'<a class="kd-facts" id="demo-share" href="{address}" target="_blank">{words}</a>'
