"""Each change that the guide's pages show, made in a copy of a project, which then goes from raw file to answer.

A change is a section of a page: its blocks that are named after a file are the edits, its commands are what is typed.
"""

import ast
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from blocks import Block, Shell, Workspace, blocks, surprises
from conftest import Render
from omegaconf import OmegaConf

PACKAGE = "my_ml_project"
SCHEMA = f"src/{PACKAGE}/schema.py"
TITLED = re.compile(r"^(src|conf)/")
SERVE = Block("bash", "runs until Ctrl-C", f"python -m {PACKAGE}.serve")
ASK = "curl --silent --fail-with-body http://127.0.0.1:8000/predict --header 'Content-Type: application/json'"

# The table of the guide's pages where penguins lack a column: when each was seen, in which colony, how much it counts,
# whether it came back, and which of twenty strains it is of, one of them rare. Equal from run to run.
SIGHTINGS = """
import numpy as np
import polars as pl

random = np.random.default_rng(0)
table = pl.read_csv("data/raw/penguins.csv", null_values="NA").drop("year").drop_nulls("body_mass_g")
rows = len(table)
flipper = table["flipper_length_mm"].to_numpy()
strains = np.where(np.arange(rows) % 60 == 0, 0, 1 + flipper.argsort().argsort() * 19 // rows)
table.with_columns(
    pl.Series("seen_on", np.datetime64("2023-09-01") + random.permutation(rows)),
    pl.Series("colony", random.integers(0, 40, rows)),
    pl.Series("weight", random.uniform(0.5, 2, rows).round(2)),
    pl.Series("returned", flipper + random.normal(0, 3, rows) > 200),
    pl.Series("strain", [f"strain {number}" for number in strains]),
    pl.Series("class", np.where(flipper > 200, "large", "small")),
    pl.col("bill_depth_mm").alias("Bill depth (mm)"),
).write_csv("data/raw/penguins.csv")
"""
SIGHTING = '''
from datetime import date
from .kinds import ASIDE

class Row(BaseModel):
    """One penguin, as it was seen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    island: Annotated[str, Field(min_length=1, max_length=40, examples=["Biscoe"])]
    seen_on: Annotated[date, Field(examples=["2023-11-16"])] | None = None
    bill_length_mm: Annotated[float, Field(gt=0, lt=200, examples=[46.1])] | None = None
    bill_depth_mm: Annotated[float, Field(gt=0, lt=100, examples=[13.2])] | None = None
    flipper_length_mm: Annotated[float, Field(gt=0, lt=500, examples=[211])] | None = None

class Example(Row):
    """One penguin whose body mass is known: a row to learn from."""

    body_mass_g: Annotated[float, Field(gt=0)]
    colony: Annotated[int, ASIDE]
    weight: Annotated[float, ASIDE]
'''

RETURNED = """
class Example(Row):
    returned: bool
"""
STRAINS = """
class Example(Row):
    strain: Annotated[str, Field(min_length=1)]
"""

# What "Make it yours" says in words.
BOOLEAN = Block("python", SCHEMA, RETURNED)
CLASSES = Block("python", SCHEMA, STRAINS)


@dataclass(frozen=True)
class Change:
    """A section of a page, how many files it edits, and what shows that it had an effect."""

    page: str
    section: str
    files: int
    shows: str  # in what prepare, train and the service print
    schema: str = ""  # of the table above, if it takes that instead of the penguins
    edits: tuple[Block, ...] = ()  # where no section shows them

    def __str__(self) -> str:
        return f"{self.page}: {self.section}"


