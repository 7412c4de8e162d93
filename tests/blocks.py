"""The code in the guide's pages: where it is, how it is run, and how commands that cannot be run here are checked."""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml
from conftest import ROOT
from servers import THRIFT
from specs import TOOLS

SHELL = {"bash", "sh", "shell", "console"}
VENV = Path(sys.executable).parents[1]
DONE = "--- done ---"
FENCE = re.compile(r"^( *)(`{3,})(\w+)([^\n]*)\n(.*?)^\1\2 *$", re.MULTILINE | re.DOTALL)
PART = re.compile(r'^( *)--8<-- "(docs/parts/[^"]+)"$', re.MULTILINE)
BETWEEN = re.compile(r'(\s|=== ".*"\n)*')  # what may stand between a command and what it prints
READY = "Uvicorn running on|Serving on|Listening at"
VENDORS = yaml.safe_load((ROOT / "tests" / "commands.yaml").read_text(encoding="utf-8"))

# A network of its own, with nothing in it but itself: no page can reach out, and every port is free.
ALONE = """
import fcntl, os, socket, struct, sys
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x49))  # SIOCSIFFLAGS: up, loopback, running
os.execvp(sys.argv[1], sys.argv[1:])
"""


@dataclass(frozen=True)
class Block:
    """A fenced block, and what the page says that it prints."""

    language: str
    title: str
    code: str
    output: str = ""

    @property
    def kind(self) -> str:
        """What is to be done with it: its title says so, to readers too."""
        if self.language not in SHELL | {"python"}:
            return "other"
        if self.title.startswith("needs "):
            return "parsed"
        if self.title == "runs until Ctrl-C":
            return "served"
        return "shown" if self.title else "run"


def whole(project: Path, page: str) -> str:
    """A page of a project, with the parts that its overlays supply."""
    text = (project / page).read_text(encoding="utf-8").rstrip()
    return PART.sub(lambda part: textwrap.indent(whole(project, part[2]), part[1]), text)


def blocks(page: str) -> list[Block]:
    """The fenced blocks of a page, from top to bottom."""
    found = list(FENCE.finditer(page))
    made = []
    for place, fence in enumerate(found):
        title = re.search(r'title="([^"]*)"', fence[4])
        code = textwrap.dedent(fence[5])
        made.append(Block(fence[3], title[1] if title else "", code, printed(page, found[place:])))
    return made


def printed(page: str, fences: list[re.Match[str]]) -> str:
    """The text that follows a block at once, or after the same for another shell."""
    for before, fence in itertools.pairwise(fences):
        if not BETWEEN.fullmatch(page[before.end() : fence.start()]):
            return ""
        if fence[3] in ("text", "json"):
            return textwrap.dedent(fence[5])
        if fence[3] != "powershell":
            return ""
    return ""


class Workspace:
    """A fresh copy of a project, as its owner has it after `make setup`."""

    def __init__(self, project: Path, folder: Path) -> None:
        self.project = Path(shutil.copytree(project, folder / project.name))
        self.home = folder / "home"
        self.home.mkdir()
        (self.home / ".gitconfig").write_text(
            "[user]\n name = Ada\n email = ada@example.com\n[init]\n defaultBranch = main\n"
        )
        for name, source, mark in ((".venv", VENV, "installed"), (".venv-jobs", TOOLS.parent.absolute(), "installed")):
            (self.project / name).mkdir()
            for part in ("bin", "lib", "include", "pyvenv.cfg"):
                (self.project / name / part).symlink_to(source / part)
            (self.project / name / mark).touch()
        path = [str(self.project / ".venv" / "bin"), os.environ["PATH"]]
        self.environment = {
            "PATH": os.pathsep.join(path),
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(self.project / "src"),  # instead of installing the project into the shared environment
            "NO_MKDOCS_2_WARNING": "1",
        } | THRIFT

    def run(self, *command: object) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        words = [str(word) for word in command]
        return subprocess.run(
            words, cwd=self.project, env=self.environment, capture_output=True, text=True, timeout=300
        )


@cache
def apart() -> tuple[str, ...]:
    """What a command is started with to be alone in its network, where that is allowed."""
    for options in (["--net"], ["--map-root-user", "--net"]):
        words = ("unshare", *options, sys.executable, "-c", ALONE)
        if shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True).returncode == 0:
            return words
    return ()


