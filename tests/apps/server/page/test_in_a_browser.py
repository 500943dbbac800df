"""The page as people use it, in Chromium: one story from the login to the end of a job, on one server.

One test, since its steps build on each other, and a server and a browser are to be started once.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import starvsr
from starvsr.video import probe
from tests.apps.server.page.driving import Browser, Site
from tests.apps.server.running import parts_of, until


def serious(tab: Browser) -> list[str]:
    """What axe finds that keeps people out."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab.page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found if one["impact"] in ("serious", "critical")
    ]


def is_light(tab: Browser) -> bool:
    background = tab.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return sum(map(int, re.findall(r"\d+", background)[:3])) > 380


def fits(tab: Browser) -> bool:
    """Whether nothing is wider than the screen."""
    wide, screen = tab.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    return bool(wide <= screen)


def frame_of(tab: Browser) -> int:
    return int(re.findall(r"\d+", tab.text("starvsr-player output"))[0])


def both_sides_show(tab: Browser, frame: int) -> bool:
    """Whether original and result, side by side, are that frame."""
    return frame_of(tab) == frame and tab.numbers() == [frame, frame]


def a_login_stands_before_the_page(site: Site, chromium_browser: Any) -> None:
    context = chromium_browser.new_context()
    tab = Browser(site, context)
    tab.open()
    tab.page.fill("#name", "ada")
    tab.page.fill("#password", "not her password")
    tab.page.press("#password", "Enter")
    tab.page.wait_for_selector("#told:not(:empty)")
    assert "the name or the password is wrong" in tab.text("#told")
    assert tab.page.locator("#field-model").count() == 0
    for scheme in ("light", "dark"):
        tab.page.emulate_media(color_scheme=scheme)
        tab.page.set_viewport_size({"width": 390, "height": 844})
        assert serious(tab) == [] and is_light(tab) == (scheme == "light") and fits(tab)
    context.close()


def files_that_cannot_be_taken_are_refused_with_a_reason(tab: Browser, tmp_path: Path) -> None:
    (tmp_path / "large.mp4").write_bytes(bytes(300_001))
    tab.choose(tmp_path / "large.mp4")
    tab.page.wait_for_selector("#source-error:not(:empty)")
    assert "more than the 300 kB allowed" in tab.text("#source-error")
    assert tab.page.is_disabled("#start-button")
    (tmp_path / "letter.mp4").write_bytes(b"Dear reader, this is no video. " * 50)
    tab.choose(tmp_path / "letter.mp4")
    tab.page.wait_for_selector("#actions-error:not(:empty)")
    assert "letter.mp4" in tab.text("#actions-error") and str(tab.site.data) not in tab.text("#actions-error")
    assert tab.page.is_disabled("#start-button") and tab.page.is_disabled("#preview-button")
    assert all("422" in text for text in tab.complaints), tab.complaints  # the browser's own line on a refusal
    tab.complaints.clear()


def facts_then_a_preview_with_sliders(tab: Browser, films: Path) -> None:
    tab.choose(films / "film.mp4")
    tab.page.wait_for_selector("#start-button:not([disabled])")
    assert "64x48, 60 frames, 6.0 s, with sound" in tab.text("#facts") and "256x192, mp4" in tab.text("#facts")
    tab.set("scale", "2")
    until(lambda: "128x96" in tab.text("#facts"))
    tab.page.wait_for_selector("#preview-button:not([disabled])")
    tab.page.fill("#preview-at", "2")
    tab.page.click("#preview-button")
    tab.page.wait_for_selector("starvsr-player:visible")
    assert re.search(r"a frame; the whole takes about .+, and .+B of memory", tab.text("#actions-told"))
    assert "frame 0 / 2" in tab.text("starvsr-player output") and "Frames from 2.0 s on" in tab.text(".viewer")
    assert tab.page.input_value("starvsr-player .choices >> select >> nth=1") == "1"  # a pixel is a pixel
    border = tab.page.locator("starvsr-player .slider input")

    def shown_with(share: int) -> Any:
        border.fill(str(share))
        return tab.page.evaluate("document.querySelector('starvsr-player canvas').toDataURL()")

    before, after = shown_with(1000), shown_with(0)
    assert before != after
    tab.page.locator("#viewer-detail").fill("0")
    assert shown_with(0) == before  # nothing of the model's is left: the plain enlargement on both sides
    until(lambda: tab.page.input_value("#field-detail input[type=number]") == "0")
    tab.page.locator("#viewer-detail").fill("1")
    assert shown_with(0) == after
    until(lambda: tab.page.is_enabled("#start-button"))


