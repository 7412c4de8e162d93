#!/bin/sh
# Say which image builders this runner allows, best first: what to name in .gitlab-ci.yml as `builder`.
set -u

try() {
  name=$1
  shift
  if "$@" > /dev/null 2>&1; then echo "$name: yes"; else echo "$name: no ($* fails)"; fi
}

try buildkit unshare --user --map-root-user --mount true    # rootless: it makes a user namespace
try buildah chroot / true                                   # chroot isolation: it needs no more than that
try docker mount -t tmpfs none /mnt                         # Docker in Docker: a privileged container
