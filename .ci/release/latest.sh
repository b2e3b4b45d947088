#!/usr/bin/env bash
# Gives an image that is signed the tag `latest`, unless its version is a pre-release such as 1.0.0-rc.1:
#
#     latest.sh REPOSITORY DIGEST VERSION
set -euo pipefail

repository=$1 digest=$2 version=$3
if [[ $version != *-* ]]; then
    "${0%/*}/tag.sh" "$repository" "$digest" latest
fi
