"""Give the cluster the secrets of jobs, which may not be in the repository: what `make secrets` runs.

Makes or updates three secrets of the namespace: the environment variables of .env, the files of secrets/, and the login
to the image registry. Values go to kubectl by standard input: no list of processes, log or file shows them.
"""

import argparse
import base64
import getpass
import json
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from request import JOBS, Refused, kubectl, settings, variables

NAME = "{{ cookiecutter.repo_name }}"
REGISTRY = "{{ cookiecutter.registry_project_path.split('/')[0] }}"
PROJECT = JOBS.parent


def main() -> None:
    """Make the secrets, or print the commands that would."""
    parser = argparse.ArgumentParser("make secrets", description="Give the cluster what .env and secrets/ hold.")
    parser.add_argument("--dry-run", action="store_true", help="print the kubectl commands, and send nothing")
    parser.add_argument("--no-registry", action="store_true", help="leave the login to the registry as it is")
    options = parser.parse_args()
    try:
        values, files = _values(), _files()
        if options.dry_run:
            print("\n".join(_lines(files)))
            return
        manifests = [_secret("env", {name: value.encode() for name, value in values.items()}), _secret("files", files)]
        if not options.no_registry:
            login = {".dockerconfigjson": _login().encode()}
            manifests.append(_secret("registry", login, "kubernetes.io/dockerconfigjson"))
        for manifest in manifests:
            # Server-side, since kubectl would otherwise keep a copy of the values in an annotation.
            words = ("apply", "--server-side", "--force-conflicts", "--field-manager=make-secrets", "--filename=-")
            print(kubectl(*words, namespace=settings()["NAMESPACE"], text=json.dumps(manifest)), end="")
    except Refused as refused:
        sys.exit(f"make secrets: {refused}")


def _values() -> dict[str, str]:
    """Read .env; its names must be those of .env.example, which is what jobs ask the secret for."""
    wanted = variables(PROJECT / ".env.example")
    try:
        given = variables(PROJECT / ".env")
    except FileNotFoundError:
        raise Refused("there is no .env: copy .env.example to .env, and fill it in") from None
    faults = [f"{name} is not in .env" for name in wanted.keys() - given.keys()]
    faults += [f"{name} is not in .env.example" for name in given.keys() - wanted.keys()]
    faults += [f"{name} is empty" for name, value in given.items() if name in wanted and not value.strip()]
    excess = [(name, what) for name, value in given.items() for what in _excess(value)]
    faults += [f"{name} has {what}, which would become part of it" for name, what in excess]
    if faults:
        advice = "fill in .env, or delete lines you do not use from both files"
        raise Refused(f"{'; '.join(sorted(faults))}: {advice}")
    return given


def _excess(value: str) -> Iterator[str]:
    """Name what does not belong to a value: the cluster takes all that is behind the sign as it is."""
    bare = value.strip()
    if bare and bare != value:
        yield "a blank around it"
    if re.search(r"\s#", bare):
        yield "a comment behind it"
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        yield "quotes around it"


def _files() -> dict[str, bytes]:
    """Read the files of secrets/, such as a certificate: jobs find them in /secrets."""
    folder = PROJECT / "secrets"
    found = sorted(file for file in folder.glob("*") if file.is_file()) if folder.is_dir() else []
    return {file.name: file.read_bytes() for file in found}


def _login() -> str:
    """Ask for an account that may pull images, unless environment variables name one; give it as kubelets read it."""
    try:
        user = os.environ.get("REGISTRY_USER") or input(f"User that may pull from {REGISTRY}: ")
        password = os.environ.get("REGISTRY_PASSWORD") or getpass.getpass("Password: ")
    except EOFError:
        advice = "set REGISTRY_USER and REGISTRY_PASSWORD, or add --no-registry"
        raise Refused(f"there is nobody to ask for the registry's login: {advice}") from None
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {REGISTRY: {"auth": login}}})


def _secret(part: str, values: dict[str, bytes], kind: str = "Opaque") -> dict[str, Any]:
    data = {name: base64.b64encode(value).decode() for name, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{NAME}-{part}"}, "type": kind, "data": data}


def _lines(files: dict[str, bytes]) -> list[str]:
    """Write the kubectl commands that do the same; --from-env-file and --from-file keep values out of them."""
    namespace = settings()["NAMESPACE"]
    create = f"kubectl --namespace={namespace} create secret" if namespace else "kubectl create secret"
    named = "".join(f" --from-file=secrets/{name}" for name in files)
    return [
        f"{create} generic {NAME}-env --from-env-file=.env",
        f"{create} generic {NAME}-files{named}",
        f"{create} docker-registry {NAME}-registry --from-file=.dockerconfigjson=<config.json of a docker login>",
    ]


if __name__ == "__main__":
    main()
