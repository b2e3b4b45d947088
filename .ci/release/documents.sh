#!/usr/bin/env bash
# Writes what else a release consists of: documents.sh VERSION ARCHIVES FOLDER
#
# ARCHIVES is a folder with the archive for this machine. FOLDER gets the contract, as descriptors for gateways and
# grpcurl, and the bill of materials in CycloneDX: every crate that is in the program, with its licence.
set -euo pipefail

version=$1 archives=$2 folder=$3
name="totp-facade-$version"
mkdir --parents "$folder"
tar --extract --to-stdout --file "$archives/$name-linux-$(uname --machine).tar.gz" \
    "$name-linux-$(uname --machine)/totp-facade" >"$folder/program"
chmod +x "$folder/program"
"$folder/program" contract >"$folder/$name.binpb"
rm "$folder/program"

# For amd64; for arm64 it is the same but for one crate less. Each package of the workspace gets a file, and the other
# package is not shipped.
cargo install --quiet --locked cargo-cyclonedx@0.5.9
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx --quiet --format json --spec-version 1.5 \
    --target x86_64-unknown-linux-gnu --no-build-deps --override-filename "$name.cdx"
rm "dev-features/$name.cdx.json"
python3 .ci/sbom.py "$name.cdx.json"
mv "$name.cdx.json" "$folder"