def two_seconds_play_in_step_and_tell_the_time(tab: Browser) -> None:
    page = tab.page
    page.select_option("#preview-amount", "seconds")
    page.click("#preview-button")
    page.wait_for_selector(".viewer:has-text('2.0 s from 2.0 s on')")
    assert re.search(r"a frame; the whole takes about .+, and .+B of memory", tab.text("#actions-told"))
    assert "frame 0 / 19" in tab.text("starvsr-player output") and page.get_by_role("button", name="Play").is_visible()
    assert page.input_value("starvsr-player .choices >> select >> nth=1") == "1"
    page.select_option("starvsr-player select >> nth=0", "sides")
    page.select_option("starvsr-player .choices >> select >> nth=1", "fit")
    until(lambda: frame_of(tab) == 0 and tab.numbers() == [20, 20])  # frames 20 to 39 of the clip
    stage = page.locator("starvsr-player .stage")
    for key, frame in (("ArrowRight", 1), ("End", 19), ("ArrowLeft", 18), ("Home", 0)):
        stage.press(key)
        until(lambda frame=frame: frame_of(tab) == frame and tab.numbers() == [20 + frame] * 2)
    stage.press("Space")
    until(lambda: frame_of(tab) > 3)
    stage.press("Space")
    until(lambda: page.get_by_role("button", name="Play").is_visible() and tab.numbers() == [20 + frame_of(tab)] * 2)
    canvas = "document.querySelector('starvsr-player canvas').toDataURL()"
    whole = page.evaluate(canvas)
    page.locator("#viewer-detail").fill("0")
    until(lambda: page.evaluate(canvas) != whole)
    page.locator("#viewer-detail").fill("1")
    until(lambda: page.evaluate(canvas) == whole)
    page.select_option("starvsr-player select >> nth=0", "wipe")
    page.select_option("#preview-amount", "frames")
    assert serious(tab) == [] and tab.complaints == []
    until(lambda: page.is_enabled("#start-button"))


def a_job_is_paused_and_survives_a_killed_server_with_equal_bytes(
    tab: Browser, site: Site, films: Path, tmp_path: Path
) -> None:
    tab.page.click("#start-button")
    card = tab.job_is("running")
    job = card.get_attribute("data-id")
    assert card.locator("progress").is_visible()
    tab.page.click("#start-button")
    waiting = tab.job_is("queued")
    assert tab.job_is("running", index=1).get_attribute("data-id") == job
    for _ in range(2):  # the second press is the answer to "Really cancel?"
        waiting.get_by_role("button", name=re.compile("Cancel")).click()
    tab.job_is("cancelled")
    until(lambda: parts_of(site.data, job, "mp4") >= 1)
    tab.job(1).get_by_role("button", name=re.compile("Pause")).click()
    paused = tab.job_is("paused", index=1)
    kept = parts_of(site.data, job, "mp4")
    assert 1 <= kept < 6, "the job was too fast to be paused"
    paused.get_by_role("button", name=re.compile("Resume")).click()
    until(lambda: parts_of(site.data, job, "mp4") > kept)
    site.kill()
    tab.page.wait_for_selector(".lost:visible")
    tab.complaints.clear()  # the browser's own lines on a server that is gone
    site.start()
    tab.page.wait_for_selector(".lost", state="hidden")
    done = tab.job_is("done", index=1)
    tab.complaints.clear()
    with tab.page.expect_download() as download:
        done.get_by_role("link", name=re.compile("Download")).click()
    assert download.value.suggested_filename == "film_upscaled.mp4"
    starvsr.upscale(films / "film.mp4", tmp_path / "ours.mp4", scale=2, threads=1, device="cpu")
    assert Path(download.value.path()).read_bytes() == (tmp_path / "ours.mp4").read_bytes()


