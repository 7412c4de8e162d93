"""Containers on a machine with neither an engine's service nor a registry to pull from: images are made here.

A stand-in carries the name of a public image and is Debian's of the same release, with the same Python.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from servers import answers, process

from tools.demo import free_port

CACHE = Path(__file__).parents[1] / "build" / "images"  # outlives a run; `make clean` empties it
AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # the machine's, so that a proxy's certificate is known inside
PYTHON, TOOLBOX = "docker.io/library/python:3.13-slim-trixie", "docker.io/library/python:3.13-trixie"

# runc and these limits, because a machine in a container may neither nest control groups nor raise limits.
ENGINE = """\
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=8192:8192"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"    # else all stores share one table of locks
tmp_dir = "{0}/tmp"
[network]
network_backend = "netavark"
"""
STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{0}/images"
runroot = "{0}/run"
"""
# What the official images do, too: no package is kept once it is installed.
CLEAN = """\
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke {"rm -f /var/cache/apt/archives/*.deb";};
"""
LAYER = """\
FROM {base}
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends {packages} \\
 && rm -rf /var/lib/apt/lists/*
"""


class Engine:
    """buildah and podman, with a store of their own below a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(ENGINE.format(folder))
        (folder / "storage.conf").write_text(STORAGE.format(folder))
        self.folder = folder
        self.environment = {
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            "BUILDAH_ISOLATION": "chroot",
            "BUILDAH_FORMAT": "docker",  # the OCI format has no health check
        }

    def run(self, *command: object, text: str | None = None) -> str:
        """Run a command on the store; fails with what it said."""
        words = [str(word) for word in command]
        done = self._call(words, text)
        # Buildah starts each step from a sealed copy of itself in memory. Where the kernel still holds one of the
        # copy's pages it refuses the seal, before anything of the step has run.
        if done.returncode and "sealing memfd copy" in done.stderr:
            done = self._call(words, text)
        assert done.returncode == 0, f"{' '.join(words)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()

    def _call(self, words: list[str], text: str | None) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.environment
        return subprocess.run(words, input=text, env=environment, capture_output=True, text=True, timeout=1800)

    def python(self) -> str:
        """Make the slim Python image that the project's container files start from."""
        if not self.has(PYTHON):
            container = self.run("buildah", "from", "scratch")
            self.run("buildah", "add", "--quiet", container, _debian(), "/")
            root = Path(self.run("buildah", "mount", container))
            for name in ("python", "python3"):
                (root / "usr/local/bin" / name).symlink_to("/usr/bin/python3.13")
            next(root.glob("usr/lib/python3*/EXTERNALLY-MANAGED")).unlink()
            (root / "etc/apt/apt.conf.d/docker-clean").write_text(CLEAN)
            for file in Path("/etc/apt/apt.conf.d").glob("99*"):  # how this machine reaches Debian
                shutil.copy(file, root / "etc/apt/apt.conf.d")
            shutil.copy(AUTHORITIES, root / AUTHORITIES[1:])
            self.run("buildah", "umount", container)
            settings = {
                "PATH": "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG": "C.UTF-8",
                "PIP_CERT": AUTHORITIES,
                "SSL_CERT_FILE": AUTHORITIES,
            }
            words = [word for pair in settings.items() for word in ("--env", "=".join(pair))]
            self.run("buildah", "config", "--cmd", "python3", *words, container)
            self.run("buildah", "commit", "--quiet", "--rm", container, PYTHON)
        return PYTHON

    def with_packages(self, name: str, *packages: str) -> str:
        """Make a stand-in: the slim Python image with packages of Debian's."""
        if not self.has(name):
            self.build(name, LAYER.format(base=self.python(), packages=" ".join(packages)))
        return name

    def build(self, name: str, text: str) -> str:
        """Build an image from the text of a container file that copies nothing."""
        (self.folder / "empty").mkdir(exist_ok=True)
        self.run(
            "buildah",
            "build",
            "--pull-never",
            "--quiet",
            "--tag",
            name,
            "--file",
            "-",
            self.folder / "empty",
            text=text,
        )
        return name

    def with_program(self, name: str, program: Path, *packages: str) -> str:
        """Make a stand-in for an image that runs a program of this machine's."""
        if not self.has(name):
            base = self.with_packages(f"localhost/with:{'-'.join(packages)}", *packages) if packages else self.python()
            container = self.run("buildah", "from", "--pull-never", base)
            self.run("buildah", "copy", "--quiet", "--chmod=755", container, program, "/usr/bin/program")
            self.run("buildah", "config", "--cmd=", '--entrypoint=["/usr/bin/program"]', container)
            self.run("buildah", "commit", "--quiet", "--rm", container, name)
        return name

    def has(self, name: str) -> bool:
        words = ["podman", "image", "exists", name]
        return not subprocess.run(words, env=os.environ | self.environment, check=False).returncode

    def remove(self) -> None:
        """Remove all containers and images, which the file system may hold mounted."""
        self.run("podman", "rm", "--all", "--force")
        self.run("podman", "volume", "rm", "--all", "--force")
        self.run("buildah", "rm", "--all")
        # Not one image after the other, which can take minutes: the store goes as a whole.
        subprocess.run(["umount", "--lazy", self.folder / "images" / "overlay"], capture_output=True, check=False)
        subprocess.run(["rm", "-rf", self.folder], check=False)  # some 200,000 files

    @contextmanager
    def registry(self) -> Iterator[str]:
        """Run a registry without a login, as long as the block lasts; gives its host and port."""
        port = free_port()
        settings = self.folder / "registry.yml"
        settings.write_text(
            f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {self.folder}/registry}}}}\n"
            f"http: {{addr: 127.0.0.1:{port}}}\nlog: {{level: error}}\n"
        )
        with process(self.folder / "registry.log", lambda: answers(port), "docker-registry", "serve", settings):
            yield f"127.0.0.1:{port}"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A store of images, which the tests of the group "images" share."""
    with store() as made:
        made.python()
        yield made


@contextmanager
def store() -> Iterator[Engine]:
    """Keep images as long as the block lasts, and not below pytest's folder, for where paths are longer than some
    50 characters, podman 4 waits 20 seconds for the end of each container that has ended.
    """
    made = Engine(Path(tempfile.mkdtemp(prefix="images-")))
    try:
        yield made
    finally:
        made.remove()


def _debian() -> Path:
    """Fetch Debian's packages into a file, once, whoever needs it first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    file = CACHE / "trixie.tar"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not file.exists():
            subprocess.run(
                [
                    "mmdebstrap", "--quiet", "--variant=minbase",
                    "--include=ca-certificates,python3,python3-venv,python3-pip",
                    '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=path-exclude=/usr/share/man/*",
                    "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/locale/*",
                    "trixie", file.with_suffix(".part.tar"),
                ],
                check=True, timeout=900,
            )  # fmt: skip
            file.with_suffix(".part.tar").rename(file)
    return file
