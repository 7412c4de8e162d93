#!/usr/bin/env bash
# Run a command of a pipeline with kubectl at hand: ci/cluster.sh jobs/submit.sh train
# CLUSTER_LOGIN is a file that holds a kubeconfig; without it jobs can be printed, but not sent.
set -euo pipefail

export PATH="$PWD/.venv-jobs/bin:$PATH"
if ! command -v kubectl > /dev/null; then
  release=https://dl.k8s.io/release/${KUBECTL_VERSION:-v1.36.1}/bin/linux/amd64/kubectl
  curl --silent --show-error --fail --location --output .venv-jobs/bin/kubectl "$release"
  digest=$(curl --silent --show-error --fail --location "$release.sha256")
  echo "$digest  .venv-jobs/bin/kubectl" | sha256sum --check --quiet
  chmod +x .venv-jobs/bin/kubectl
fi
export KUBECONFIG="${CLUSTER_LOGIN:-}"
exec "$@"