def a_result_plays_in_step_with_its_input(tab: Browser) -> None:
    tab.job_is("done", index=1).get_by_role("button", name=re.compile("Watch")).click()
    page = tab.page
    page.wait_for_selector(".viewer:has-text('Result of film.mp4')")
    page.select_option("starvsr-player select >> nth=0", "sides")
    stage = page.locator("starvsr-player .stage")
    assert stage.evaluate("element => document.activeElement === element")
    until(lambda: both_sides_show(tab, 0))
    for key, frame in (("ArrowRight", 1), ("ArrowRight", 2), ("End", 59), ("ArrowLeft", 58), ("Home", 0)):
        stage.press(key)
        until(lambda frame=frame: both_sides_show(tab, frame))
    assert page.get_by_role("button", name="Sound on").is_visible()
    stage.press("m")
    assert page.get_by_role("button", name="Sound off").is_visible()
    stage.press("Space")
    until(lambda: frame_of(tab) > 3)
    stage.press("Space")
    until(lambda: page.get_by_role("button", name="Play").is_visible() and both_sides_show(tab, frame_of(tab)))
    stopped = frame_of(tab)
    page.locator("starvsr-player input[aria-label=frame]").fill("30")
    until(lambda: both_sides_show(tab, 30))
    assert stopped != 30 and tab.complaints == []


def what_the_browser_cannot_play_is_shown_as_a_copy(tab: Browser) -> None:
    """An AVI, whose result is ProRes: both sides are copies, with the frames of their originals."""
    page = tab.page
    page.select_option("#source-kept", label="films/film.avi")
    page.fill("#field-model input", "bicubic")
    page.press("#field-model input", "Enter")
    page.fill("#field-container input", "mov")
    page.press("#field-container input", "Enter")
    page.get_by_role("button", name="All settings").click()
    tab.set("codec", "prores")
    until(lambda: page.is_enabled("#start-button") and "mov" in tab.text("#facts"))
    page.click("#start-button")
    card = tab.job_is("done")
    assert "film.avi" in card.inner_text()
    card.get_by_role("button", name=re.compile("Watch")).click()
    page.wait_for_selector(".viewer:has-text('Result of film.avi')")
    page.wait_for_selector("starvsr-player .failed:has-text('A copy that it can is being made')")
    page.select_option("starvsr-player select >> nth=0", "sides")
    for words in ("cannot play the result: a copy is shown", "cannot play the original: a copy is shown"):
        until(lambda words=words: words in tab.text(".viewer"))
    until(lambda: page.evaluate("document.querySelector('starvsr-player').source.isReady"))
    assert (
        page.locator("starvsr-player .failed").is_hidden() and page.get_by_role("button", name="Sound on").is_visible()
    )
    stage = page.locator("starvsr-player .stage")
    for key, frame in (("ArrowRight", 1), ("End", 59), ("ArrowLeft", 58), ("ArrowLeft", 57), ("Home", 0)):
        stage.press(key)
        until(lambda frame=frame: both_sides_show(tab, frame))
    for frame in (9, 10, 31, 40):
        page.locator("starvsr-player input[aria-label=frame]").fill(str(frame))
        until(lambda frame=frame: both_sides_show(tab, frame))
    tab.complaints.clear()  # the browser's own lines on what it cannot play
    with page.expect_download() as download:
        card.get_by_role("link", name=re.compile("Download")).click()
    assert probe(download.value.path()).codec == "prores"  # and what is fetched is the result itself


