import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fastapi.testclient import TestClient

from {{ cookiecutter.src_package_name }}.columns import COLUMNS, EXAMPLE, TASK, label
from {{ cookiecutter.src_package_name }}.errors import Problem
from {{ cookiecutter.src_package_name }}.inputs import INPUTS, Values
from {{ cookiecutter.src_package_name }}.predictor import Loaded, Predicted, Predictor
from {{ cookiecutter.src_package_name }}.schema import Row
from {{ cookiecutter.src_package_name }}.serve import create_app, fetch
from {{ cookiecutter.src_package_name }}.settings import Settings

from .conftest import ROOT, a_number, configure, versions

SOURCE = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def client(champion: Loaded) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(max_rows=50, max_bytes=500_000), champion)) as client:
        yield client


def rows(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"rows": [EXAMPLE | change for change in changes]}


def as_json(table: pl.DataFrame) -> list[dict[str, Any]]:
    """Write the rows of a table as a request has them; JSON has no dates."""
    found = [Row.model_validate(row) for row in table.select(list(COLUMNS)).to_dicts()]
    return [row.model_dump(mode="json", by_alias=True) for row in found]


def values(predictions: list[dict[str, Any]]) -> Any:
    """Take the answers out; the last digit of a number depends on how many rows are computed at once."""
    found = [item["prediction"] for item in predictions]
    return pytest.approx(found, rel=1e-5) if TASK == "regression" else found


def test_one_row_is_answered(client: TestClient) -> None:
    answer = client.post("/predict", json=rows({}))
    assert answer.status_code == 200
    assert answer.json()["model"] == {"name": configure("train").tracking.model, "version": "1"}
    [prediction] = answer.json()["predictions"]
    if TASK == "classification":
        assert sum(prediction["probabilities"].values()) == pytest.approx(1, abs=1e-5)
        assert max(prediction["probabilities"], key=prediction["probabilities"].get) == label(prediction["prediction"])


def test_the_documentation_needs_no_other_host(client: TestClient) -> None:
    loads = re.findall(r'(?:src|href)="([^"]+)"', client.get("/docs").text)
    assert [load for load in loads if "//" in load] == []
    assert [client.get(load).status_code for load in loads] == [200] * 3


def test_many_rows_are_answered_in_order(client: TestClient, tables: dict[str, pl.DataFrame]) -> None:
    body = as_json(tables["test"].head(50))
    together = client.post("/predict", json={"rows": body}).json()["predictions"]
    alone = [client.post("/predict", json={"rows": [row]}).json()["predictions"][0] for row in body]
    assert [item["prediction"] for item in together] == values(alone)


def test_the_service_says_what_the_model_says(trained: Path, champion: Loaded, tables: dict[str, pl.DataFrame]) -> None:
    """The service finds the champion by itself."""
    body = tables["test"].select(list(COLUMNS)).head(50)
    said = champion.predictor.predict(body.to_dict(as_series=False))
    with TestClient(create_app(Settings())) as client:
        served = client.post("/predict", json={"rows": as_json(body)}).json()["predictions"]
    assert values(served) == said.values.tolist()


def test_a_missing_value_is_no_mistake_where_the_schema_allows_it(client: TestClient) -> None:
    optional = [name for name, column in COLUMNS.items() if column.optional]
    if not optional:
        pytest.skip("the schema allows none")
    assert client.post("/predict", json=rows(dict.fromkeys(optional))).status_code == 200


def test_an_unknown_category_is_met_as_in_training(client: TestClient) -> None:
    open_text = [name for name, column in COLUMNS.items() if Row.model_fields[column.field].annotation is str]
    if not open_text:
        pytest.skip("the schema has no open category")
    assert client.post("/predict", json=rows({open_text[0]: "nowhere yet"})).status_code == 200


@pytest.mark.parametrize(
    ("change", "rule"),
    [({a_number(): "much"}, "a valid "), ({a_number(): []}, "a valid "), ({"colour": "blue"}, "not permitted")],
)
def test_bad_input_names_the_field_and_the_rule(client: TestClient, change: dict[str, Any], rule: str) -> None:
    answer = client.post("/predict", json=rows({}, change))
    [fault] = answer.json()["detail"]
    assert answer.status_code == 422
    assert fault["loc"] == ["body", "rows", 1, *change]
    assert rule in fault["msg"]


@pytest.mark.parametrize("rows", ["", "{", "[]", "{}", "[1]", "null", "[NaN]", "[[[[[]]]]]", "[" * 9000, '"\\ud800"'])
def test_what_is_no_request_is_refused(client: TestClient, rows: str) -> None:
    body = '{"rows": ' + rows + chr(125)
    assert client.post("/predict", content=body, headers={"content-type": "application/json"}).status_code in {400, 422}


