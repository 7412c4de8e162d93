"""Refuse answers that would render a broken project, all of them at once.

Every rule is here and nowhere else. `local_extensions.py` calls `complaints` before
Cookiecutter makes a folder; run as a hook, this file asks once more. Standard library only.
"""

import json
import keyword
import re
import sys

# Importing one of these must not find the project itself instead: its own folders, and
# every package and distribution that a render or its tools install.
TAKEN = frozenset(
    """
    conf data docs docker jobs requirements src test tests
    """.split()
)

# Braces stand apart here and below: Cookiecutter renders this file before it runs it.
TEXT = "1 to %d printable characters, no outer spaces, none of \\ ` $ { } < >"


def is_text(limit):
    # Joiners are not printable by themselves, but hold many emoji and scripts together.
    def holds(value):
        visible = re.sub("[\u200c\u200d]", "", value)
        clean = visible.isprintable() and not re.search(r"[\\`${}<>]", value)
        return clean and visible.strip() == visible != "" and len(value) <= limit

    return holds


def matches(pattern, limit):
    return lambda value: len(value) <= limit and re.fullmatch(pattern, value) is not None


def is_free(value):
    name = value.replace("-", "_")
    words = {*keyword.kwlist, *keyword.softkwlist, *sys.stdlib_module_names}
    return name not in TAKEN | words


HOST = r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9.-]+(?=:))(:[0-9]{1,5})?"
PATH = r"(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)+"

RULES = [
    ("project_name", is_text(120), TEXT % 120, "Penguin Classifier"),
    ("description", is_text(200), TEXT % 200, "Tells penguins apart."),
    ("author_name", is_text(120), TEXT % 120, "Polar Team"),
    (
        "repo_name",
        matches(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", 40),
        "lower-case words joined by hyphens, at most 40 characters",
        "penguin-classifier",
    ),
    (
        "repo_name",
        is_free,
        "no Python word, standard module or package it installs",
        "penguin-classifier",
    ),
    (
        "src_package_name",
        matches(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", 40),
        "lower-case words joined by underscores, at most 40 characters",
        "penguin_classifier",
    ),
    (
        "src_package_name",
        is_free,
        "no Python word, standard module or package it installs",
        "penguin_classifier",
    ),
    (
        "registry_project_path",
        matches(HOST + PATH, 200),
        "host[:port]/path in lower case; no https://, tag or final slash",
        "registry.example.com/my-team/penguins",
    ),
]


def shown(value):
    """The value as Python writes it, cut short when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(value)} characters)"


def complaints(answers, choices):
    """Say what is wrong with each answer: the value received, the rule and an example."""
    rules = RULES + [
        (question, options.__contains__, "one of " + ", ".join(options), options[0])
        for question, options in choices.items()
    ]
    found = {}
    for question, holds, rule, example in rules:
        value = answers.get(question)
        if question not in found and not (isinstance(value, str) and holds(value)):
            found[question] = f"  {question}: {shown(value)}\n    needs {rule}, e.g. {example}"
    return list(found.values())


def refuse(found):
    """Stop the program with one screen that names every fault."""
    if found:
        sys.exit("\n".join(["Nothing was written, because of these answers:", *found]))


if __name__ == "__main__":
    refuse(
        complaints(
            json.loads(r"""{{ cookiecutter | tojson }}"""),
            json.loads(r"""{{ choices | tojson }}"""),
        )
    )
