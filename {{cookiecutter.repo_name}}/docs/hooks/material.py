"""A hook of MkDocs that does what Material leaves to do: no page asks another host, and everything has a name."""

from importlib.resources import files as package

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

LIBRARY = "assets/mermaid.js"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add Mermaid, which draws the diagrams, from the package that carries it."""
    files.append(File.generated(config, LIBRARY, content=package("mermaidx").joinpath(LIBRARY).read_bytes()))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Load it where there is a diagram; the theme then draws in its own colours, light and dark."""
    if '<pre class="mermaid">' not in html:
        return html
    address = get_relative_url(LIBRARY, page.url)
    return f'{html}\n<script src="{address}"></script><script>mermaid.startOnLoad = false</script>\n'


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name the search for those who hear the page instead of seeing it."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')
