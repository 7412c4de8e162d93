#!/usr/bin/env python3
"""Try a deployed service: wait until it is ready, and ask it for one prediction, of the example that it documents.

Prints the model that answered, as SERVE_MODEL=models:/<name>/<version>. A service behind a login gets SERVICE_TOKEN.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from typing import Any

PATIENCE = 300  # seconds until a new pod must be ready


def main(words: list[str]) -> str | None:
    """Try the service at an address; give back what is wrong, if anything is."""
    if len(words) != 1 or not words[0].startswith(("http://", "https://")):
        return f"usage: ci/smoke.py <address>, such as https://penguins.example.com, not {' '.join(words) or 'nothing'}"
    url = words[0].rstrip("/")
    try:
        _await(url)
        row = _example(_ask(f"{url}/openapi.json"))
        answer = _ask(f"{url}/predict", {"rows": [row]})
        [prediction] = answer["predictions"]
    except (urllib.error.HTTPError, OSError) as error:
        return f"ci/smoke.py: {url}: {error}"
    except (LookupError, ValueError) as error:
        return f"ci/smoke.py: {url} does not answer as this project's service does: {error!r}"
    print(f"{url} answers: {prediction}", file=sys.stderr)
    print("SERVE_MODEL=models:/{name}/{version}".format(**answer["model"]))
    return None


def _await(url: str) -> None:
    """Wait until the service is ready; raises what came of the last try."""
    end = time.monotonic() + float(os.environ.get("PATIENCE", PATIENCE))
    while True:
        try:
            _ask(f"{url}/readyz")
            return
        except OSError:  # not there yet, or not ready: an HTTPError is one too
            if time.monotonic() > end:
                raise
            time.sleep(2)


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    """Get, or post JSON; returns the JSON that comes back."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("SERVICE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return json.load(answer)


def _example(openapi: dict[str, Any]) -> dict[str, Any]:
    """Make a row of the first example that each field gives."""
    fields = openapi["components"]["schemas"]["Row"]["properties"]
    return {
        name: next(part["examples"][0] for part in (field, *field.get("anyOf", [])) if part.get("examples"))
        for name, field in fields.items()
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
