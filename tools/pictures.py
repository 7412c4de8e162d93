"""Photograph a project that runs, for its guide, and the result for the template's home page.

.venv-tools/bin/python tools/pictures.py <environment of the project> <folder for its work>

The pages are the real ones, and no other host is asked for anything.
"""

import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from string import Template
from urllib.parse import quote

from demo import ROOT, ask, brief, environment, example, free_port, wait_until_ready
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
PROJECT = "my-ml-project"
VERBS = ["prepare", "train model=forest", "train model=logistic", "train", "train experiment=small", "tune"]
MLFLOW = "mlflow server --port PORT --workers 1 --backend-store-uri sqlite:///mlflow.db".split()
SERVE = "python -m my_ml_project.serve --port PORT".split()
GUIDE = ROOT / "{{cookiecutter.repo_name}}" / "docs" / "pictures"
HOME = ROOT / "docs" / "assets" / "result.webp"
RESULT = Path(__file__).with_name("result.html")
# MLflow's page as someone has it who has closed the assistant and asked for three measures.
COLUMNS = ["metrics.`valid_log_loss`", "metrics.`test_log_loss`", "metrics.`test_accuracy`"]
KEPT = {
    "mlflow.workflowType_v1": "machine_learning",
    "mlflow.assistant.panelOpen_v1": False,
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    'MLflowLocalStorage-1.1-ExperimentPage-["1"]-ReactComponentState': {"selectedColumns": COLUMNS},
}


class Project:
    """A project of the default answers, and what its commands print."""

    def __init__(self, venv: Path, work: Path) -> None:
        self.programs, self.folder = venv.absolute() / "bin", work / PROJECT
        shutil.rmtree(self.folder, ignore_errors=True)
        self.variables = environment() | {"LOGNAME": "ada", "PATH": f"{self.programs}:{os.environ['PATH']}"}
        subprocess.run([self.programs / "cookiecutter", ROOT, "--no-input", "-o", work], check=True, stdout=2)

    def run(self, *words: str) -> str:
        done = subprocess.run(words, cwd=self.folder, env=self.variables, check=True, stdout=subprocess.PIPE, text=True)
        return done.stdout

    def verb(self, line: str) -> str:
        print(line, flush=True)
        name, *words = line.split()
        return self.run("python", "-m", f"my_ml_project.{name}", *words)

    @contextmanager
    def server(self, probe: str, *words: str) -> Iterator[str]:
        """Start a server on a free port, and give its address when it answers."""
        port = str(free_port())
        url = f"http://127.0.0.1:{port}"
        command = [word.replace("PORT", port) for word in words]
        with subprocess.Popen(command, cwd=self.folder, env=self.variables, stdout=2) as process:
            try:
                wait_until_ready(process, url, probe)
                yield url
            finally:
                process.terminate()


class Camera:
    """A browser that keeps what it sees as pictures."""

    def __init__(self, browser: Browser) -> None:
        self.context = browser.new_context(
            viewport={"width": 1000, "height": 750}, device_scale_factor=1.5, color_scheme="light", locale="en-GB"
        )
        self.context.set_default_timeout(120_000)
        self.context.add_init_script(
            "".join(
                f"localStorage[{json.dumps(name)}] = {json.dumps(json.dumps(kept))};" for name, kept in KEPT.items()
            )
        )

        local = ("http://127.0.0.1", "data:", "blob:", "file:")
        self.context.route(lambda url: not url.startswith(local), lambda route: route.abort())

    @contextmanager
    def page(self, url: str) -> Iterator[Page]:
        page = self.context.new_page()
        page.goto(url)
        if "/#/" in url:
            page.get_by_role("button", name="Toggle sidebar").click()  # more room for the rest
        yield page
        page.close()

    def take(self, page: Page, path: Path, height: int = 690, part: str = "body") -> None:
        """Photograph the upper end of a part of a page, once nothing moves on it any more."""
        page.wait_for_timeout(3_000)
        box = page.locator(part).first.bounding_box()
        assert box is not None
        page.screenshot(
            path=path,
            type="webp",
            quality=90,
            clip=box | {"height": height},
            full_page=True,
            animations="disabled",
            omit_background=path == HOME,
        )
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB", flush=True)


