import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from sklearn.pipeline import Pipeline

from {{ cookiecutter.src_package_name }} import challenger, formats, model
from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS, tensors
from {{ cookiecutter.src_package_name }}.kinds import Kind
from {{ cookiecutter.src_package_name }}.plan import Plan
from {{ cookiecutter.src_package_name }}.proof import TOLERANCE, UNSEEN, awkward, prove_equal

from .conftest import QUICK, configure, small


@dataclass(frozen=True)
class Kept:
    folder: Path
    pipeline: Pipeline


def keep(planned: Plan, folder: Path, *overrides: str) -> Kept:
    config = configure("train", *overrides)
    pipeline = model.build(config, 0)
    model.fit(pipeline, planned.samples["train"], config.model)
    card = challenger.describe(planned, config, "", model.has_probabilities(pipeline))
    formats.save(pipeline, card, folder, planned.samples["valid"].inputs, list(config.export.trusted))
    return Kept(folder, pipeline)


@pytest.fixture(scope="module")
def onnx(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep(planned, tmp_path_factory.mktemp("onnx"), f"model={QUICK}")


@pytest.fixture(scope="module")
def skops(planned: Plan, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return keep(planned, tmp_path_factory.mktemp("skops"), *small("forest"), "export.format=skops")


TRUSTED = list(configure("train").export.trusted)


def test_skops_answers_the_same_to_the_last_digit(skops: Kept, planned: Plan) -> None:
    loaded, rows = formats.load(skops.folder, trusted=TRUSTED), planned.samples["test"]
    answers = model.predict(skops.pipeline, rows.inputs, planned.learnt)
    answered = loaded.predict_inputs(rows.inputs)
    assert np.array_equal(answered.values, answers.values)
    if answers.probabilities is not None:
        assert np.array_equal(answered.of(answers.classes[0]), answers.of(answers.classes[0]))  # type: ignore[index]


@pytest.mark.parametrize("name", ["boosting", "forest"])
def test_a_value_on_a_threshold_goes_the_same_way(name: str, planned: Plan, tmp_path: Path) -> None:
    """Trees part values halfway between two, where single precision is too coarse to say on which side one is."""
    kept = keep(planned, tmp_path, *small(name))
    read = formats.find("onnx").read(tmp_path, 1, ())
    for column in (name for name, column in COLUMNS.items() if column.seen and column.kind == Kind.NUMBER):
        known = np.unique(planned.samples["train"].inputs[column])
        known = known[~np.isnan(known)]
        halfway = np.unique((known[:, None] + known[None, :]).ravel() / 2).tolist()
        inputs = tensors({name: halfway if name == column else [EXAMPLE[name]] * len(halfway) for name in COLUMNS})
        assert prove_equal(read(inputs), model.outputs(kept.pipeline, inputs)) < TOLERANCE


def test_types_that_nobody_trusts_are_neither_kept_nor_loaded(skops: Kept, planned: Plan, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"model\.skops holds types that are not trusted: .*Tree"):
        formats.load(skops.folder)
    with pytest.raises(Problem, match=r"export\.trusted lacks .*Tree"):
        keep(planned, tmp_path, *small("forest"), "export.format=skops", "export.trusted=[]")


def test_a_format_is_a_module() -> None:
    with pytest.raises(Problem, match=r"export.format=pickle: it is one of onnx, skops"):
        formats.find("pickle")
    for name in ("onnx", "skops"):
        assert {"NEEDS", "example", "write", "read"} <= set(dir(formats.find(name)))


def test_a_description_is_replaced_and_the_model_is_not(onnx: Kept) -> None:
    loaded, before = formats.load(onnx.folder), (onnx.folder / "model.onnx").read_bytes()
    formats.describe(onnx.folder, loaded.card.model_copy(update={"metrics": {"test_measure": 0.1}}))
    assert formats.load(onnx.folder).card.metrics == {"test_measure": 0.1}
    assert (onnx.folder / "model.onnx").read_bytes() == before
    described = yaml.safe_load((onnx.folder / "MLmodel").read_text())
    assert described["signature"]
    requirements = (onnx.folder / "requirements.txt").read_text().splitlines()
    assert {"onnx", "onnxruntime", "numpy"} <= {line.partition("==")[0] for line in requirements}


def test_a_folder_without_a_model_is_a_problem(tmp_path: Path) -> None:
    """Such as one that holds a pickle."""
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(Problem, match=r"holds no model"):
        formats.load(tmp_path)


@pytest.mark.parametrize("text", ["flavors: {}", "metadata: {format: onnx}", "a: [", ""])
def test_a_model_of_someone_elses_is_a_problem(text: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text)
    with pytest.raises(Problem, match=r"that this code did not train: its MLmodel file has no card"):
        formats.load(tmp_path)


def test_awkward_rows_miss_every_value_that_may_be_missing_and_show_one_never_seen(planned: Plan) -> None:
    rows = awkward(planned.samples["valid"].inputs)
    assert len({len(values) for values in rows.values()}) == 1
    for name, made in INPUTS.items():
        if made.kind == Kind.NUMBER:
            assert np.isnan(rows[name]).any() == made.columns[0].optional, name
        else:
            assert {"", UNSEEN} <= set(rows[name].ravel().tolist()), name


CLASSES = (np.array([0, 1]), np.array([[0.9, 0.1], [0.2, 0.8]]))


def test_differences_are_noticed_and_measured() -> None:
    labels, probabilities = CLASSES
    assert prove_equal(CLASSES, CLASSES) == 0
    assert prove_equal((labels, probabilities + 1e-5), CLASSES) == pytest.approx(1e-5)
    with pytest.raises(Problem, match=r"differs from the fitted one by 0.001; keep it with"):
        prove_equal((labels, probabilities + 1e-3), CLASSES)
    with pytest.raises(Problem, match=r"differs"):
        prove_equal((labels, np.full((2, 2), np.nan)), CLASSES)


def test_a_flipped_class_is_noticed_where_there_are_no_probabilities() -> None:
    labels = np.array([0, 1, 1])
    assert prove_equal((labels.reshape(-1, 1), None), (labels, None)) == 0
    with pytest.raises(Problem, match=r"differs"):
        prove_equal((np.array([0, 1, 0]), None), (labels, None))


def test_probabilities_on_one_side_only_are_noticed() -> None:
    with pytest.raises(Problem, match=r"gives probabilities and the fitted one does not"):
        prove_equal(CLASSES, (CLASSES[0], None))


def test_large_numbers_may_differ_by_as_much_as_single_precision_rounds() -> None:
    truth = np.array([1e6, 0.5])
    assert prove_equal((truth.reshape(-1, 1) * (1 + 1e-6), None), (truth, None)) == pytest.approx(1e-6)
    with pytest.raises(Problem, match=r"differs"):
        prove_equal((np.array([1e6, 0.6]), None), (truth, None))


def test_using_a_model_tells_nobody(onnx: Kept, tmp_path: Path) -> None:
    """ONNX Runtime's reports begin with a file in the scratch folder."""
    (scratch := tmp_path / "scratch").mkdir()
    imports = "import sys, {{ cookiecutter.src_package_name }}, onnxruntime"
    words = f"{imports}; onnxruntime.InferenceSession(sys.argv[1])"
    environment = {"TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", words, onnx.folder / "model.onnx"], check=True, env=environment)
    assert not list(scratch.iterdir())