def test_too_many_rows_are_too_large(client: TestClient) -> None:
    assert client.post("/predict", json=rows(*[{}] * 51)).status_code == 413


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_turned_away(client: TestClient, chunked: bool) -> None:
    body = b'{"rows": [' + b" " * 600_000 + b"]}"
    content = iter([body[:300_000], body[300_000:]]) if chunked else body
    assert client.post("/predict", content=content, headers={"content-type": "application/json"}).status_code == 413


def test_probes_and_measures(client: TestClient) -> None:
    client.post("/predict", json=rows({}, {}))
    assert client.get("/livez").status_code == client.get("/readyz").status_code == 200
    text = client.get("/metrics").text
    assert "predictions_total" in text
    assert f'model_info{chr(123)}name="{configure("train").tracking.model}",version="1"{chr(125)} 1.0' in text


def test_the_model_is_described(client: TestClient) -> None:
    described = client.get("/model").json()
    assert described["version"] == "1"
    assert described["card"]["columns"] == {name: column.kind for name, column in COLUMNS.items()}
    assert set(described["card"]["inputs"]) == set(INPUTS)
    assert any(name.startswith("test_") for name in described["card"]["metrics"])


def test_the_example_in_the_documentation_works(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    [example] = schema["components"]["schemas"]["Rows"]["examples"]
    assert client.post("/predict", json=example).status_code == 200
    assert client.get("/docs").status_code == 200


def test_the_service_needs_no_training_libraries(trained: Path, tmp_path: Path) -> None:
    """An image of the service has none of them: it loads a model, warms up and answers without."""
    heavy = {"hydra", "matplotlib", "mlflow", "omegaconf", "onnx", "optuna", "pandas", "polars", "skl2onnx", "sklearn"}
    heavy |= {"lightgbm", "scipy", "skops", "xgboost"}
    folder = versions().fetch(f"models:/{versions().name}/1", tmp_path / "model")
    package = create_app.__module__.removesuffix(".serve")
    code = f"""
import sys
from {package}.serve import fetch, warm_up
from {package}.settings import Settings
warm_up(fetch(Settings(model={str(folder)!r})).predictor)
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=SOURCE)
    assert not heavy & set(done.stdout.split())


def test_a_server_is_asked_for_a_model_without_what_databases_need() -> None:
    package = create_app.__module__.removesuffix(".serve")
    code = f"import sys; sys.modules['sqlalchemy'] = None; import {package}.versions"
    subprocess.run([sys.executable, "-c", code], check=True, env=SOURCE)


def test_a_model_can_lie_in_a_folder(trained: Path, tmp_path: Path) -> None:
    folder = versions().fetch(f"models:/{versions().name}/1", tmp_path / "model")
    with TestClient(create_app(Settings(model=str(folder)))) as client:
        assert client.post("/predict", json=rows({})).json()["model"]["version"] == "local"


def test_no_model_is_a_problem(folder: Path) -> None:
    with pytest.raises(Problem, match="make train"):
        fetch(Settings())
    with pytest.raises(Problem, match="holds no model"):
        fetch(Settings(model=str(folder)))


class Slow:
    """A model that answers when it is told to."""

    def __init__(self, predictor: Predictor) -> None:
        self.card, self._predictor = predictor.card, predictor
        self.called, self.go = threading.Event(), threading.Event()
        self.go.set()

    def predict(self, columns: Mapping[str, Values]) -> Predicted:
        self.called.set()
        assert self.go.wait(20)
        return self._predictor.predict(columns)


@pytest.fixture
def slow(champion: Loaded) -> Slow:
    return Slow(champion.predictor)


@pytest.fixture
def busy(slow: Slow) -> Iterator[TestClient]:
    with TestClient(create_app(Settings(max_waiting=2), Loaded("slow", "1", slow))) as client:
        slow.called.clear()
        yield client


def test_beyond_the_bound_the_answer_is_a_fast_503_and_probes_go_on(busy: TestClient, slow: Slow) -> None:
    slow.go.clear()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(busy.post, "/predict", json=rows({}, {}))
        assert slow.called.wait(20)
        refused = busy.post("/predict", json=rows({}))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert busy.get("/readyz").status_code == 200
        slow.go.set()
        assert waiting.result(20).status_code == 200
    assert busy.post("/predict", json=rows({})).status_code == 200


def test_before_the_model_is_there_the_service_is_not_ready(slow: Slow) -> None:
    client = TestClient(create_app(Settings(), Loaded("slow", "1", slow)))  # not started
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == client.post("/predict", json=rows({})).status_code == 503
