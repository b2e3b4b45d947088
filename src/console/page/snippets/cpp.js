import { code, json } from "./text.js";

export function cpp(call) {
  const { title, keyed } = call;
  const add = (name, value) => `context.AddMetadata("${name}", ${value});`;
  return code`
// Calls ${call.name}. Once, with protoc 22 or later, beside the contract's
// folder proto/ and a clone of github.com/googleapis/googleapis:
//   mkdir gen
//   protoc -I proto -I googleapis --cpp_out=gen --grpc_out=gen --plugin=protoc-gen-grpc=$(which grpc_cpp_plugin) $(find proto -name '*.proto') google/rpc/status.proto google/rpc/error_details.proto
//   c++ -std=c++17 -I gen call.cc $(find gen -name '*.cc') $(pkg-config --cflags --libs grpc++ protobuf)

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>
${call.hasObject && "#include <google/protobuf/util/json_util.h>"}

#include <chrono>
#include <cstdlib>
#include <iostream>
#include <random>
#include <sstream>
#include <string>

#include "${call.proto.replace(/proto$/, "grpc.pb.h")}"

using namespace std::string_literals;
namespace contract = ${call.pkg.replaceAll(".", "::")};

// ${call.aboutRetries}
constexpr char kRetries[] = R"(${call.policy})";

${call.variables.length > 0 && VARIABLE}
int main() {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kRetries);
  auto channel = grpc::CreateCustomChannel(
      ${json(call.address)}, grpc::${call.tls ? "SslCredentials({})" : "InsecureChannelCredentials()"}, arguments);
  contract::${call.input} request;
  ${call.fields.map(statement)}
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(${call.deadlineMs}));
  ${keyed && [`// ${call.aboutKey}`, NEW_KEY, add("idempotency-key", "key.str()")]}
  ${call.token && add("authorization", '"Bearer " + Variable("TOTP_FACADE_TOKEN")')}
  contract::${call.output} response;
  auto status = contract::${call.stub}::NewStub(channel)->${call.rpc}(&context, request, &response);
  if (status.ok()) {
    // ${call.aboutResult}
    std::cout << "${title} succeeded: " << response.request_id() << std::endl;
    return 0;
  }
  // ${call.aboutOutcome}
  std::string reason = "none", outcome = "unknown", fields;
  google::rpc::Status details;
  details.ParseFromString(status.error_details());
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&info)) {
      reason = info.reason();
      outcome = (*info.mutable_metadata())["upstream"];
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& it : bad.field_violations()) {
        fields += "\n  field " + it.field() + ": " + it.description();
      }
    }
  }
  std::cerr << "${title} failed: code " << status.error_code() << ": " << status.error_message()
            << "\n  reason: " << reason << "\n  outcome: " << outcome << fields << std::endl;
  return 1;
}
`;
}

const NEW_KEY = `std::random_device random;
std::ostringstream key;
for (int i = 0; i < 4; ++i) key << std::hex << random() << '-';`;

const VARIABLE = `std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}
`;

function statement({ name, env, repeated, type, value }) {
  const set = `request.${repeated ? "add" : "set"}_${name}`;
  const read = `Variable("${env}")`;
  if (env && repeated) {
    const loop = `for (std::string it; std::getline(${name}, it, ',');)`;
    return [`std::istringstream ${name}(${read});`, `${loop} ${set}(it);`];
  }
  if (type === "object") {
    return `(void)google::protobuf::util::JsonStringToMessage(${json(json(value))}, request.mutable_${name}());`;
  }
  return [value].flat().map((it) => `${set}(${env ? read : literal(it)});`);
}

/** Without the s, a text would end at a NUL. */
const literal = (it) => json(it) + (String(it).includes("\0") ? "s" : "");
