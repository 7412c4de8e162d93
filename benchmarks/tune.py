"""How well workers share a search: the same trials by one, two and three of them, on one PostgreSQL.

Prints trials a minute, and each number of workers' efficiency: how many times as fast as one worker it was, over how
many workers share the machine's processors. Run it on a machine that does nothing else.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from cookiecutter.main import cookiecutter  # noqa: E402 - the paths come first
from servers import postgres  # noqa: E402

TRIALS = 24
WORKERS = (1, 2, 3)
MODEL = ["model=forest", "model.space.max_depth.low=6", f"study.trials={TRIALS}", "study.startup_trials=24"]


def search(project: Path, storage: str, workers: int) -> float:
    """Run a search, and give the seconds from its first trial's start to its last trial's end."""
    environment = os.environ | {
        "PYTHONPATH": str(project / "src"),
        "OPTUNA_STORAGE": storage,
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db",  # which the first search makes
    }
    words = [sys.executable, "-m", "my_ml_project.tune", *MODEL, f"study.name=by-{workers}"]
    running = [
        subprocess.Popen([*words, f"study.worker={n}"], cwd=project, env=environment, stdout=subprocess.DEVNULL)
        for n in range(workers)
    ]
    for worker in running:
        assert worker.wait() == 0
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (name,) = [name for name in optuna.get_all_study_names(storage) if name.startswith(f"by-{workers}-")]
    trials = optuna.load_study(study_name=name, storage=storage).trials
    starts = [trial.datetime_start.timestamp() for trial in trials if trial.datetime_start and trial.params]
    ends = [trial.datetime_complete.timestamp() for trial in trials if trial.datetime_complete and trial.params]
    assert len(ends) == TRIALS
    return max(ends) - min(starts)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        cookiecutter(str(ROOT), no_input=True, output_dir=str(folder))
        project = folder / "my-ml-project"
        environment = os.environ | {"PYTHONPATH": str(project / "src")}
        subprocess.run([sys.executable, "-m", "my_ml_project.prepare"], cwd=project, env=environment, check=True)
        with postgres(folder) as database:
            storage = database.url("study")
            took = {workers: search(project, storage, workers) for workers in WORKERS}
        shutil.rmtree(project)
    processors = os.cpu_count() or 1
    print(
        f"Optuna {version('optuna')}, scikit-learn {version('scikit-learn')}, {processors} processors, {TRIALS} trials"
    )
    for workers, seconds in took.items():
        gain = took[1] / seconds
        print(
            f"{workers} worker(s): {TRIALS / seconds * 60:5.1f} trials a minute, {gain:.2f} times one worker's, "
            f"efficiency {gain / min(workers, processors):.0%}"
        )


if __name__ == "__main__":
    main()
