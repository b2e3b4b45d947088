#!/usr/bin/env bash
# Makes one image of those for several architectures, which are in the registry already, and prints its digest:
#
#     index.sh REPOSITORY VERSION FOLDER
#
# Each file of the folder holds the digest of one. The image gets the tag of the version; see latest.sh.
set -euo pipefail

repository=$1 version=$2 folder=$3
index="localhost/totp-facade-index:$version"
buildah manifest create "$index" >&2
trap 'buildah manifest rm "$index" >&2' EXIT
for file in "$folder"/*; do
    buildah manifest add "$index" "docker://$repository@$(<"$file")" >&2
done
buildah manifest push --all --digestfile "$folder/index" "$index" "docker://$repository:$version" >&2
cat "$folder/index"
