"""Look at a built site in Chromium as readers do, say what is wrong, and keep pictures of it: `make screenshots`.

.venv-tools/bin/python tools/look.py <site> [--pages <pattern>] [--full] [--pictures <folder>]

Prints a JSON list: for each view, width and scheme that was looked at, what is wrong with it.
"""

import argparse
import functools
import itertools
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")
AXE = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "preload": False}
QUERY = "champion"
# Material draws each diagram in a closed shadow root, which hides it from everyone who wants to check it.
OPEN = """const attach = Element.prototype.attachShadow;
Element.prototype.attachShadow = function (options) { return attach.call(this, {...options, mode: "open"}) };"""
MISFITS = """() => {
  const found = [], width = document.documentElement.clientWidth;
  const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX);
  const name = element => element.tagName.toLowerCase() + " " + JSON.stringify(element.innerText?.slice(0, 40) ?? "");
  const whole = document.documentElement.scrollWidth;
  if (whole > width) found.push(`the page is ${whole} wide`);
  const parts = "article :is(table, pre, code, img, svg, p, li, td, h1, h2, h3, .mermaid)";
  for (const element of document.querySelectorAll(parts)) {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest(".md-annotation, [hidden]")) continue;
    let around = element.parentElement;
    while (around && !scrolls(around)) around = around.parentElement;
    if (box.right > width + 1 && !around) found.push(`${name(element)} sticks out to ${Math.round(box.right)}`);
    const style = getComputedStyle(element);
    if (["hidden", "clip"].includes(style.overflowX) && element.scrollWidth > element.clientWidth + 1)
      found.push(`${name(element)} is clipped`);
  }
  for (const image of document.images)
    if (image.complete && !image.naturalWidth) found.push(`the picture ${image.getAttribute("src")} is not shown`);
  for (const drawn of document.querySelectorAll(".mermaid")) {
    const svg = drawn.shadowRoot?.querySelector("svg");
    if (!svg) found.push(`${name(drawn)} is not drawn`);
    else if (svg.textContent.includes("Syntax error")) found.push("a diagram has a syntax error");
  }
  return found;
}"""


@dataclass
class View:
    """A page, and what a reader does there before looking."""

    name: str
    page: str
    act: Callable[[Page], None] = lambda page: None


@dataclass
class Look:
    """A view at a width and in a scheme, and what is wrong with it."""

    view: str
    width: int
    scheme: str
    faults: list[str] = field(default_factory=list)


def search(page: Page) -> None:
    """Search, and see that words are found and lead somewhere."""
    page.locator("label[for=__search].md-header__button:visible, .md-search__input:visible").first.click()
    page.locator(".md-search__input").press_sequentially(QUERY)  # Material listens to keys
    expect(page.locator(".md-search-result__link mark").first).to_have_text(QUERY, timeout=30_000)


def menu(page: Page) -> None:
    """Go to another guide by the menu and back, and see that every entry leads to this page for other choices."""
    variant, _, here = page.url.partition("/guide/")[2].partition("/")
    button, entries = page.locator(".guides button"), page.locator(".guides .md-select__link")
    urls = entries.evaluate_all("links => links.map(link => link.href)")
    assert len(set(urls)) > 1, "the menu of guides is empty"
    assert all(url.endswith(f"/{here}") for url in urls), f"the menu leaves the page {here}: {urls}"
    for url in (next(url for url in urls if f"/{variant}/" not in url), page.url):
        button.hover()
        entries.nth(urls.index(url)).click()
        expect(page).to_have_url(url)
    button.hover()
    expect(page.locator(".guides .md-select__inner")).to_have_css("opacity", "1")


def versions(page: Page) -> None:
    """Go from this version to the other by the menu."""
    page.locator(".md-version__current").hover(force=True)  # the list opens over it
    other = page.locator(".md-version__link").filter(has_not_text="dev")
    other.click()
    expect(page).not_to_have_url(re.compile("/dev/"))
    expect(page.locator(".md-version__current")).not_to_have_text("dev")


