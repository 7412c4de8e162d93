"""Check that a service answers after it was deployed: .venv-jobs/bin/python jobs/smoke.py.

On standard output it prints only SERVE_MODEL=models:/<name>/<version>: what answered, for the next step.
"""

import json
import os
import sys
import time
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request as Call
from urllib.request import urlopen

from orchestrator import reach
from request import Failed, Refused, Request, settings

PATIENCE = float(os.environ.get("SMOKE_SECONDS", "300"))  # until the service must be ready


def main() -> None:
    """Wait, ask, compare; exit with one line if anything is not as it should be."""
    request = Request("serve", [], settings())
    try:
        with reach(request) as (url, headers):
            if not url.startswith(("http://", "https://")):
                raise Refused(f"SERVE_URL={url}: an address is needed, such as https://penguins.example.com")
            print(f"asking {url}", file=sys.stderr)
            if token := os.environ.get("SERVE_TOKEN"):
                headers["Authorization"] = f"Bearer {token}"
            _await(f"{url.rstrip('/')}/readyz", headers)
            print(f"SERVE_MODEL={_try(url.rstrip('/'), headers, request.settings['SERVE_MODEL'])}")
    except (Refused, Failed) as problem:
        sys.exit(f"jobs/smoke.py: {problem}")


def _try(url: str, headers: dict[str, str], wanted: str) -> str:
    """Ask for a prediction of the documentation's own example, by the model that was asked for."""
    rows = _ask(f"{url}/openapi.json", headers)["components"]["schemas"]["Rows"]["examples"][0]
    answer = _ask(f"{url}/predict", headers, rows)
    if len(answer["predictions"]) != len(rows["rows"]):
        raise Failed(f"{url}/predict gave {len(answer['predictions'])} predictions for {len(rows['rows'])} rows")
    served = f"models:/{answer['model']['name']}/{answer['model']['version']}"
    if "@" not in wanted and wanted not in ("", served):
        raise Failed(f"{url} answers with {served}, not with SERVE_MODEL={wanted}")
    return served


def _await(url: str, headers: dict[str, str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            _ask(url, headers)
            return
        except Failed as failed:
            if time.monotonic() > deadline:
                raise Failed(f"not ready within {PATIENCE:g} seconds: {failed}") from None
            time.sleep(1)


def _ask(url: str, headers: dict[str, str], body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    call = Call(url, data, {**headers, "Content-Type": "application/json"})  # noqa: S310 - main refuses other schemes
    try:
        with urlopen(call, timeout=30) as answer:  # noqa: S310
            return json.load(answer)
    except HTTPError as error:
        raise Failed(f"{url} answers {error.code}: {error.read(300).decode(errors='replace')}") from None
    except OSError as error:
        raise Failed(f"{url} does not answer ({error})") from None
    except ValueError:
        raise Failed(f"{url} does not answer in JSON: is SERVE_URL the service's address?") from None


if __name__ == "__main__":
    main()
