#!/usr/bin/env bash
# Packs the chart, pushes it, and prints its digest: chart.sh REPOSITORY FOLDER [OPTION OF helm push]...
set -euo pipefail

repository=$1 folder=$2
shift 2
package=$(helm package deploy/helm/totp-facade --destination "$folder" | sed 's/.*: //')
helm push "$package" "oci://$repository" "$@" 2>&1 | tee /dev/stderr | sed --quiet 's/^Digest: //p'