def the_keyboard_is_enough(tab: Browser) -> None:
    page = tab.page
    page.reload()
    tab.ready()

    def tab_to(selector: str) -> None:
        for _ in range(80):
            page.keyboard.press("Tab")
            if page.evaluate("wanted => document.activeElement?.matches(wanted)", selector):
                return
        raise AssertionError(f"Tab does not come to {selector}")

    tab_to("#source-file")
    tab_to("#source-kept")
    page.keyboard.type("films/film.mp4")
    until(lambda: "films/film.mp4" in tab.text("#source-told"))
    tab_to("#field-model input")
    page.keyboard.press("Control+A")
    page.keyboard.type("bicubic")
    page.keyboard.press("Enter")
    until(lambda: page.input_value("#field-model input") == "bicubic")
    page.keyboard.press("Escape")
    tab_to("#field-duration textarea, #field-duration input")
    page.keyboard.type("1")
    until(lambda: page.is_enabled("#start-button"))
    tab_to("#start-button")
    page.keyboard.press("Enter")
    until(lambda: "10 frames" in tab.job().inner_text())  # not the one before, which is done as well
    tab.job_is("done")
    tab_to("ul.jobs > li:first-child button")
    page.keyboard.press("Enter")
    page.wait_for_selector("starvsr-player .stage:focus")
    tab_to("ul.jobs > li:first-child button[aria-label^=Delete]")
    number = page.locator("ul.jobs > li").count()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    until(lambda: page.locator("ul.jobs > li").count() == number - 1)
    assert page.locator("starvsr-player").is_hidden()  # what is gone is not shown any more


def a_phone_and_other_eyes(tab: Browser, scheme: str) -> None:
    """The page with everything on it, wide and as narrow as a phone, with a result in its player."""
    page = tab.page
    page.emulate_media(color_scheme=scheme)
    page.reload()
    tab.ready()
    page.get_by_role("button", name="All settings").click()
    tab.job_is("done", "cancelled")
    page.get_by_role("button", name=re.compile("Watch")).first.click()
    page.wait_for_selector("starvsr-player .stage:focus")
    assert serious(tab) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert fits(tab)
    until(lambda: serious(tab) == [])
    assert is_light(tab) == (scheme == "light")
    for selector in ("#preview-button", "#start-button", "starvsr-player .play", "ul.jobs button >> nth=0"):
        box = page.locator(selector).bounding_box()  # large enough for a finger, and on the screen
        assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 390, selector
    page.set_viewport_size({"width": 1280, "height": 900})


def fields_follow_the_model(tab: Browser) -> None:
    page = tab.page
    assert page.locator("#field-precision").is_visible()
    page.fill("#field-model input", "bicubic")
    page.press("#field-model input", "Enter")
    page.wait_for_selector("#field-precision", state="hidden")
    assert page.locator("#field-scale").is_visible() and page.locator("#field-codec").is_visible()


def nothing_is_fetched_from_elsewhere_and_nothing_fails(tab: Browser) -> None:
    assert tab.foreign == [] and tab.complaints == []
    assert tab.page.context.cookies()[0]["httpOnly"]


@pytest.mark.timeout(1500)
def test_the_page_in_use(site: Site, tab: Browser, chromium_browser: Any, films: Path, tmp_path: Path) -> None:
    a_login_stands_before_the_page(site, chromium_browser)
    files_that_cannot_be_taken_are_refused_with_a_reason(tab, tmp_path)
    facts_then_a_preview_with_sliders(tab, films)
    two_seconds_play_in_step_and_tell_the_time(tab)
    a_job_is_paused_and_survives_a_killed_server_with_equal_bytes(tab, site, films, tmp_path)
    a_result_plays_in_step_with_its_input(tab)
    what_the_browser_cannot_play_is_shown_as_a_copy(tab)
    the_keyboard_is_enough(tab)
    for scheme in ("light", "dark"):
        a_phone_and_other_eyes(tab, scheme)
    fields_follow_the_model(tab)
    nothing_is_fetched_from_elsewhere_and_nothing_fails(tab)
