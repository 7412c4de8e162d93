"""A hook of MkDocs that adds the guide of every platform and orchestrator, rendered now, to the template's site.

On its own, `python site_hook.py <folder>` renders the projects whose guides these are, a folder for each.
"""

import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from cookiecutter.main import cookiecutter
from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils.yaml import yaml_load

ROOT = Path(__file__).resolve().parent
QUESTIONS = ("platform", "orchestrator")
SCRATCH = tempfile.TemporaryDirectory(prefix="slipway-site-")  # removed when MkDocs ends


def questions() -> dict[str, Any]:
    """What cookiecutter.json asks."""
    asked: dict[str, Any] = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    return asked


def combinations() -> list[dict[str, str]]:
    """The answers of each variant."""
    choices = [questions()[question] for question in QUESTIONS]
    return [dict(zip(QUESTIONS, picked, strict=True)) for picked in itertools.product(*choices)]


def variants() -> dict[str, str]:
    """Each variant's folder, such as gcp-runai, and its name for people: the words before a label's colon."""
    labels = questions()["__prompts__"]
    return {
        "-".join(answers.values()): ", ".join(
            labels[name][choice].partition(": ")[0] for name, choice in answers.items()
        )
        for answers in combinations()
    }


def render(folder: Path) -> None:
    """Render each variant's project into a folder of its name."""
    settings = folder / "cookiecutter.yaml"  # instead of the reader's own
    settings.write_text(json.dumps({"replay_dir": str(folder / "replay")}), encoding="utf-8")
    for answers in combinations():
        made = cookiecutter(
            str(ROOT),
            no_input=True,
            extra_context=answers,
            output_dir=str(folder / "project"),
            config_file=str(settings),
        )
        shutil.move(made, folder / "-".join(answers.values()))


def variant_of(page: str) -> str | None:
    """The variant whose guide a page belongs to; none for the template's own pages."""
    first, _, rest = page.partition("/")
    return rest.partition("/")[0] if first == "guide" else None


def prefixed(nav: Any, prefix: str) -> Any:
    """A navigation whose pages lie in another folder."""
    if isinstance(nav, list):
        return [prefixed(item, prefix) for item in nav]
    if isinstance(nav, dict):
        return {title: prefixed(item, prefix) for title, item in nav.items()}
    return prefix + nav


def navigation(projects: Path) -> list[dict[str, Any]]:
    """The navigation of each guide, by its name for people."""
    texts = {variant: (projects / variant / "mkdocs.yml").read_text(encoding="utf-8") for variant in variants()}
    return [{label: prefixed(yaml_load(texts[name])["nav"], f"guide/{name}/")} for name, label in variants().items()]


def shown(docs: Path) -> dict[str, Path]:
    """The files of a project's docs that its site shows, by their names there."""
    files = {path.relative_to(docs).as_posix(): path for path in sorted(docs.rglob("*")) if path.is_file()}
    hidden = ("links.md", "hooks/", "parts/")  # as in the project's own mkdocs.yml
    return {name: path for name, path in files.items() if not name.startswith(hidden)}


@event_priority(100)  # before mkdocstrings looks where the source is
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Render the projects, and put their guides at the end of the navigation."""
    projects = Path(SCRATCH.name, "projects")
    shutil.rmtree(projects, ignore_errors=True)
    projects.mkdir()
    # A process of its own, so that the template's code is read anew each time and prints nothing here.
    subprocess.run([sys.executable, __file__, str(projects)], check=True, stdout=subprocess.PIPE)
    assert config.nav is not None
    config.nav.append({"Guides": navigation(projects)})
    config.extra |= {"projects": projects, "variants": variants()}
    handlers = config.plugins["mkdocstrings"].config.handlers
    handlers["python"]["paths"] = [str(projects / next(iter(variants())) / "src")]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages and images of each guide."""
    for variant in config.extra["variants"]:
        for name, path in shown(config.extra["projects"] / variant / "docs").items():
            files.append(File.generated(config, f"guide/{variant}/{name}", content=path.read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let a guide's page include files of its own project, and its organisation's addresses."""
    variant = variant_of(page.file.src_uri)
    snippets = config.mdx_configs["pymdownx.snippets"]  # read anew for each page
    snippets["base_path"] = [str(config.extra["projects"] / variant if variant else ROOT)]
    snippets["auto_append"] = ["docs/links.md"] if variant else []
    return markdown


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """Give the menu of guides (overrides/partials/alternate.html) what it asks."""
    urls = {file.src_uri: file.url for file in files.documentation_pages()}

    def guides(page: Page) -> list[tuple[str, str]]:
        """For each variant its name, and the address of the same page or else of its start."""
        here = variant_of(page.file.src_uri) if page else None
        name = page.file.src_uri.removeprefix(f"guide/{here}/") if here else "index.md"
        return [
            (label, urls.get(f"guide/{variant}/{name}", f"guide/{variant}/index.html"))
            for variant, label in config.extra["variants"].items()
        ]

    env.globals["guides"] = guides
    env.globals["variant_of"] = variant_of
    return env


def on_post_build(config: MkDocsConfig) -> None:
    """Tell the pages of equal name apart in the search."""
    index = Path(config.site_dir, "search", "search_index.json")
    search = json.loads(index.read_text(encoding="utf-8"))
    for entry in search["docs"]:
        if variant := variant_of(entry["location"]):
            entry["title"] += f" ({config.extra['variants'][variant]})"
    index.write_text(json.dumps(search, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    render(Path(sys.argv[1]))
