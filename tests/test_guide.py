"""Every command block of every page, in every combination, is run, or says to its readers why not and is checked."""

import re
import subprocess
from collections.abc import Callable

import pytest
from blocks import SHELL, Block, Shell, Workspace, blocks, commands, faults, surprises, whole
from conftest import CONTEXTS, TEMPLATE, Render
from specs import TOOLS

NAVIGATION = re.search(r"^nav:\n((?: .*\n)+)", (TEMPLATE / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
PAGES = [f"docs/{page}" for page in re.findall(r"(\S+\.md)$", NAVIGATION[1], re.MULTILINE)] + ["README.md"]
CHANGES = [f"docs/guide/add-{what}.md" for what in ("feature", "model", "metric")]
ELSEWHERE = {"docs/guide/yours.md": "tests/test_yours.py", **dict.fromkeys(CHANGES, "tests/test_changes.py")}
OTHERS = {"console", "docker", "ini", "json", "markdown", "powershell", "text", "toml", "yaml"}

# What became of the blocks of a page, by language and code: the kind that they were treated as.
Done = dict[tuple[str, str], str]


def texts(render: Render, page: str) -> list[tuple[dict[str, str], list[Block]]]:
    """A page's blocks where they differ, and a combination that has them; tests/test_site.py draws diagrams."""
    found: dict[tuple[Block, ...], dict[str, str]] = {}
    for context in CONTEXTS:
        project = render(**context)
        if (project / page).exists():
            held = (block for block in blocks(whole(project, page)) if block.language != "mermaid")
            found.setdefault(tuple(held), context)
    return [(context, list(held)) for held, context in found.items()]


def follow(page: str, held: list[Block], workspace: Workspace) -> Done:
    """Do what a page says, in one terminal, and check what it only shows."""
    shell = Shell(workspace)
    done: Done = {}
    try:
        for block in held:
            if block.kind == "parsed":
                assert faults(block, workspace) == [], f"{page}:\n{block.code}"
            elif block.kind == "shown":
                assert (workspace.project / block.title).is_file(), f"{page}: {block.title}"
            elif block.kind in ("run", "served") and page not in ELSEWHERE:
                said = shell.run(block)
                assert surprises(said, block) == [], f"{page}:\n{block.code}\n{said}"
            if block.kind != "other":
                done[block.language, block.code] = block.kind
    finally:
        shell.close()
    return done


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.timeout(1200)
def test_the_page_works(
    page: str,
    render: Render,
    tmp_path_factory: pytest.TempPathFactory,
    record_property: Callable[[str, object], None],
) -> None:
    """From a fresh project, offline, from top to bottom; and no block of it is left out."""
    done: Done = {}
    every: set[tuple[str, str]] = set()
    for context, held in texts(render, page):
        every |= {(block.language, block.code) for block in held if block.language in SHELL | {"python"}}
        assert {block.language for block in held} <= SHELL | {"python"} | OTHERS
        if any(block.kind != "other" for block in held):
            done |= follow(page, held, Workspace(render(**context), tmp_path_factory.mktemp("guide")))
    assert every == done.keys()
    record_property("blocks", list(done.values()))


def test_powershell_can_be_parsed(render: Render, record_property: Callable[[str, object], None]) -> None:
    """By the grammar that editors use: PowerShell itself is not to be had here."""
    every = {
        re.sub(r"<[a-z][^<>\n]*>", "FILLED-IN", block.code)
        for page in PAGES
        for _, held in texts(render, page)
        for block in held
        if block.language == "powershell"
    }
    assert every
    assert [code for code in every if not parses(code)] == []
    record_property("told", f"guide: {len(every)} different PowerShell blocks parsed")


def parses(code: str) -> bool:
    program = "import sys, tree_sitter as t, tree_sitter_powershell as p;" + (
        "sys.exit(t.Parser(t.Language(p.language())).parse(sys.stdin.buffer.read()).root_node.has_error)"
    )
    return subprocess.run([TOOLS / "python", "-c", program], input=code.encode()).returncode == 0


def test_what_is_not_powershell_is_noticed() -> None:
    assert not parses("if (1 {")


@pytest.fixture(scope="module")
def workspace(render: Render, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(render(**CONTEXTS[0]), tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize(
    "code",
    [
        "make trian",
        "make train ARG=x",
        "make train ARGS=modle=forest",
        "make doctor ARGS=--olny",
        "python -m my_ml_project.trian",
        "python -m my_ml_project.train model=forrest",
        "python -m my_ml_project.serve --prot 1",
        "jobs/submit.sh trian",
        "jobs/submit.sh train model",
        "kubectl appyl --filename=x",
        "kubectl apply --filname=x",
        "KUBECONFIG=x kubectl config view --flaten > y",
        "git comit",
        "git clone --dpeth=1 x",
        "cruft udpate",
        "gcloud storage bukets ls",
        "gcloud auth login --barief",
        "runai training submit x --imgae y",
        "nonsense",
        "if true; do",
    ],
)
def test_commands_that_do_not_exist_are_noticed(code: str, workspace: Workspace) -> None:
    assert faults(Block("bash", "needs a test", code), workspace)


def test_a_block_that_fails_is_noticed(workspace: Workspace) -> None:
    shell = Shell(workspace)
    with pytest.raises(AssertionError, match="exit status 1"):
        shell.run(Block("bash", "", "false\necho never"))
    shell.close()
    shell = Shell(workspace)
    assert shell.run(Block("bash", "", "cd src\nvalue=7")) == ""
    assert (
        surprises(shell.run(Block("bash", "", 'echo "value $value"; pwd')), Block("bash", "", "", "value 9\n…/src"))
        == []
    )
    assert surprises("one", Block("bash", "", "", "two")) == ["two"]
    shell.close()


def test_blocks_are_found_where_they_hide() -> None:
    page = """
=== "a"

    ```bash title="needs x"
    echo 1
    ```

=== "b"

    ```powershell
    x
    ```

```text
1
```
"""
    first, second, third = blocks(page)
    assert (first.kind, first.code, first.output) == ("parsed", "echo 1\n", "1\n")
    assert (second.language, third.language) == ("powershell", "text")
    assert commands("A=1 make x  # y\nls | sort >z && echo <a b>") == [
        ["make", "x"],
        ["ls"],
        ["sort"],
        ["echo", "FILLED-IN"],
    ]
