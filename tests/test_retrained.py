"""A model that is trained again, with nothing changed, is never promoted over itself: every shipped model, 20 times."""

import sys
from pathlib import Path
from shutil import copytree

import pytest
from conftest import Render, run

TIMES = 20
CONF = Path(__file__).parents[1] / "{{cookiecutter.repo_name}}" / "conf" / "model"
CLASSIFIERS = sorted(file.stem for file in CONF.glob("*.yaml") if "classification:" in file.read_text(encoding="utf-8"))

# In one process, since most of a training's time is for imports; without figures, which take most of the rest.
AGAIN = """
import sys
from my_ml_project import plots, train
from hydra import compose, initialize_config_dir
from my_ml_project import CONF
from my_ml_project.tracking import Tracker

plots.draw = lambda *_: []
with initialize_config_dir(str(CONF), version_base="1.3"):
    config = compose("train", [f"model={sys.argv[1]}"])
tracker = Tracker(config.tracking.uri, config.tracking.experiment)
verdicts = [train.train(config, tracker).verdict for _ in range(1 + int(sys.argv[2]))]
print("promoted", [verdict.promote for verdict in verdicts].count(True), verdicts[0].promote, verdicts[-1].reason)
"""


@pytest.mark.nightly
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_model_that_is_trained_again_is_never_promoted_over_itself(name: str, render: Render, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    copytree(render(), folder)
    python = {"PYTHONPATH": str(folder / "src")}
    assert run(sys.executable, "-m", "my_ml_project.prepare", cwd=folder, **python).returncode == 0
    done = run(sys.executable, "-c", AGAIN, name, TIMES, cwd=folder, **python)
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()[-1]
    assert told.startswith("promoted 1 True "), told
    assert "gain +0.0000, 95% interval +0.0000 to +0.0000" in told
