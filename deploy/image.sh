#!/usr/bin/env bash
# Builds the image of the commit that is checked out, with buildah. Arguments are options of `buildah build`:
#
#     deploy/image.sh --tag totp-facade
#
# The time of the commit is the time of every file in it, so that the same commit gives the same layers.
set -euo pipefail
cd "$(dirname "$0")/.."

time=$(git log -1 --format=%ct)
# HEALTHCHECK is in Docker's format only.
buildah build \
    --file deploy/Containerfile \
    --format docker \
    --timestamp "$time" \
    --build-arg VERSION="$(sed -n '0,/^version = /s/^version = "\(.*\)"/\1/p' Cargo.toml)" \
    --build-arg REVISION="$(git rev-parse HEAD)" \
    --build-arg CREATED="$(date --utc --date="@$time" +%Y-%m-%dT%H:%M:%SZ)" \
    "$@" .
