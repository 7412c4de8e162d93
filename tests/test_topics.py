"""What a guide must hold, and where: no page and no part of one can vanish without a word."""

import re
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest
from blocks import BETWEEN, FENCE, whole
from conftest import files

# A page, and words that its headings or text must have, in every combination.
TOPICS = {
    "index.md": ["first prediction", "Ask it"],
    "project.md": ["The answers it was made with", "The parts"],
    "tree.md": ["A line for each file", "## Code", "## Jobs and pipelines"],
    "guide/components.md": [
        *("## Kubernetes", "## Which of them decides what", "## Developer workspace", "## Version control"),
        *("## Continuous X", "CI ", "SAST", "CD ", "CT ", "## Container registry", "## Storage", "flowchart"),
    ],
    "guide/flow.md": [
        *("## Data preparation and validation", "## Training and evaluation", "## Experiment and pipeline tracking"),
        *("## Model serving and batch inference", "flowchart(.|\n)*flowchart"),
    ],
    "guide/access.md": ["## HTTPS or SSH", "VPN", "MLflow", "What may go wrong"],
    "guide/kubernetes.md": [
        *("## kubectl", "A kubeconfig from", "Several clusters", "kubectx", "Namespaces", "Volumes", "## Secrets"),
        "What a limited account cannot do",
    ],
    "guide/registry.md": ["## Log in", "role", "## Push by hand", "What may go wrong"],
    "guide/storage.md": ["make doctor", "What may go wrong"],
    "guide/platform.md": ["What goes into .env", "make secrets"],
    "guide/jobs.md": ["Before the first job", "The jobs", "What may go wrong", "--wait"],
    "guide/scale.md": ["On this machine", "DASK_WORKERS", "dask-workers", "Who may talk to it", "How far it goes"],
    "guide/mlflow.md": [
        *("Look at runs", "Use the team's server", "doctor", "Log more", "Compare", "champion", "proxied", "direct"),
    ],
    "guide/workspace.md": [
        "VS Code",
        "JupyterLab",
        "extensions|Extensions",
        "What outlives it",
        "over HTTPS",
        "git in a shared place",
    ],
    "guide/environments.md": ['=== "pip"', '=== "uv"', '=== "conda"', "## A kernel for notebooks", "make lock"],
    "guide/data.md": ["## One root", "## Versions", "manifest", "On the cluster's volume", "What is not in git"],
    "guide/database.md": ["## A first query", "## What is kept", "ask=false", "What becomes of types"],
    "guide/prepare.md": ["## What can be set", "## What it notices", "## When rows are bad", "conf/prepare.yaml"],
    "guide/split.md": ["## By a hash", "## Groups", "## By time", "## Given", "## When rows move"],
    "guide/train.md": ["Another model", "## What is recorded", "## The gate"],
    "guide/tune.md": ["## What is searched", "How long, and by how many", "Several workers"],
    "guide/add-feature.md": [
        "## A ratio",
        "Parts of a date",
        "## What each kind",
        "Target encoding",
        "column called class",
    ],
    "guide/add-model.md": [
        "XGBoost",
        "LightGBM",
        "Stacking",
        "logarithm",
        "Early stopping",
        "weight column",
        "no form",
    ],
    "guide/add-metric.md": ["A metric of your own", "Quantiles", "A threshold"],
    "guide/trust.md": ["naive answer", "How sure", "new to both", "again and again", "Cross-validation", "final fit"],
    "guide/promote.md": ["How a version becomes champion", "go back"],
    "guide/infer.md": ["By several workers"],
    "guide/serve.md": ["What it answers", "/metrics"],
    "guide/deploy.md": ["A certain version", "Staging and production", "Go back"],
    "guide/laptop.md": ["docker compose up", "Less of it", "Shut it down", "flowchart"],
    "guide/monitor.md": ["The dashboard", "The alerts", "On the cluster"],
    "guide/images.md": ["How the model gets in", "Baked in", "How they run"],
    "guide/ci.md": ["variable", "Train again and again", "## Go back", "What may go wrong", "production"],
    "guide/documentation.md": ["Publish", "Diagrams"],
    "guide/update.md": ["cruft update", "Change an answer"],
    "guide/config.md": ["Where a setting lives"],
    "guide/doctor.md": ["what is tried"],
    "guide/yours.md": ["A model that suits"],
    "reference.md": [
        *("## Commands", "## Targets of make", "## Environment variables", "## Settings of the service", "## The code"),
    ],
    "settings.md": ["## A file for each command", "## What they share", "## Models", "## Experiments"],
    "http.md": ["## Requests and answers", "## What a request holds", "## What an answer holds"],
    "troubleshooting.md": ["## prepare", "## train and tune", "## The bucket", "## doctor"],
    "design.md": ["The gate", "Who imports what"],
}

