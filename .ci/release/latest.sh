#!/usr/bin/env bash
# Gives an image that is signed the tag `latest`, unless its version is a pre-release such as 1.0.0-rc.1:
#
#     latest.sh REPOSITORY VERSION DIGEST
set -euo pipefail

repository=$1 version=$2 digest=$3
if [[ $version != *-* ]]; then
    skopeo copy --quiet --all --preserve-digests "docker://$repository@$digest" "docker://$repository:latest"
fi
