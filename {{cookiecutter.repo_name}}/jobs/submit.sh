#!/usr/bin/env bash
# Send a job to the cluster: jobs/submit.sh <job> [key=value …] [--dry-run]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

python=${VENV:-.venv}/bin/python
[ -x "$python" ] || python=python3
if ! "$python" -c 'import yaml' 2>/dev/null; then
  echo "jobs/submit.sh: no environment with PyYAML in it: run 'make setup' first" >&2
  exit 1
fi
exec "$python" jobs/submit.py "$@"