class Shell:
    """One terminal, in which the blocks of a page are run one after another."""

    def __init__(self, workspace: Workspace) -> None:
        self.servers = 0
        self.python = ""
        self.process = subprocess.Popen(
            [*apart(), "bash", "--noprofile", "--norc", "-euo", "pipefail"],
            cwd=workspace.project,
            env=workspace.environment,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, block: Block) -> str:
        """Run a block, and give what it printed."""
        if block.language == "python":
            self.python += block.code  # what the page has said before still holds
            return self.type(f"python - <<'END_OF_BLOCK'\n{self.python}\nEND_OF_BLOCK\n")
        if block.kind == "run":
            return self.type(f"{{\n{block.code}\n}} </dev/null\n")
        self.servers += 1
        log = f"~/server-{self.servers}.log"
        wait = f"until grep -qE '{READY}' {log}; do kill -0 $! || {{ cat {log}; exit 1; }}; sleep 0.2; done"
        return self.type(f"{{\n{block.code}\n}} </dev/null >{log} 2>&1 &\n{wait}\ncat {log}\n")

    def type(self, text: str) -> str:
        """Give the shell its lines, and take what comes back."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{text}printf '\\n%s\\n' '{DONE}'\n")  # what was printed may lack its end
        self.process.stdin.flush()
        said = []
        for line in self.process.stdout:
            if line == f"{DONE}\n":
                return "".join(said).removesuffix("\n")
            said.append(line)
        raise AssertionError(f"exit status {self.process.wait()} of\n{text}\n{''.join(said)}")

    def close(self) -> None:
        """End it, with the servers that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def surprises(said: str, block: Block) -> list[str]:
    """The lines that the page promises and the block did not print; numbers and hashes may differ."""
    lines = {common(line) for line in said.splitlines()}
    whole = common(" ".join(said.split()))
    missing = []
    for line in block.output.splitlines():
        pattern = ".*".join(re.escape(part.strip()) for part in common(line).split("…"))
        if not any(re.search(pattern, found) for found in lines) and not re.search(pattern, whole):
            missing.append(line)
    return missing


def common(text: str) -> str:
    """A line without what differs from run to run."""
    text = re.sub(r"\d+\.\d+(e-?\d+)?", "0", text)
    text = re.sub(r"\b[0-9a-f]{8,}\b", "#", text)
    return " ".join(re.sub(r"\d+(\.\d+)?(e-?\d+)?", "0", text).split())


def commands(code: str) -> list[list[str]]:
    """The simple commands of a block, in words; <what people fill in> is one word."""
    text = re.sub(r"<[a-z][^<>\n]*>", "FILLED-IN", code)
    text = re.sub(r"(^|\s)#[^\n]*", r"\1", text).replace("\\\n", " ")
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&<>()\n")
    lexer.whitespace = " \t\r"
    lexer.commenters = ""
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    skip = False
    for word in lexer:
        if set(word) <= set("<>") or word in (">&", "&>"):
            skip = True  # the next word is a file
        elif set(word) <= set(";|&()\n"):
            found.append([])
        elif skip:
            skip = False
        elif found[-1] or not re.match(r"\w+=", word):  # a variable before a command
            found[-1].append(word)
    return [words for words in found if words]


def faults(block: Block, workspace: Workspace) -> list[str]:
    """What is wrong with a block that is not run: its syntax, and what its commands name."""
    if block.language == "python":
        compile(block.code, block.title, "exec")
        return []
    text = re.sub(r"<[a-z][^<>\n]*>", "FILLED-IN", block.code)
    parsed = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
    if parsed.returncode:
        return [parsed.stderr]
    return [fault for words in commands(block.code) if (fault := unknown(words, workspace))]


def unknown(words: list[str], workspace: Workspace) -> str | None:
    """What a command names that does not exist; nothing is done."""
    name, *rest = words
    name = Path(name).name if name.startswith(".venv") else name
    if name == "make":
        return unknown_target(rest, workspace)
    if name in ("python", "python3", "py") and rest[:1] == ["-m"]:
        return unknown_module(rest[1], rest[2:], workspace)
    if name == "python" and rest and rest[0].endswith(".py"):
        return None if (workspace.project / rest[0]).is_file() else f"there is no {rest[0]}"
    if name in ("jobs/submit.sh", "jobs/submit.ps1"):
        return unknown_job(rest, workspace)
    if name in VENDORS["ours"]:
        return unlisted_by_help(name, rest, workspace)
    return unlisted(name, rest)


