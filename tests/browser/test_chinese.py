"""The pages in Chinese: chosen in the bar, kept, and whole on every page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import texts
from clicks import commanded_value, enter, pick, tab, wait_for
from dashboard import Dashboard
from lived_in import LivedIn
from playwright.sync_api import Browser, Page, expect

from app.frame import PAGES
from app.server.language import catalogs

pytestmark = pytest.mark.browser

CHINESE = "zh-CN"
SAY = catalogs()[CHINESE]


@pytest.fixture
def reader(browser: Browser, dashboard: Dashboard) -> Iterator[Page]:
    """Somebody whose browser asks for Chinese."""
    context = enter(browser, dashboard, locale=CHINESE)
    with tab(context) as page:
        yield page
    context.close()


def test_the_language_is_chosen_in_the_bar_and_kept(dashboard: Dashboard, page: Page) -> None:
    page.goto(dashboard.url)
    expect(page.locator("header nav [aria-current]")).to_have_text("Begin")
    page.get_by_role("button", name="中文").click()
    expect(page.locator("header nav [aria-current]")).to_have_text(SAY["Begin"])
    page.locator("header nav").get_by_role("link", name=SAY["Compare"], exact=True).click()
    expect(page.locator("h1")).to_have_text(SAY["Compare"])
    expect(page).to_have_title(f"{SAY['Compare']} · kd")
    assert page.evaluate("document.documentElement.lang") == CHINESE
    page.get_by_role("button", name="English").click()
    expect(page.locator("h1")).to_have_text("Compare")


def test_every_page_is_in_the_language_that_the_browser_asks_for(
    dashboard: Dashboard, lived_in: LivedIn, reader: Page
) -> None:
    for each in PAGES:
        reader.goto(f"{dashboard.url}/{each.path}{'?run=' + lived_in.taught if each.path in ('runs', 'demo') else ''}")
        expect(reader.locator("header nav [aria-current]")).to_have_text(SAY[each.name])
        expect(reader.locator("h1").first).not_to_contain_text("Loading")
        reader.get_by_role("button", name=SAY["Help"]).click()
        expect(reader.locator("#kd-help")).to_contain_text(SAY[each.question])
        reader.keyboard.press("Escape")
    expect(reader.locator("#demo-drop, #demo-image, .upload-container").first).not_to_contain_text("Drop")


def test_a_choice_is_shown_in_chinese_and_is_what_it_was(dashboard: Dashboard, reader: Page) -> None:
    """What the list's field shows is not what it holds: Gradio reads it again."""
    reader.goto(f"{dashboard.url}/launch")
    expect(reader.locator("#command")).to_contain_text("kd train")
    teacher = reader.locator("#field-teacher input")
    expect(teacher).to_have_value(SAY["train first: {name}"].format(name="resnet8x4"))
    pick(reader, "field-teacher", SAY["train first: {name}"].format(name="vgg8"))
    wait_for(lambda: commanded_value(reader, "teacher.spec.student.name") == "vgg8")
    expect(teacher).to_have_value(SAY["train first: {name}"].format(name="vgg8"))
    teacher.fill("timm/resnet10t")
    reader.keyboard.press("Enter")
    wait_for(lambda: commanded_value(reader, "teacher.spec.student.name") == "timm/resnet10t")
    reader.locator("#field-recipe-epochs input").fill("0")
    expect(reader.locator("#problems")).to_contain_text(SAY["Epochs"])
    expect(reader.locator("#launch")).to_have_text(SAY["{count} problem to fix"].format(count=1))


def test_a_text_outside_the_catalogue_is_found_and_a_name_is_none(browser: Browser) -> None:
    page = browser.new_page()
    shown = ["Runs", "3 runs", "No forecast: found 0, expected 1 to 20", "Nobody has translated this", "resnet20 · dkd"]
    shown += ["dash: byot, seed 1 · resnet8, byot, digits: 80.0 % [abcd]"]  # as a list calls a run of a comparison
    found = texts.outside(page, [(text, [text]) for text in shown])
    assert [text for text in found if not texts.is_a_name(text)] == ["Nobody has translated this"]
    page.close()
