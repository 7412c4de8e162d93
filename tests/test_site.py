"""The template's site holds the guide of every combination, and nothing on its pages is broken."""

import json
import re
import shutil
import sys
import textwrap
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

import mermaidx
import pytest
import yaml
from blocks import whole
from conftest import ANSWERS, CHOICES, CONTEXTS, OVERLAYS, ROOT, TEMPLATE, Render, run

sys.path.insert(0, str(ROOT))
import site_hook

# All tests use the one site that a worker of pytest-xdist builds.
pytestmark = pytest.mark.xdist_group("site")

VARIANTS = site_hook.variants()
JOBS = {path.stem for path in (OVERLAYS / "orchestrator" / "none" / "jobs").glob("*.yaml")}


class Loader(yaml.SafeLoader):
    """Reads MkDocs' own tags as if they were not there."""


Loader.add_multi_constructor("", lambda loader, tag, node: None)


class Html(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = {name: value for name, value in attrs if value}
        self.ids |= {held[name] for name in ("id", "name") if name in held}
        if tag == "a" and "href" in held:
            self.links.append(held["href"])
        if tag == "link" and held.get("rel") in ("stylesheet", "icon", "prefetch", "preload"):
            self.loads.append(held["href"])
        if "src" in held:
            self.loads.append(held["src"])


def faults(site: Path) -> list[str]:
    """Each link and anchor that leads nowhere, and each thing loaded from another host."""
    pages = {path: Html(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    found = []
    for path, page in pages.items():
        here = path.relative_to(site).as_posix()
        for url in page.links + page.loads:
            target = urlsplit(urljoin(f"http://site/{here}", url))
            if target.netloc != "site":
                if url in page.loads:
                    found.append(f"{here} loads {url}")
                continue
            file = site / unquote(target.path).lstrip("/")
            if not file.is_file():
                found.append(f"{here} links to {url}: no such file")
            elif target.fragment and file in pages and target.fragment not in pages[file].ids:
                found.append(f"{here} links to {url}: no such anchor")
    return found


def test_nothing_is_broken_or_loaded_from_elsewhere(template_site: Path) -> None:
    assert faults(template_site) == []


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    """Or the test above would look for nothing."""
    page = '<h1 id="top"><a href="#top">a</a><a href="b.html">b</a><a href="#no">c</a></h1>'
    script = '<script src="https://example.com/x.js"></script><a href="https://example.com">d</a>'
    (tmp_path / "index.html").write_text(page + script)
    assert faults(tmp_path) == [
        "index.html links to b.html: no such file",
        "index.html links to #no: no such anchor",
        "index.html loads https://example.com/x.js",
    ]


def test_what_is_broken_in_a_template_page_is_told_for_each_guide_that_has_it(tmp_path: Path) -> None:
    """A link on a page of all guides, and an anchor on one of Run:ai's."""
    template = tmp_path / "template"
    left_out = shutil.ignore_patterns(".git", ".venv*", "build", "site", ".*cache", "__pycache__")
    shutil.copytree(ROOT, template, ignore=left_out)
    project = template / TEMPLATE.name
    for page, link in {
        "docs/guide/train.md": "[x](nowhere.md)",
        "_overlays/orchestrator/runai/docs/guide/jobs.md": "[x](train.md#nowhere)",
    }.items():
        (project / page).write_text((project / page).read_text(encoding="utf-8") + f"\n{link}\n", encoding="utf-8")
    done = run("mkdocs", "build", "--strict", "--site-dir", tmp_path / "site", cwd=template, NO_MKDOCS_2_WARNING="1")
    assert done.returncode == 1
    for variant in VARIANTS:
        assert len(re.findall(rf"WARNING .*guide/{variant}/guide/train.md.*nowhere.md", done.stderr)) == 1, done.stderr
        anchors = re.findall(rf"WARNING .*guide/{variant}/guide/jobs.md.*#nowhere", done.stderr)
        assert len(anchors) == variant.endswith("runai"), done.stderr
    assert done.stderr.count("WARNING") == len(VARIANTS) + len(CHOICES["platform"])


def pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    items = nav.values() if isinstance(nav, dict) else nav
    return [page for item in items for page in pages_of(item)]


def test_each_variant_has_every_page(template_site: Path, render: Render) -> None:
    settings = (render(**CONTEXTS[0]) / "mkdocs.yml").read_text(encoding="utf-8")
    pages = pages_of(yaml.load(settings, Loader)["nav"])
    assert len(pages) == len(set(pages)) > 10
    assert len(VARIANTS) == len(CHOICES["platform"]) * len(CHOICES["orchestrator"])
    for variant in VARIANTS:
        built = {path.relative_to(template_site).as_posix() for path in (template_site / "guide" / variant).rglob("*")}
        assert built >= {f"guide/{variant}/{page.removesuffix('.md')}.html" for page in pages}, variant


def test_the_menu_stays_on_the_page(template_site: Path) -> None:
    for page, target in {"guide/gcp-runai/guide/train.html": "guide/train", "index.html": "index"}.items():
        html = Html((template_site / page).read_text(encoding="utf-8"))
        links = {urljoin(f"/{page}", link) for link in html.links}
        assert links >= {f"/guide/{variant}/{target}.html" for variant in VARIANTS}


def test_the_search_tells_variants_apart(template_site: Path) -> None:
    index = json.loads((template_site / "search" / "search_index.json").read_text(encoding="utf-8"))
    titles = [entry["title"] for entry in index["docs"] if entry["location"].endswith("tune.html")]
    assert sorted(titles) == sorted(f"Tune ({label})" for label in VARIANTS.values())


def test_a_guide_is_its_own(template_site: Path) -> None:
    """Included files and addresses are those of the variant, not of the one rendered first."""
    for variant in VARIANTS:
        text = (template_site / "guide" / variant / "guide" / "config.html").read_text(encoding="utf-8")
        assert ("gs://" in text) == variant.startswith("gcp"), variant
        assert ("s3://" in text) == variant.startswith("onprem"), variant


def test_every_picture_is_shown_and_described(project: Path) -> None:
    shown = [
        (described, (page.parent / target).resolve())
        for page in (project / "docs").rglob("*.md")
        for described, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8"))
    ]
    pictures = set((project / "docs" / "pictures").iterdir())
    assert pictures and pictures <= {target for _, target in shown}
    assert all(target.is_file() and len(described) > 30 for described, target in shown)
    assert sum(picture.stat().st_size for picture in pictures) < 1_000_000


def diagrams(render: Render) -> set[str]:
    """All that the pages of any combination show, put together from their parts."""
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md")]
    for context in CONTEXTS:
        project = render(**context)
        texts += [whole(project, str(path.relative_to(project))) for path in (project / "docs").rglob("*.md")]
    return {
        textwrap.dedent(block)
        for text in texts
        for block in re.findall(r"^ *```mermaid\n(.*?)^ *```$", text, re.M | re.S)
    }


def test_every_diagram_can_be_drawn(render: Render) -> None:
    """By the very library that the pages load."""
    drawn = diagrams(render)
    assert len(drawn) > len(CHOICES["platform"]) * len(CHOICES["orchestrator"]) * len(CHOICES["ci"])
    for diagram in drawn:
        mermaidx.render(diagram).svg()
    with pytest.raises(RuntimeError, match="Parse error"):
        mermaidx.render("flowchart LR\n a -->").svg()


def test_all_questions_and_choices_are_explained() -> None:
    text = (ROOT / "docs" / "questions.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    asked = [name for name in ANSWERS if name[0] != "_"]
    assert [name for name in sections if name in asked] == asked
    home = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for question, choices in CHOICES.items():
        assert re.findall(r"^- `(\w+)`", sections[question], re.M) == choices
        assert f"- `{choices[0]}`, the default" in sections[question]
        for word in (question, *choices):
            assert f"`{word}`" in home


def test_both_sites_read_markdown_alike() -> None:
    """A page of the project means the same here and there, apart from where included files lie."""
    ours, theirs = (
        yaml.load(re.sub(r"\{\{.*?\}\}", "x", path.read_text(encoding="utf-8")), Loader)
        for path in (ROOT / "mkdocs.yml", TEMPLATE / "mkdocs.yml")
    )
    for settings in (ours, theirs):
        for extension in settings["markdown_extensions"]:
            if isinstance(extension, dict) and "pymdownx.snippets" in extension:
                extension["pymdownx.snippets"].pop("base_path")
                extension["pymdownx.snippets"].pop("auto_append", None)
        settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"].pop("paths", None)
        settings["theme"].pop("features")
        settings["theme"].pop("custom_dir", None)
        settings["theme"].pop("icon", None)
    for part in ("markdown_extensions", "plugins", "theme", "validation", "use_directory_urls"):
        assert ours[part] == theirs[part], part


def commands(page: str) -> list[str]:
    """The lines of a page's bash and shell blocks."""
    blocks = re.findall(r"^ *```(?:bash|shell)[^\n]*\n(.*?)^ *```$", page, re.M | re.S)
    return [line.strip() for block in blocks for line in block.splitlines()]


def unknown(line: str, project: Path) -> str | None:
    """What a command names that the project does not have."""
    words = line.partition("#")[0].split()
    if words[:1] == ["make"]:
        makefile = (project / "Makefile").read_text(encoding="utf-8")
        targets = re.findall(r"^([a-z]+):.*##", makefile, re.M)
        asked = [word for word in words[1:] if re.fullmatch("[a-z]+", word)]
        return next((target for target in asked if target not in targets), None)
    if words[:2] == ["python", "-m"] and words[2].startswith("my_ml_project"):
        module = project / "src" / (words[2].replace(".", "/") + ".py")
        return None if module.exists() else words[2]
    if words and words[0].startswith("jobs/"):
        known = (project / words[0]).exists() and words[1] in JOBS
        return None if known else " ".join(words[:2])
    return None


def test_commands_in_the_guide_exist(project: Path) -> None:
    seen = 0
    for page in [project / "README.md", *sorted((project / "docs").rglob("*.md"))]:
        for line in commands(page.read_text(encoding="utf-8")):
            seen += 1
            assert unknown(line, project) is None, f"{page.name}: {line}"
    assert seen > 40


@pytest.mark.parametrize(
    "line", ["make trian", "python -m my_ml_project.trian", "jobs/submit.sh trian", "jobs/send train"]
)
def test_commands_that_do_not_exist_are_noticed(line: str, render: Render) -> None:
    assert unknown(line, render(**CONTEXTS[0])) is not None