def said(done: subprocess.CompletedProcess[str]) -> str | None:
    return (done.stderr or done.stdout) if done.returncode else None


def unknown_job(words: list[str], workspace: Workspace) -> str | None:
    """A job, or a setting of its command, that does not exist."""
    overrides = [word for word in words[1:] if not word.startswith("--")]
    verb = words[0].partition("-")[0]
    package = next((workspace.project / "src").iterdir()).name
    if overrides and (fault := said(workspace.run("python", "-m", f"{package}.{verb}", *overrides, "--cfg", "job"))):
        return fault
    known = [word for word in words if word not in ("--wait", "--check", "--dry-run")]
    return said(workspace.run("jobs/submit.sh", *known, "--dry-run"))


def unknown_target(words: list[str], workspace: Workspace) -> str | None:
    """A target or variable that the Makefile lacks."""
    makefile = (workspace.project / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", makefile, re.MULTILINE))
    arguments: list[str] = []
    for word in words:
        variable, assigns, value = word.partition("=")
        if assigns and not re.search(rf"\$\({variable}\)", makefile):
            return f"make has no variable {variable}"
        if not assigns and word not in targets:
            return f"make has no target {word}"
        if variable == "ARGS":
            arguments = shlex.split(value)
    module = [word for word in words if f"$(RUN).{word}" in makefile]
    if arguments and module:
        package = next((workspace.project / "src").iterdir()).name
        return unknown_module(f"{package}.{module[0]}", arguments, workspace)
    return None


def unknown_module(module: str, words: list[str], workspace: Workspace) -> str | None:
    """A module that is not there, or a word that it does not take."""
    if (workspace.project / "src" / (module.replace(".", "/") + ".py")).exists():
        if any("=" in word for word in words) and not any(word.startswith("--") for word in words):
            return said(workspace.run("python", "-m", module, *words, "--cfg", "job"))
        return unlisted_by_help(f"python -m {module}", words, workspace)
    if module in VENDORS["others"]:
        return unlisted(module, words)
    return said(workspace.run("python", "-c", f"import importlib; importlib.import_module({module!r})"))


def unlisted_by_help(name: str, words: list[str], workspace: Workspace) -> str | None:
    """An option that the installed program's own help does not name."""
    programs = {"kubectl", "polyaxon"}
    program = [str(TOOLS.absolute() / name)] if name in programs else name.split()
    inner = []
    for word in words:
        if not inner and word.startswith("--"):
            continue
        if word.startswith("-") or not re.fullmatch("[a-z][a-z-]*", word) or len(inner) == VENDORS["ours"].get(name, 0):
            break
        inner.append(word)
    help_text = workspace.run(*program, *inner, "--help")
    text = help_text.stdout + help_text.stderr
    if name == "kubectl":
        text += workspace.run(*program, "options").stdout  # those that all of its commands take
    missing = [option for option in options(words) if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)]
    if help_text.returncode or not text:
        return f"there is no {name} {' '.join(inner)}"
    return f"{name} {' '.join(inner)} has no {' '.join(missing)}" if missing else None


def unlisted(name: str, words: list[str]) -> str | None:
    """A subcommand or option that the list of what other programs take does not have."""
    program = VENDORS["others"].get(name)
    if program is None:
        return f"{name} is not in tests/commands.yaml"
    takes = program["takes"]
    text = " ".join(words)
    subcommand = max(
        (known for known in takes if f"{text} ".startswith(f"{known} ") or not known), key=len, default=None
    )
    if subcommand is None:
        return f"tests/commands.yaml has no {name} {text}"
    extra = [option for option in options(words) if option not in takes[subcommand]]
    return f"tests/commands.yaml: {name} {subcommand} has no {' '.join(extra)}" if extra else None


def options(words: list[str]) -> list[str]:
    """The options among words, without their values, up to a lone --."""
    before = words[: words.index("--")] if "--" in words else words
    return [word.partition("=")[0] for word in before if re.match(r"--?[a-zA-Z]", word)]
