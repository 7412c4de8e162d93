"""train on the sample's table made longer: processor time around the fit, and memory by rows.

Each training is a process of its own, on one thread, against a champion that was trained on the sample. Before it is
measured, the process has trained on the sample once, so that imports and what happens only once are aside. What is
around the fit is all else: reading, the naive answer, keeping and proving the model, both models' predictions,
measures, figures, the bootstrap and the record.

    python benchmarks/train.py 0.3 1 2 --models boosting lightgbm logistic    # millions of rows
    python benchmarks/train.py 2 --rows 100000    # of a sample of the training split
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tables import measured, project

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("scikit-learn", "lightgbm", "onnxruntime", "polars", "pandas", "numpy", "mlflow")


def once(model: str, rows: str) -> dict[str, float]:
    """Train in this process, in a project's folder; gives processor seconds, and the greatest memory in MB."""
    from hydra import compose, initialize_config_dir
    from my_ml_project import CONF, challenger
    from my_ml_project.train import connect, train

    def configured(*overrides: str) -> Any:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", [f"model={model}", *overrides])

    config = configured("data.prepared=prepared-big", f"rows={rows}")
    tracker = connect(config)
    train(configured("gate.champion=none"), tracker)
    fit, spent = challenger.fit, [0.0]

    def timed(*arguments: Any) -> None:
        start = time.process_time()
        fit(*arguments)
        spent[0] += time.process_time() - start

    challenger.fit = timed
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    train(config, tracker)
    whole = time.process_time() - start
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"fit": spent[0], "around": whole - spent[0], "before": before / 1000, "memory": after / 1000}


def measure(folder: Path, millions: float, asked: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Train each model a few times on a table of so many rows, in turns."""
    raw = folder / "rows.csv"
    count = str(round(millions * 1_000_000))
    measured(
        [sys.executable, str(ROOT / "benchmarks/tables.py"), "--longer", "data/raw/penguins.csv", str(raw), count],
        folder,
    )
    settings = [f"data.raw={raw}", "data.prepared=prepared-big", "review=false"]
    measured([sys.executable, "-m", "my_ml_project.prepare", *settings], folder)
    raw.unlink()
    found: dict[str, list[dict[str, float]]] = {model: [] for model in asked.models}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(folder / "src")}
    for _ in range(asked.turns):
        for model in asked.models:
            command = [sys.executable, __file__, "--once", model, "--rows", asked.rows]
            done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            found[model].append(json.loads(done.stdout.splitlines()[-1]))
    return found


def line(millions: float, model: str, turns: list[dict[str, float]]) -> str:
    """Put what was measured into a row of a table: medians, with the least and the greatest."""

    def cell(values: list[float], form: str) -> str:
        low, middle, high = min(values), statistics.median(values), max(values)
        return f"{middle:{form}} ({low:{form}} to {high:{form}})"

    shares = [each["around"] / each["fit"] for each in turns]
    cells = [cell([each[name] for each in turns], ".1f") for name in ("fit", "around")]
    memory = max(each["memory"] for each in turns)
    return f"| {millions:g} | {model} | {' | '.join(cells)} | {cell(shares, '.0%')} | {memory:.0f} |"


def main() -> None:
    """Print a table, and all figures as JSON behind it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("millions", nargs="*", type=float)
    parser.add_argument("--models", nargs="+", default=["boosting"])
    parser.add_argument("--rows", default="null")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--once")
    asked = parser.parse_args()
    if asked.once:
        print(json.dumps(once(asked.once, asked.rows)))
        return
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    print("| million rows | model | fit, CPU-s | around it, CPU-s | share | MB |\n|---|---|---|---|---|---|")
    figures = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = project(Path(scratch))
        for millions in asked.millions:
            figures[f"{millions:g}"] = measure(folder, millions, asked)
            for model, turns in figures[f"{millions:g}"].items():
                print(line(millions, model, turns), flush=True)
    print(f"\n{json.dumps(figures)}")


if __name__ == "__main__":
    main()
