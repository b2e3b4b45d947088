#!/usr/bin/env bash
# Gives what is signed, an image or the chart, a tag: tag.sh REPOSITORY DIGEST TAG
set -euo pipefail

repository=$1 digest=$2 tag=$3
skopeo copy --quiet --all --preserve-digests "docker://$repository@$digest" "docker://$repository:$tag" >&2
