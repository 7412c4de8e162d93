"""Lay this site out for Zensical, which runs no hooks: all guides as files, and settings that name them.

.venv/bin/python -m tools.zensical build/zensical
"""

import re
import shutil
import sys
import textwrap
from pathlib import Path

import yaml

from site_hook import ROOT, navigation, render, shown, variants


def settings(folder: Path) -> str:
    """mkdocs.yml as it is, with what the hook would have added and without what needs the hook."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    guides = yaml.safe_dump([{"Guides": navigation(folder)}], allow_unicode=True, sort_keys=False, width=1000)
    changes = {
        "# site_hook.py adds the guides at the end.\n": textwrap.indent(guides, "  "),
        "        python:\n": f"        python:\n          paths: [{next(iter(variants()))}/src]\n",
        "  custom_dir: overrides\n": "",
        "  alternate: true ": "  # alternate: true ",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def lay(folder: Path) -> None:
    """Write everything that a build reads into a folder."""
    shutil.copytree(ROOT / "docs", folder / "docs")
    render(folder)
    for variant in variants():
        docs = folder / variant / "docs"
        for page in [*docs.rglob("*.md"), *docs.rglob("*.mmd")]:
            text = re.sub('^( *)--8<-- "', rf'\1--8<-- "{variant}/', page.read_text(encoding="utf-8"), flags=re.M)
            page.write_text(text, encoding="utf-8")
        links = (docs / "links.md").read_text(encoding="utf-8")
        for name, path in shown(docs).items():
            target = folder / "docs" / "guide" / variant / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                target.write_text(f"{path.read_text(encoding='utf-8')}\n\n{links}", encoding="utf-8")
            else:
                shutil.copy(path, target)
    (folder / "mkdocs.yml").write_text(settings(folder), encoding="utf-8")


if __name__ == "__main__":
    lay(Path(sys.argv[1]))
