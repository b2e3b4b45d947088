#!/usr/bin/env bash
# Packs the program of an image, with what belongs to it, so that both are the same build: archive.sh IMAGE FOLDER
set -euo pipefail
# Without root, an image is mounted in a user namespace.
[ "$(id --user)" = 0 ] || exec buildah unshare "$0" "$@"

image=$1 folder=$2
label() {
    buildah inspect --type image --format "{{index .Docker.Config.Labels \"org.opencontainers.image.$1\"}}" "$image"
}
container=$(buildah from --pull-never "$image")
work=$(mktemp --directory)
trap 'buildah rm "$container" >/dev/null; rm --recursive --force "$work"' EXIT

name="totp-facade-$(label version)-linux-$(uname --machine)"
root="$work/$name"
mkdir --parents "$root/completions" "$root/man" "$folder"
cp "$(buildah mount "$container")"/{totp-facade,licenses/LICENSE-*} "$root"
for shell in bash elvish fish powershell zsh; do
    "$root/totp-facade" completions "$shell" >"$root/completions/totp-facade.$shell"
done
"$root/totp-facade" man "$root/man"

# The same commit gives the same archive.
tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw \
    --mtime="$(label created)" "$name" | gzip --no-name >"$folder/$name.tar.gz"
echo "$folder/$name.tar.gz"