# What only some answers bring with them.
CHOSEN = {
    "onprem": {
        "guide/components.md": ["## Rancher", r"\*\*Rancher\*\* decides", "Harbor", "S3-compatible"],
        "guide/flow.md": ["S3 bucket", "s3://"],
        "guide/kubernetes.md": ["Rancher"],
        "guide/registry.md": ["Projects, members and roles", "Robot accounts"],
        "guide/storage.md": ["A profile", "missing from the first list", "Service accounts"],
    },
    "gcp": {
        "guide/components.md": [
            *("## Google Kubernetes Engine", r"\*\*GKE\*\* decides", "Artifact Registry", "Cloud Storage"),
        ],
        "guide/flow.md": ["gs:// bucket", "gs://…"],
        "guide/kubernetes.md": ["gke-gcloud-auth-plugin"],
        "guide/registry.md": ["gcloud auth configure-docker"],
        "guide/storage.md": ["application-default login", "workload identity"],
    },
    "none": {
        "guide/components.md": ["kubectl", r"\*\*kustomize\*\* decides"],
        "guide/flow.md": ["StatefulSet", "Deployment"],
        "guide/orchestrator.md": ["The namespace", "Kustomize", "Quotas", "Minikube", "MicroK8s"],
    },
    "runai": {
        "guide/components.md": ["## Run:ai", r"\*\*Run:ai\*\* decides"],
        "guide/flow.md": ["Trainings", "Inference"],
        "guide/orchestrator.md": [
            *(
                "The console",
                "The command line",
                "runai login",
                '=== "Linux"',
                '=== "macOS"',
                "A kubeconfig",
                "Projects and quotas",
                "GPU fractions",
            ),
            "Windows PowerShell",
        ],
    },
    "polyaxon": {
        "guide/components.md": ["## Polyaxon", r"\*\*Polyaxon\*\* decides"],
        "guide/flow.md": ["Service"],
        "guide/orchestrator.md": [
            *(
                "Is it running",
                "port-forward",
                "config set",
                "A project",
                "Polyaxonfiles",
                "component",
                "Jobs and services",
            ),
        ],
    },
    "gitlab": {
        "guide/components.md": ["merge request"],
        "guide/access.md": ["~/.ssh/config", "Host gitlab", r"Port \d+", "Preferences > SSH Keys", "Access tokens"],
    },
    "github": {
        "guide/components.md": ["pull request"],
        "guide/access.md": ["~/.ssh/config", "ssh.github.com", "SSH and GPG keys", "token"],
    },
    "generic": {"guide/access.md": ["docs/links.md"]},
    "aisg": {
        "parts/ssh_config": ["gitlab.aisingapore.net", "Port 2222"],
        "guide/access.md": [
            *("NUS", "without its domain", "first login", "MLOps team", "DataOps team", "Platforms team"),
            *("asia-southeast1", "us-central1", "asia-southeast1-docker.pkg.dev", "necs.nus.edu.sg"),
        ],
    },
}


def test_every_topic_is_there(project: Path, choices: dict[str, str]) -> None:
    wanted = [*TOPICS.items(), *(pair for choice in choices.values() for pair in CHOSEN[choice].items())]
    missing = [
        f"{name}: {topic}"
        for name, topics in wanted
        for topic in topics
        if not re.search(topic, whole(project, f"docs/{name}"))
    ]
    assert not missing


