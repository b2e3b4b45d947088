#!/usr/bin/env bash
# Makes one image of those for several architectures, which are in the registry already, and prints its digest:
#
#     index.sh REPOSITORY FOLDER
#
# Each file of the folder holds the digest of one. Nothing is signed yet, so the image gets the tag `unsigned`; see
# tag.sh.
set -euo pipefail

repository=$1 folder=$2
index="localhost/totp-facade-index"
buildah manifest create "$index" >&2
trap 'buildah manifest rm "$index" >&2' EXIT
for file in "$folder"/*; do
    buildah manifest add "$index" "docker://$repository@$(<"$file")" >&2
done
buildah manifest push --all --digestfile "$folder/index" "$index" "docker://$repository:unsigned" >&2
cat "$folder/index"
