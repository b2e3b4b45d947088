#!/bin/sh
# Generates the client from the contract.
set -eu
proto=${PROTO:-../../proto}
mkdir -p generated
# shellcheck disable=SC2046 # no name has blanks
grpc_tools_ruby_protoc -I "$proto" --ruby_out=generated --grpc_out=generated \
    $(cd "$proto" && find stytch -name '*.proto')