def test_every_page_has_its_topics_and_its_place(project: Path) -> None:
    pages = {path.relative_to(project / "docs").as_posix() for path in (project / "docs").rglob("*.md")}
    pages = {name for name in pages if name != "links.md" and not name.startswith("parts/")}
    known = {*TOPICS, *(name for topics in CHOSEN.values() for name in topics)}
    assert pages <= known, "say in TOPICS what they hold"
    navigation = (project / "mkdocs.yml").read_text(encoding="utf-8")
    assert not [name for name in pages if f": {name}\n" not in navigation]


# Read by looking something up, not from top to bottom.
LISTS = {"reference.md", "settings.md", "tree.md", "troubleshooting.md"}


@pytest.mark.parametrize("most", [125])
def test_no_page_is_too_long_to_read(project: Path, most: int) -> None:
    long = {
        path.name: lines
        for path in (project / "docs").rglob("*.md")
        if path.name not in LISTS and (lines := len(path.read_text(encoding="utf-8").splitlines())) > most
    }
    assert not long


def test_the_tree_has_a_line_for_each_file(project: Path) -> None:
    """And none for a file that is not there."""
    listed = set(tree(whole(project, "docs/tree.md")))
    assert {name for name in files(project) if not any(fnmatch(name, line) for line in listed)} == set()
    assert {line for line in listed if not any(project.glob(line))} == set()


def tree(page: str) -> Iterator[str]:
    """The paths in a page's text blocks: the words before two spaces, below the folder that is not indented."""
    for block in re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        folder = ""
        for line in block.splitlines():
            names = re.split(r"\s{2,}", line.strip())[0].split()
            if not line.startswith(" "):
                folder = names[0] if names[0].endswith("/") else ""
            yield from (folder + name if line.startswith(" ") else name for name in names if not name.endswith("/"))


def test_the_tree_s_lines_are_read() -> None:
    page = "```text\na.md b.md    both\nsrc/\n  x.py   one\n  y/*.py   more\nz.txt  last\n```\n"
    assert list(tree(page)) == ["a.md", "b.md", "src/x.py", "src/y/*.py", "z.txt"]


# Nothing to read on: the first steps, and lists of what is here.
OWN = {"index.md", "project.md", "tree.md"}


def test_every_page_ends_with_what_to_read_on(project: Path) -> None:
    """In a folded box, with whole addresses."""
    lacking = [
        name
        for name in {*TOPICS, *(name for topics in CHOSEN.values() for name in topics)} - OWN
        if name.endswith(".md")
        and not re.search(r'^\?\?\? info "References"\n\n(    .*https://.*\n?)+', whole(project, f"docs/{name}"), re.M)
    ]
    assert lacking == []


# What PowerShell says in other words; a workspace on the cluster has no PowerShell.
UNIX = re.compile(
    r"^\s*(make|export|set -a|source|curl|sudo|cp|mkdir|cat|jobs/submit\.sh|[A-Z_]+=\S+) |\\\\$|/bin/", re.M
)
NO_WINDOWS = ("needs a workspace", "needs a network and make")


def test_a_command_that_differs_has_its_form_for_powershell(project: Path) -> None:
    pages = [whole(project, page.relative_to(project).as_posix()) for page in (project / "docs").rglob("*.md")]
    lacking = [
        code
        for group in (group for page in pages for group in tabs(page))
        if "powershell" not in {language for language, _, _ in group}
        for language, title, code in group
        if language == "bash" and UNIX.search(code) and not any(reason in title for reason in NO_WINDOWS)
    ]
    assert lacking == []


def tabs(page: str) -> Iterator[list[tuple[str, str, str]]]:
    """The blocks of a page that stand beside each other, as tabs do: language, title and code of each."""
    group: list[tuple[str, str, str]] = []
    end = 0
    for fence in FENCE.finditer(page):
        if group and not (fence[1] and BETWEEN.fullmatch(page[end : fence.start()])):
            yield group
            group = []
        group.append((fence[3], fence[4], fence[5]))
        end = fence.end()
    yield group


def test_tabs_are_read() -> None:
    page = '=== "a"\n\n    ```bash\n    make x\n    ```\n\n=== "b"\n\n    ```powershell\n    x\n    ```\n'
    page += "\n```bash\nmake y\n```\n"
    assert [[language for language, *_ in group] for group in tabs(page)] == [["bash", "powershell"], ["bash"]]
