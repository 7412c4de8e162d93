#!/usr/bin/env bash
# Send a job to the cluster: jobs/submit.sh <job> [key=value …] [--dry-run | --check | --wait]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# `make jobs` makes the first, with the orchestrator's client; the second can print jobs, if not send them.
for python in .venv-jobs/bin/python "${VENV:-.venv}/bin/python"; do
  [ -x "$python" ] && exec "$python" jobs/submit.py "$@"
done
echo "jobs/submit.sh: there is no environment to run it in: run 'make jobs' first" >&2
exit 1
