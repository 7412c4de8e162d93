#!/usr/bin/env bash
# Run a command of a pipeline with Run:ai's client at hand: ci/cluster.sh jobs/submit.sh train
# CLUSTER_LOGIN is a file that holds an access key, as the lines RUNAI_CLIENT_ID=… and RUNAI_CLIENT_SECRET=…;
# without it jobs can be printed, but not sent.
set -euo pipefail

export PATH="$PWD/.venv-jobs/bin:$PATH"
if [ -n "${CLUSTER_LOGIN:-}" ]; then
  set -a
  # The file is not there when this is checked.
  # shellcheck source=/dev/null
  . "$CLUSTER_LOGIN"
  set +a
fi
exec "$@"
