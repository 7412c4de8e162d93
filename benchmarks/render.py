"""How long rendering takes: all combinations in one process, and the command beside an empty template's."""

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).resolve().parents[1]
COMMAND = Path(sys.executable).parent / "cookiecutter"
ROUNDS = 5


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def combinations() -> list[dict[str, str]]:
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    choices = {k: v for k, v in questions.items() if k[0] != "_" and isinstance(v, list)}
    return [dict(zip(choices, picked, strict=True)) for picked in itertools.product(*choices.values())]


def render_all(out: Path, config: Path) -> None:
    for number, answers in enumerate(combinations()):
        cookiecutter(
            str(ROOT),
            no_input=True,
            extra_context=answers,
            output_dir=str(out / str(number)),
            config_file=str(config),
        )


def empty_template(folder: Path) -> Path:
    (folder / "{{cookiecutter.name}}").mkdir(parents=True)
    (folder / "cookiecutter.json").write_text('{"name": "empty"}')
    return folder


def command(template: Path, out: Path, config: Path) -> None:
    words = [COMMAND, template, "--no-input", "-o", out, "--config-file", config]
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "config.yaml"
        config.write_text(f"replay_dir: {folder / 'replays'}\n")
        empty = empty_template(folder / "empty")
        alone, ours = [], []
        for number in range(ROUNDS):  # in turns, so that a busy machine slows both alike
            alone.append(seconds(partial(command, empty, folder / f"empty-{number}", config)))
            ours.append(seconds(partial(command, ROOT, folder / f"ours-{number}", config)))
        together = seconds(partial(render_all, folder / "all", config))
    one, none = statistics.median(ours), statistics.median(alone)
    print(f"all {len(combinations())} combinations in one process  {together:.2f} s")
    print(f"the command, default answers             {one:.2f} s")
    print(f"the command, an empty template           {none:.2f} s, so {one / none:.1f} times as long")


if __name__ == "__main__":
    main()
