import { code, free, json } from "./text.js";

export function python(call) {
  const { file, title, tls, keyed } = call;
  return code`
# Calls ${call.name}. Once, beside the contract's folder proto/:
#   pip install grpcio-status grpcio-tools
#   python -m grpc_tools.protoc -I proto --python_out=. --grpc_python_out=. $(find proto -name '*.proto')

${call.variables.length > 0 && "import os"}
import sys
${keyed && "import uuid"}

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from ${call.pkg} import ${file}_pb2, ${file}_pb2_grpc

# ${call.aboutRetries}
RETRIES = """${call.policy}"""


def main():
    request = ${file}_pb2.${call.input}(
        ${call.fields.map((it) => `${it.name}=${valueOf(it)},`)}
    )
    metadata = [
        ${keyed && [`# ${call.aboutKey}`, '("idempotency-key", str(uuid.uuid4())),']}
        ${call.token && '("authorization", "Bearer " + os.environ["TOTP_FACADE_TOKEN"]),'}
    ]
    ${tls && `# ${call.aboutRoots}`}
    channel = grpc.${tls ? "secure" : "insecure"}_channel(
        ${json(call.address)},
        ${tls && "grpc.ssl_channel_credentials(),"}
        options=[("grpc.service_config", RETRIES)],
    )
    stub = ${file}_pb2_grpc.${call.stub}Stub(channel)
    try:
        response = stub.${call.rpc}(request, timeout=${call.deadlineMs / 1000}, metadata=metadata)
    except grpc.RpcError as error:
        sys.exit(describe(error))
    # ${call.aboutResult}
    print("${title} succeeded:", response.request_id)


def describe(error):
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        # Each takes only what is of its type.
        detail.Unpack(info)
        detail.Unpack(bad)
    # ${call.aboutOutcome}
    outcome = info.metadata.get("upstream", "unknown")
    lines = [f"${title} failed: {error.code().name}: {error.details()}"]
    lines += [f"reason: {info.reason or 'none'}", f"outcome: {outcome}"]
    lines += [f"field {it.field}: {it.description}" for it in bad.field_violations]
    return "\n  ".join(lines)


main()
`;
}

const valueOf = ({ env, repeated, value }) =>
  env ? `os.environ["${env}"]${repeated ? '.split(",")' : ""}` : free(value, WRITE);

const WRITE = {
  null: "None",
  boolean: (it) => (it ? "True" : "False"),
  number: json,
  string: json,
  list: (it) => `[${it}]`,
  member: (name, it) => `${json(name)}: ${it}`,
  object: (it) => `{${it}}`,
};
