#!/bin/sh
# Let a pipeline push to the registry: writes the file that buildah, buildctl and docker read their logins from.
# REGISTRY_USER and REGISTRY_PASSWORD are a robot account's; docs/guide/platform.md says where it comes from.
set -eu

host={{ cookiecutter.registry_project_path.split('/')[0] }}
case $host in
  docker.io) key=https://index.docker.io/v1/ ;;    # as `docker login` calls Docker Hub
  *) key=$host ;;
esac
if [ -z "${REGISTRY_USER:-}" ] || [ -z "${REGISTRY_PASSWORD:-}" ]; then
  echo "ci/login.sh: REGISTRY_USER and REGISTRY_PASSWORD are not set; see docs/guide/platform.md" >&2
  exit 1
fi
login=$(printf %s "$REGISTRY_USER:$REGISTRY_PASSWORD" | base64 | tr -d '\n')
umask 077
mkdir -p "$DOCKER_CONFIG"
printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$key" "$login" > "$DOCKER_CONFIG/config.json"
echo "logged in to $host as $REGISTRY_USER"
