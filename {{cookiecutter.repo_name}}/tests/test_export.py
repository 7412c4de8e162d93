import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import polars as pl
import pytest
import skops.io

from {{ cookiecutter.src_package_name }} import CONF, data, export, model
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.features import tensors
from {{ cookiecutter.src_package_name }}.predictor import Card, OnnxPredictor, SkopsPredictor, load
from {{ cookiecutter.src_package_name }}.schema import EXAMPLE, FEATURES, TARGET, TASK, VERSION

from .conftest import QUICK, configure

NAMES = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
MODELS = [name for name in NAMES if TASK in configure("train", f"model={name}").model.estimator]


def fitted(name: str, tables: dict[str, pl.DataFrame]) -> model.Pipeline:
    pipeline = model.build(configure("train", f"model={name}").model, seed=0)
    model.fit(pipeline, tensors(data.columns(tables["train"])), data.target(tables["train"]))
    return pipeline


def card(pipeline: model.Pipeline, kind: str) -> Card:
    return Card(
        format=kind,
        task=TASK,
        target=TARGET,
        features=dict(FEATURES),
        classes=pipeline.classes_.tolist() if TASK == "classification" else None,
        schema_version=VERSION,
        metrics={},
        run_id="",
    )


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_the_same_in_onnx(name: str, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    pipeline = fitted(name, tables)
    (tmp_path / "model.onnx").write_bytes(export.to_onnx(pipeline).SerializeToString())
    saved = OnnxPredictor(tmp_path / "model.onnx", card(pipeline, "onnx"), threads=1)
    for table in tables.values():
        inputs = tensors(data.columns(table))
        assert export.prove_equal(saved.predict(inputs), model.predict(pipeline, inputs)) < export.TOLERANCE


@pytest.mark.parametrize("name", ["boosting", "forest"])
def test_a_value_on_a_threshold_goes_the_same_way(name: str, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    """Trees part values halfway between two, where single precision is too coarse to say on which side one is."""
    pipeline = fitted(name, tables)
    (tmp_path / "model.onnx").write_bytes(export.to_onnx(pipeline).SerializeToString())
    saved = OnnxPredictor(tmp_path / "model.onnx", card(pipeline, "onnx"), threads=1)
    for column in (name for name, kind in FEATURES.items() if kind == "number"):
        known = np.unique(tensors(data.columns(tables["train"]))[column])
        known = known[~np.isnan(known)].astype(np.float64)
        halfway = np.unique((known[:, None] + known[None, :]).ravel() / 2).tolist()
        inputs = tensors({name: halfway if name == column else [EXAMPLE[name]] * len(halfway) for name in FEATURES})
        export.prove_equal(saved.predict(inputs), model.predict(pipeline, inputs))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_the_same_by_skops(name: str, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    trusted = list(configure("train").export.trusted)
    pipeline = export.audit(fitted(name, tables), trusted)
    skops.io.dump(pipeline, tmp_path / "model.skops")
    saved = SkopsPredictor(tmp_path / "model.skops", card(pipeline, "skops"), trusted)
    inputs = tensors(data.columns(tables["test"]))
    assert export.prove_equal(saved.predict(inputs), model.predict(pipeline, inputs)) == 0


def test_types_that_nobody_trusts_are_not_loaded(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    pipeline = fitted("forest", tables)
    skops.io.dump(pipeline, tmp_path / "model.skops")
    with pytest.raises(Problem, match=r"not trusted: .*Tree"):
        SkopsPredictor(tmp_path / "model.skops", card(pipeline, "skops"), trusted=[])
    with pytest.raises(Problem, match=r"export\.trusted lacks"):
        export.audit(pipeline, [])


def test_a_difference_is_noticed(tables: dict[str, pl.DataFrame]) -> None:
    inputs = tensors(data.columns(tables["valid"]))
    said = model.predict(fitted(QUICK, tables), inputs)
    off = replace(said, values=said.values[::-1])
    if said.probabilities is not None:
        off = replace(off, probabilities=said.probabilities[::-1])
    with pytest.raises(Problem, match="differs from the fitted one"):
        export.prove_equal(off, said)


def test_a_flipped_class_is_noticed_though_probabilities_agree(tables: dict[str, pl.DataFrame]) -> None:
    if TASK == "regression":
        pytest.skip("a regression has no classes")
    said = model.predict(fitted(QUICK, tables), tensors(data.columns(tables["valid"])))
    with pytest.raises(Problem, match="differs"):
        export.prove_equal(replace(said, values=np.roll(said.values, 1)), said)


def test_a_pickle_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x80\x04cos\nsystem\n")
    with pytest.raises(Problem, match="holds no model"):
        load(tmp_path)
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidProtobuf):
        onnxruntime.InferenceSession(tmp_path / "model.onnx")


def test_using_a_model_tells_nobody(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    """ONNX Runtime's reports begin with a file in the scratch folder."""
    file = tmp_path / "model.onnx"
    file.write_bytes(export.to_onnx(fitted(QUICK, tables)).SerializeToString())
    (scratch := tmp_path / "scratch").mkdir()
    imports = "import sys, {{ cookiecutter.src_package_name }}, onnxruntime"
    words = f"{imports}; onnxruntime.InferenceSession(sys.argv[1])"
    environment = {"TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", words, file], check=True, env=environment)
    assert not list(scratch.iterdir())
