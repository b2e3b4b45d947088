#!/usr/bin/env bash
# Packs the chart, pushes it, and prints its digest: chart.sh REPOSITORY FOLDER
#
# It is not signed yet, so the repository gets it without a tag; see tag.sh. Helm pushes nothing without one, so it
# pushes to a repository that is called unsigned.
set -euo pipefail

repository=$1 folder=$2
package=$(helm package deploy/helm/totp-facade --destination "$folder" | sed 's/.*: //')
digest=$(helm push "$package" "oci://$repository/unsigned" 2>&1 | tee >(cat >&2) | sed --quiet 's/^Digest: //p')
skopeo copy --quiet --preserve-digests \
    "docker://$repository/unsigned/totp-facade@$digest" "docker://$repository/totp-facade@$digest" >&2
echo "$digest"
