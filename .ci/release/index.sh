#!/usr/bin/env bash
# Makes one image of those for several architectures, which are in the registry already, and prints its digest:
#
#     index.sh REPOSITORY VERSION FOLDER
#
# Each file of the folder holds the digest of one. The image gets the tag of the version and, unless that is a
# pre-release such as 1.0.0-rc.1, `latest`.
set -euo pipefail

repository=$1 version=$2 folder=$3
index="localhost/totp-facade-index:$version"
buildah manifest create "$index" >&2
trap 'buildah manifest rm "$index" >&2' EXIT
for file in "$folder"/*; do
    buildah manifest add "$index" "docker://$repository@$(<"$file")" >&2
done
tags=("$version")
[[ $version == *-* ]] || tags+=(latest)
for tag in "${tags[@]}"; do
    buildah manifest push --all --digestfile "$folder/index" "$index" "docker://$repository:$tag" >&2
done
cat "$folder/index"