DAILY = [
    Change("add-feature", "A ratio and a logarithm", 1, '"bill_ratio"'),
    Change("add-feature", "A column called class", 1, r'"Bill depth \(mm\)"', SIGHTING),
    Change("add-model", "Stacking", 1, "log_loss"),
    Change("add-metric", "A metric of your own", 2, r"promoted to champion: costs \d"),
    Change("add-metric", "A threshold", 1, '"threshold": ?0.3', SIGHTING + RETURNED),
    Change("split", "By time", 1, "split by seen_on", SIGHTING),
]
NIGHTLY = [
    Change("add-feature", "Words and categories", 1, '"island_and_sex"'),
    Change("add-feature", "Parts of a date", 1, '"weekday"', SIGHTING),
    Change("add-feature", "Target encoding", 1, "log_loss"),
    Change("yours", "A boolean target", 1, '"prediction": ?(true|false)', SIGHTING, (BOOLEAN,)),
    Change("yours", "Twenty classes", 1, "20, the rarest: strain 0", SIGHTING, (CLASSES,)),
    Change("add-model", "Add a model", 0, "log_loss"),
    Change("add-model", "Early stopping and class weights", 0, "log_loss"),
    Change("add-model", "A weight column", 0, "rmse", SIGHTING),
    Change("add-model", "The logarithm of a target", 1, "rmse", SIGHTING),
    Change("add-metric", "Quantiles", 2, "promoted to champion: pinball", SIGHTING),
    Change("add-model", "What ONNX has no form for", 1, '"format": ?"skops"'),
    Change("trust", "Cross-validation", 0, "log_loss"),
    Change("trust", "A final fit", 0, '"judged": ?"models:/'),
    Change("split", "Groups", 0, r"groups \(train/valid/test\)"),
]


def section(page: str, heading: str) -> list[Block]:
    """The blocks below a heading of a page, up to the next one."""
    parts = re.split(r"^#+ (.*)$", re.sub(r"^```.*?^```$", hidden, page, flags=re.M | re.S), flags=re.M)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return blocks(found[heading].replace("\0", "#"))


def hidden(fence: re.Match[str]) -> str:
    """A block whose comments are not taken for headings."""
    return fence[0].replace("#", "\0")


def edit(file: Path, code: str) -> None:
    """Do with a file what a person does with a block of its name: change what is there, and add what is new."""
    if not file.exists():
        file.write_text(code, encoding="utf-8")
    elif file.suffix == ".yaml":
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(file), OmegaConf.create(code)), file)
    else:
        text = file.read_text(encoding="utf-8")
        for node in ast.parse(code).body:
            text = defined(text, node, ast.get_source_segment(code, node) or "")
        file.write_text(text, encoding="utf-8")


def defined(text: str, new: ast.stmt, code: str) -> str:
    """A module's text with one definition more, or another one; a list comes last, behind the functions in it."""
    lines = text.splitlines(keepends=True)
    body = ast.parse(text).body
    if isinstance(new, ast.Import | ast.ImportFrom):
        first = next(node for node in body if isinstance(node, ast.Import | ast.ImportFrom))
        return "".join([*lines[: first.lineno - 1], f"{code}\n", *lines[first.lineno - 1 :]])
    code = "".join(f"@{ast.unparse(mark)}\n" for mark in getattr(new, "decorator_list", [])) + code
    for node in (node for node in body if name(node) == name(new)):
        before, after = "".join(lines[: node.lineno - 1]), "".join(lines[node.end_lineno :])
        return f"{before}{code}\n{after}" if isinstance(new, ast.ClassDef) else f"{before}{after}\n\n{code}\n"
    return f"{text}\n\n{code}\n"


def name(node: ast.stmt) -> str | None:
    """What a statement defines."""
    match node:
        case ast.FunctionDef(name=known) | ast.ClassDef(name=known):
            return known
        case ast.AnnAssign(target=ast.Name(id=known)) | ast.Assign(targets=[ast.Name(id=known)]):
            return known
    return None


