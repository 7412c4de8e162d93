#!/bin/sh
# Let a pipeline push to Artifact Registry, by its own identity and without a key: writes the file that buildah, buildctl
# and docker read their logins from. IDENTITY_TOKEN is the CI system's token for the pipeline, IDENTITY_PROVIDER the
# provider that trusts it: //iam.googleapis.com/projects/<number>/locations/global/workloadIdentityPools/<pool>/providers/<provider>
set -eu

host={{ cookiecutter.registry_project_path.split('/')[0] }}
exchange=${TOKEN_EXCHANGE:-https://sts.googleapis.com/v1/token}
if [ -z "${IDENTITY_PROVIDER:-}" ] || [ -z "${IDENTITY_TOKEN:-}" ]; then
  echo "ci/login.sh: IDENTITY_PROVIDER and IDENTITY_TOKEN are not set; see docs/guide/platform.md" >&2
  exit 1
fi

# The images of some builders have no curl. By standard input, so that no list of processes shows the token.
post() {
  if command -v curl > /dev/null; then
    curl --silent --show-error --fail-with-body --data @- "$1"
  else
    wget -q -O - --post-file=/dev/stdin "$1"
  fi
}

form="grant_type=urn:ietf:params:oauth:grant-type:token-exchange"
form="$form&requested_token_type=urn:ietf:params:oauth:token-type:access_token"
form="$form&subject_token_type=urn:ietf:params:oauth:token-type:jwt"
form="$form&scope=https://www.googleapis.com/auth/cloud-platform"
form="$form&audience=$IDENTITY_PROVIDER&subject_token=$IDENTITY_TOKEN"
if ! answer=$(printf %s "$form" | post "$exchange"); then
  echo "ci/login.sh: no token for this pipeline from $IDENTITY_PROVIDER: $answer" >&2
  exit 1
fi
token=$(printf %s "$answer" | tr -d '\n' | sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/')
login=$(printf %s "oauth2accesstoken:$token" | base64 | tr -d '\n')
umask 077
mkdir -p "$DOCKER_CONFIG"
printf '{"auths": {"%s": {"auth": "%s"}}}\n' "$host" "$login" > "$DOCKER_CONFIG/config.json"
echo "logged in to $host"