def views(site: Path) -> list[View]:
    """The views that matter most: of published versions, of the template's site, or of a project's own."""
    if (site / "versions.json").is_file():
        return [View("versions", "dev/questions.html", versions)]
    if not (site / "guide" / "onprem-none").is_dir():
        return [
            View("tutorial", "index.html"),
            View("components", "guide/components.html"),
            View("jobs", "guide/jobs.html"),
            View("serve", "guide/serve.html"),
            View("reference", "reference.html"),
            View("search", "guide/mlflow.html", search),
        ]
    return [
        View("home", "index.html"),
        View("tutorial", "guide/onprem-none/index.html"),
        View("components", "guide/gcp-polyaxon/guide/components.html"),
        View("jobs", "guide/gcp-runai/guide/jobs.html"),
        View("serve", "guide/onprem-polyaxon/guide/serve.html"),
        View("reference", "guide/onprem-runai/reference.html"),
        View("search", "index.html", search),
        View("menu", "guide/gcp-none/guide/train.html", menu),
    ]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def served(site: Path) -> Iterator[str]:
    """Serve a folder on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def settle(page: Page) -> None:
    """Wait until nothing moves, the diagrams are drawn, and pictures further down are loaded."""
    page.wait_for_function("document.getAnimations().every(motion => motion.playState === 'finished')")
    page.evaluate("document.querySelectorAll('img[loading=lazy]').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    drawn = "[...document.querySelectorAll('.mermaid')].every(diagram => diagram.shadowRoot)"
    page.wait_for_function(f"!window.mermaid || {drawn}", timeout=60_000)
    page.evaluate("document.fonts.ready")


def accessibility(page: Page) -> list[str]:
    """What axe finds that keeps people from reading or using the page."""
    found = Axe().run(page, options=AXE).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {fault['nodes'][0]['html'][:160]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def look(context: BrowserContext, base: str, view: View, seen: Look, picture: Path | None) -> None:
    """Open a view, and note what is wrong."""
    page = context.new_page()

    def note(kind: str) -> Callable[[object], None]:
        return lambda event: seen.faults.append(f"{kind}: {event}")

    page.on("console", lambda message: message.type == "error" and note("console")(message.text))
    page.on("pageerror", note("script"))
    page.on("request", lambda request: request.url.startswith(OWN) or note("asks another host")(request.url))
    try:
        page.goto(f"{base}/{view.page}")
        view.act(page)
        settle(page)
        if picture:
            picture.parent.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=picture)
        seen.faults += page.evaluate(MISFITS)
        seen.faults += accessibility(page)
    except (AssertionError, Error) as error:  # what a view's act expects, and what the browser cannot do
        seen.faults.append(str(error).partition("\nCall log")[0])
    finally:
        page.close()


OWN = ("http://127.0.0.1", "file:", "data:", "blob:")


def tour(browser: Browser, site: Path, every: list[View], full: bool, pictures: Path | None) -> list[Look]:
    """Look at each view, in full at each width in each scheme, else once light and wide and once dark and narrow."""
    sizes = list(itertools.product(WIDTHS, SCHEMES)) if full else [(1440, "light"), (390, "dark")]
    looks = []
    with served(site) as base:
        for width, scheme in sizes:
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            context.add_init_script(OPEN)
            for view in every:
                seen = Look(view.name, width, scheme)
                picture = pictures / f"{view.name.replace('/', '-')}-{width}-{scheme}.png" if pictures else None
                look(context, base, view, seen, picture)
                looks.append(seen)
            context.close()
    if (site / "search").is_dir():  # which works from a folder, too, without any server
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        looks.append(Look("search from a folder", 1440, "light"))
        look(context, site.as_uri(), View("", "index.html", search), looks[-1], None)
    return looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--pages", help="look at all pages that a pattern matches, and not at the chosen views")
    parser.add_argument("--full", action="store_true", help="each view at each width in each scheme")
    parser.add_argument("--pictures", type=Path, help="where to keep a picture of each view")
    given = parser.parse_args()
    site = given.site.resolve()
    every = views(site)
    if given.pages:
        pages = [path.relative_to(site).as_posix() for path in sorted(site.glob(given.pages))]
        every = [View(page.removesuffix(".html"), page) for page in pages]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        looks = tour(browser, site, every, given.full, given.pictures)
    print(json.dumps([vars(seen) for seen in looks], indent=1))


if __name__ == "__main__":
    main()