@pytest.fixture(scope="module")
def empty_registry(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An MLflow database without runs, which takes seconds to make."""
    folder = tmp_path_factory.mktemp("mlflow")
    code = "import mlflow; mlflow.set_tracking_uri('sqlite:///mlflow.db'); mlflow.MlflowClient().search_experiments()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return (folder / "mlflow.db").read_bytes()


@pytest.fixture
def workspace(render: Render, tmp_path: Path, empty_registry: bytes) -> Workspace:
    made = Workspace(render(), tmp_path)
    (made.project / "mlflow.db").write_bytes(empty_registry)
    return made


@pytest.mark.parametrize(
    "change", [*DAILY, *(pytest.param(change, marks=pytest.mark.nightly) for change in NIGHTLY)], ids=str
)
@pytest.mark.timeout(1200)
def test_a_change_of_the_guide_goes_from_raw_file_to_answer(change: Change, workspace: Workspace) -> None:
    project = workspace.project
    held = list(change.edits) or section((project / f"docs/guide/{change.page}.md").read_text(), change.section)
    edits = [block for block in held if TITLED.match(block.title)]
    if change.schema:
        assert workspace.run("python", "-c", SIGHTINGS).returncode == 0
        edit(project / SCHEMA, change.schema)
    for block in edits:
        edit(project / block.title, block.code)
    assert len({block.title for block in edits}) == change.files <= 2
    typed = [block for block in held if block.kind == "run" and block.language == "bash"]
    assert re.search(change.shows, "\n".join(whole_way(typed, workspace))), change.shows


def whole_way(typed: list[Block], workspace: Workspace) -> list[str]:
    """What is printed on the way from the raw file to a served and a batch prediction."""
    shell = Shell(workspace)
    printed = []
    try:
        printed.append(shell.run(Block("bash", "", f"python -m {PACKAGE}.prepare")))
        if not any(".train" in block.code for block in typed):
            typed = [*typed, Block("bash", "", f"python -m {PACKAGE}.train")]
        for block in typed:
            printed.append(shell.run(block))
            assert surprises(printed[-1], block) == [], f"{block.code}\n{printed[-1]}"
        assert "promoted to champion" in printed[-1], printed[-1]  # by the first of several commands, at least
        shell.run(SERVE)
        request = example(workspace)
        printed.append(shell.run(Block("bash", "", f"{ASK} --data '{request}'")))
        assert "prediction" in printed[-1], printed[-1]
        printed.append(shell.run(Block("bash", "", "curl --silent --fail http://127.0.0.1:8000/model")))
        printed.append(shell.run(Block("bash", "", f"python -m {PACKAGE}.infer")))
        assert "10 rows scored" in printed[-1], printed[-1]
    finally:
        shell.close()
    return printed


def example(workspace: Workspace) -> str:
    """The request of the service's own documentation; the inbox gets ten rows of the raw file."""
    rows = (workspace.project / "data/raw/penguins.csv").read_text().splitlines()[:11]
    (workspace.project / "data/inbox/sample.csv").write_text("\n".join(rows) + "\n")
    code = f"import json; from {PACKAGE}.columns import EXAMPLE; print(json.dumps({{'rows': [EXAMPLE]}}))"
    told = workspace.run("python", "-c", code)
    assert told.returncode == 0, told.stderr
    return json.dumps(json.loads(told.stdout))


def test_what_a_block_defines_takes_the_place_of_what_has_its_name(tmp_path: Path) -> None:
    code = tmp_path / "a.py"
    code.write_text('"""Doc."""\nimport os\nA: int = 1\nclass B: ...\nclass C(B): ...\n')
    edit(code, "import re\n@mark(1)\ndef d(): ...\nclass B:\n    b = 1\nA = 2\n")
    assert re.sub("\n+", "\n", code.read_text()) == (
        '"""Doc."""\nimport re\nimport os\nclass B:\n    b = 1\nclass C(B): ...\n@mark(1)\ndef d(): ...\nA = 2\n'
    )
    settings = tmp_path / "a.yaml"
    settings.write_text("a: {b: 1, c: 2}\nd: 3\n")
    edit(settings, "a: {b: 4}\n")
    assert OmegaConf.load(settings) == {"a": {"b": 4, "c": 2}, "d": 3}


def test_a_section_ends_where_the_next_begins() -> None:
    page = "# A\n\n```bash\n# no heading\none\n```\n\n### B\n\n```bash\ntwo\n```\n\n## C\n"
    assert [block.code for block in section(page, "A")] == ["# no heading\none\n"]
    assert [block.code for block in section(page, "B")] == ["two\n"]
