"""`make demo` goes from the template to a prediction, and says why when it cannot."""

import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run

from tools import demo


def test_the_demo_ends_with_a_prediction_of_an_accurate_model(tmp_path: Path) -> None:
    done = run(sys.executable, ROOT / "tools" / "demo.py", tmp_path, cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(re.findall(r"^ +(?:train|valid|test) +\d+ rows ", done.stdout, re.M)) == 3
    accuracy = re.search(r"accuracy .* test (\d\.\d+)", done.stdout)
    assert accuracy
    assert float(accuracy[1]) > 0.95
    assert re.search(r'answered +\{"prediction": "(Adelie|Chinstrap|Gentoo)"', done.stdout)
    assert "6. Stop the service" in done.stdout
    assert "make ui" in done.stdout.partition("Where to look next:")[2]


def test_a_failed_step_says_which_why_and_where_its_log_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(told: demo.Demo) -> None:
        with told.step("prepare", "Prepare"):
            told.run([sys.executable, "-c", "print('the cause'); raise SystemExit(3)"], tmp_path)

    monkeypatch.setattr(demo, "make", broken)
    monkeypatch.chdir(tmp_path)
    assert demo.main(tmp_path / "build") == 1
    said = capsys.readouterr().out
    assert re.search(
        "Step 1, prepare, failed: .* ended with 3. The end of build/log/01-prepare.log:\n  the cause", said
    )


def test_a_service_that_ends_at_once_is_told_at_once(tmp_path: Path) -> None:
    told = demo.Demo(tmp_path)
    told.logs.mkdir()
    service = told.start([sys.executable, "-c", "raise SystemExit(4)"], tmp_path)
    with pytest.raises(demo.Failure, match="ended with 4 before it was ready"):
        demo.wait_until_ready(service, f"http://127.0.0.1:{demo.free_port()}")
