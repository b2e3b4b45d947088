#!/usr/bin/env bash
# Prints the images that a Containerfile starts from, with the digests that their tags have now:
#
#     base=gcr.io/distroless/cc-debian12@sha256:…
#     builder=docker.io/library/rust@sha256:…
set -euo pipefail

sed --quiet --regexp-extended 's/^ARG (BASE|BUILDER)=/\1 /p' "${1:-deploy/Containerfile}" | while read -r name image; do
    digest=$(skopeo inspect --raw "docker://$image" | sha256sum | cut --delimiter=' ' --fields=1)
    printf '%s=%s@sha256:%s\n' "${name,,}" "${image%:*}" "$digest"
done
