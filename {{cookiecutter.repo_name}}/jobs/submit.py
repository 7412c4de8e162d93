"""Send a job to the cluster: the command line behind jobs/submit.sh and jobs/submit.ps1."""

import argparse
import sys

import yaml
from orchestrator import check, compose, send, wait
from request import FIXED, NAMES, Failed, Refused, Request, settings


def main() -> None:
    """Submit a job, or print it; exit with one line if that cannot be done."""
    parser = argparse.ArgumentParser("jobs/submit.sh", description="Send a job to the cluster.")
    parser.add_argument("job", nargs="?", default="", help=", ".join(NAMES))
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as on a laptop: model=forest")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--dry-run", action="store_true", help="print what would be sent")
    how.add_argument("--check", action="store_true", help="ask the cluster about it, and start nothing")
    how.add_argument("--wait", action="store_true", help="wait until it ends, and fail if it fails")
    parser.add_argument("--list", action="store_true", help="print the names of the jobs")
    options = parser.parse_intermixed_args()
    if options.list:
        print("\n".join(NAMES))
        return
    try:
        request = Request(_job(options.job, options.overrides), options.overrides, settings())
        documents = compose(request)
        if options.dry_run:
            text = yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True, width=1000)
            sys.stdout.buffer.write(text.encode())
        elif options.check:
            print(check(request, documents))
        else:
            sent = send(request, documents)
            print(sent.told, flush=True)
            if options.wait:
                wait(request, sent, lambda state: print(f"state  {state}", flush=True))
                print(f"done   {' '.join(sent.names)}")
    except (Refused, Failed) as problem:
        sys.exit(f"jobs/submit.sh: {problem}")


def _job(name: str, overrides: list[str]) -> str:
    if not name:
        raise Refused(f"which job? One of: {' '.join(NAMES)}")
    if name not in NAMES:
        raise Refused(f"{name} is not one of: {' '.join(NAMES)}")
    if overrides and name in FIXED:
        raise Refused(f"{name} takes no arguments; change jobs/{name}.yaml instead")
    return name


if __name__ == "__main__":
    main()
