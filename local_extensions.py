"""What the template adds to Jinja: a gate that no answer passes unchecked, and the `quoted` filter.

Cookiecutter loads this file before the first question and again before it writes anything,
whether the answers come from the keyboard, the command line, a replay file or cruft.
"""

import argparse
import difflib
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from jinja2 import Environment
from jinja2.ext import Extension
from jinja2.runtime import Context

HERE = Path(__file__).parent
# By path, because "hooks" may also be the name of something installed.
GATE = runpy.run_path(str(HERE / "hooks" / "pre_gen_project.py"))


def quoted(text: str) -> str:
    """Write text as a literal that means the same in TOML, YAML, JSON and Python."""
    literal = json.dumps(text, ensure_ascii=False)
    # Legal in JSON as they are, but not in all of the others.
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff]", lambda m: f"\\u{ord(m[0]):04x}", literal)


def questions() -> dict[str, Any]:
    """The questions of cookiecutter.json, with their defaults or choices."""
    text = (HERE / "cookiecutter.json").read_text(encoding="utf-8")
    return {name: value for name, value in json.loads(text).items() if name[0] != "_"}


def is_cruft(program: str) -> bool:
    """Whether that is cruft, started by name or with `python -m`."""
    return "cruft" in (Path(program).stem, Path(program).parent.name)


def typed_answers(argv: list[str]) -> dict[str, Any]:
    """The answers given on the command line of Cookiecutter or cruft."""
    command = click.get_current_context(silent=True)
    if command is not None:
        typed = command.params.get("extra_context")
    elif is_cruft(argv[0]):
        # It keeps a click of its own, which cannot be asked.
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--extra-context", "--variables-to-update", dest="typed", type=json.loads)
        typed = parser.parse_known_args(argv[1:])[0].typed
    else:
        typed = None
    return typed if isinstance(typed, dict) else {}


def surprises(typed: dict[str, Any], known: list[str]) -> list[str]:
    """What Cookiecutter would ignore without a word, or would run as a template."""
    found = []
    for name, value in typed.items():
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "they are " + ", ".join(known)
            found.append(f"  {name}: no such question\n    {hint}")
        elif isinstance(value, str) and re.search(r"\{[{%#]", value):
            found.append(f"  {name}: {GATE['shown'](value)}\n    needs text without {{{{, {{% or {{#")
    return found


class CheckedContext(Context):
    """Refuses to render anything, the project folder's name first of all, with bad answers."""

    def __init__(self, environment: Environment, parent: dict[str, Any], *rest: Any, **more: Any):
        super().__init__(environment, parent, *rest, **more)
        answers, known = parent.get("cookiecutter", {}), parent["questions"]
        # While questions are still being asked, the defaults of the next ones are rendered.
        if known.keys() <= answers.keys():
            GATE["refuse"](GATE["complaints"](answers, parent["choices"]))


COMPILED: dict[tuple[Any, ...], Any] = {}


def remembered(compile_template: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a text once in a process: the tests and the site render the same files many times."""

    def compiled(*source: Any) -> Any:
        if source not in COMPILED:
            COMPILED[source] = compile_template(*source)
        return COMPILED[source]

    return compiled


class Slipway(Extension):
    """Loaded by `_extensions` in cookiecutter.json."""

    def __init__(self, environment: Environment):
        super().__init__(environment)
        known = questions()
        GATE["refuse"](surprises(typed_answers(sys.argv), list(known)))
        environment.filters["quoted"] = quoted
        environment.globals["questions"] = known
        environment.globals["choices"] = {k: v for k, v in known.items() if isinstance(v, list)}
        environment.context_class = CheckedContext
        environment.compile = remembered(environment.compile)  # type: ignore[method-assign]
        if is_cruft(sys.argv[0]):
            # `cruft update` renders the old release and then the new one: have it read this file anew.
            sys.modules.pop(__name__, None)