def runs(url: str) -> list[dict[str, str]]:
    """The id, name and parent of each run, the newest first."""
    found = ask(f"{url}/api/2.0/mlflow/runs/search", {"experiment_ids": ["1"], "max_results": 100})["runs"]
    tags = [{tag["key"]: tag["value"] for tag in run["data"]["tags"]} for run in found]
    return [
        {"id": run["info"]["run_id"], "name": run["info"]["run_name"], "parent": tag.get("mlflow.parentRunId", "")}
        for run, tag in zip(found, tags, strict=True)
    ]


def photograph_mlflow(camera: Camera, url: str) -> None:
    every = runs(url)
    boosting = [run["id"] for run in every if run["name"] == "boosting"][-1]
    study = next(run["id"] for run in every if run["name"] == "tune boosting")
    trials = [run["id"] for run in every if run["parent"] == study and run["name"].startswith("trial")]
    with camera.page(f"{url}/#/experiments/1/runs") as page:
        page.get_by_text("test_log_loss").first.wait_for()
        camera.take(page, GUIDE / "runs.webp", 440)
    asked = quote(json.dumps(trials, separators=(",", ":")))
    with camera.page(f"{url}/#/compare-runs?runs={asked}&experiments={quote(json.dumps(['1']))}") as page:
        page.get_by_text("Parallel Coordinates Plot").wait_for()
        page.locator(".parcoords, .js-plotly-plot").first.wait_for()
        camera.take(page, GUIDE / "compare.webp", 590)
    with camera.page(f"{url}/#/models/{PROJECT}") as page:
        page.get_by_text("@ champion").wait_for()
        camera.take(page, GUIDE / "registry.webp")
    for name, run in {"quality": boosting, "history": study, "importance": study}.items():
        with camera.page(f"{url}/#/experiments/1/runs/{run}/artifacts/plots/{name}.png") as page:
            page.locator("img[src^=blob], .image-container img, .js-plotly-plot").first.wait_for()
            camera.take(page, GUIDE / f"{name}.webp")


def photograph_service(camera: Camera, url: str) -> None:
    with camera.page(f"{url}/docs") as page:
        page.locator(".opblock-post").first.click()
        page.get_by_text("Successful Response").first.wait_for()
        camera.take(page, GUIDE / "api.webp", 520, part=".opblock-post")


def photograph_guide(camera: Camera, project: Project) -> None:
    project.run("mkdocs", "build", "--quiet")
    with camera.page((project.folder / "site" / "index.html").as_uri()) as page:
        camera.take(page, project.folder / "guide.webp")


def photograph_result(camera: Camera, project: Project, said: str) -> None:
    """Lay the guide, the runs and a terminal over each other."""
    page_file = project.folder / "result.html"
    told = {"guide": project.folder / "guide.webp", "runs": GUIDE / "runs.webp", "said": html.escape(said)}
    page_file.write_text(Template(RESULT.read_text(encoding="utf-8")).substitute(told), encoding="utf-8")
    with camera.page(page_file.as_uri()) as page:
        page.set_viewport_size({"width": 1200, "height": 560})
        camera.take(page, HOME, 560)


def terminal(trained: str, url: str) -> str:
    """What a user types and reads, from training to an answer."""
    *_, measured, _, verdict = trained.splitlines()
    answer = brief(ask(f"{url}/predict", example(url)))
    return f"$ make train\n…\n{measured}\n{verdict}\n$ curl … /predict\n{answer}\n"


def main(venv: Path, work: Path) -> None:
    project = Project(venv, work)
    GUIDE.mkdir(exist_ok=True)
    with ExitStack() as stack:
        tracking = stack.enter_context(project.server("/health", *MLFLOW))
        project.variables["MLFLOW_TRACKING_URI"] = tracking
        said = {line: project.verb(line) for line in VERBS}
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        camera = Camera(browser)
        photograph_mlflow(camera, tracking)
        service = stack.enter_context(project.server("/readyz", *SERVE))
        photograph_service(camera, service)
        photograph_guide(camera, project)
        photograph_result(camera, project, terminal(said["train"], service))


if __name__ == "__main__":
    main(*(Path(word).resolve() for word in sys.argv[1:]))
