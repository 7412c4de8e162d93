"""Making a project one's own: another table takes edits in schema.py and conf/data/, and nowhere else."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import Render, files
from test_project import CHECKS, MYPY, VENV, passes

PACKAGE = "my_ml_project"
SCHEMA, TABLE = f"src/{PACKAGE}/schema.py", "conf/data/table.yaml"

# The page shows a regression; this is the other kind, with two classes that are numbers. All names have spaces.
CANCER_DATA = """
from sklearn.datasets import load_breast_cancer

table = load_breast_cancer(as_frame=True).frame
table.to_csv("data/raw/cancer.csv", index_label="id")
table.drop(columns="target").head(10).to_csv("data/inbox/sample.csv", index_label="id")
"""
CANCER_SCHEMA = '''class Row(BaseModel):
    """One tumour, as a picture of its cells describes it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    mean_radius: Annotated[float, Field(alias="mean radius", gt=0, examples=[14.1])]
    mean_texture: Annotated[float, Field(alias="mean texture", gt=0, examples=[19.3])]
    mean_smoothness: Annotated[float | None, Field(alias="mean smoothness", gt=0, examples=[0.096])] = None
    worst_concavity: Annotated[float | None, Field(alias="worst concavity", ge=0, examples=[0.27])] = None
    worst_concave_points: Annotated[float | None, Field(alias="worst concave points", ge=0, examples=[0.11])] = None


class Example(Row):
    """One tumour that is known to be malign, 0, or benign, 1: a row to learn from."""

    target: Literal[0, 1]
'''


def blocks(page: str) -> dict[str, str]:
    """The code of a page by its title; code to be run has its language for one."""
    found = re.findall(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', page, re.MULTILINE | re.DOTALL)
    return {title or language: code for language, title, code in found}


def adapt(project: Path, data: str, schema: str, table: str, imports: str = "") -> None:
    """Make the edits of the guide's page."""
    passes(sys.executable, "-c", data, cwd=project)
    file = project / SCHEMA
    before = file.read_text().partition("\n\nclass Row")[0]
    file.write_text(f"{before.rstrip()}\n\n{imports}\n\n\n{schema.strip()}\n".replace("\n\n\n\n", "\n\n\n"))
    file = project / TABLE
    text = file.read_text()
    for line in table.splitlines():
        key, _, value = line.partition(": ")
        if value:
            text, count = re.subn(rf"^{key}: \S+", line, text, flags=re.MULTILINE)
            assert count == 1, line
    file.write_text(text)


@pytest.fixture
def project(render: Render, tmp_path: Path) -> Path:
    return Path(shutil.copytree(render(), tmp_path / "project"))


@CHECKS
@pytest.mark.timeout(2400)
def test_a_number_to_predict_takes_the_edits_of_the_page(project: Path, render: Render) -> None:
    text = (project / "docs/guide/yours.md").read_text()
    page = blocks(text)
    adapt(project, page["python"], page[SCHEMA], page[TABLE], re.search("`(from .kinds import .*?)`", text)[1])
    changed = {name for name in files(render()) if (project / name).read_bytes() != (render() / name).read_bytes()}
    assert changed == {SCHEMA, TABLE, "data/inbox/sample.csv"}
    said = passes("make", "pipeline", "infer", f"VENV={VENV}", cwd=project)
    assert "rmse" in said
    assert "split by a hash of clinic" in said
    assert "groups (train/valid/test): " in said
    assert "promoted to champion" in said
    assert "10 rows scored" in said
    passes("make", "check", f"VENV={VENV}", "ARGS=-q -n 2 -p no:cacheprovider", cwd=project, **MYPY)


@pytest.mark.timeout(1200)
def test_two_classes_that_are_numbers_work_all_the_way(project: Path) -> None:
    adapt(project, CANCER_DATA, CANCER_SCHEMA, "raw: raw/cancer.csv")
    said = passes("make", "pipeline", "infer", f"VENV={VENV}", cwd=project)
    accuracy = float(re.search(r"^accuracy .* test (\S+) ", said, re.MULTILINE)[1])
    assert accuracy > 0.9
    assert "10 rows scored" in said
    tests = ["tests/test_serve.py", "tests/test_formats.py", "tests/test_data.py", "tests/test_schema.py"]
    passes(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, cwd=project)
