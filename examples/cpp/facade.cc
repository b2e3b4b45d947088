#include "facade.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>
#include <sstream>
#include <stdexcept>

namespace facade {
namespace {

// Every call carries an idempotency key, so gRPC may retry it after any failure. The server's
// pushback delays retries, and stops those that cannot help. Without keys, retry reads only:
// docs/retries.md.
constexpr char kRetries[] = R"({
  "methodConfig": [{
    "name": [
      {"service": "stytch.b2b.totp.v1.TotpService"},
      {"service": "stytch.b2b.recovery_codes.v1.RecoveryCodesService"}
    ],
    "retryPolicy": {
      "maxAttempts": 4,
      "initialBackoff": "0.1s",
      "maxBackoff": "2s",
      "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN", "CANCELLED"]
    }
  }]
})";

// Returns what is in the file that a variable names; nothing if it names none.
std::string Contents(const char* variable) {
  const std::string name = Variable(variable);
  if (name.empty()) return "";
  std::ifstream file(name);
  if (!file) throw std::runtime_error("cannot read " + name);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect() {
  const std::string address = Variable("TOTP_FACADE_ADDR", "http://127.0.0.1:50051");
  const size_t scheme = address.find("://");
  const std::string target = scheme == std::string::npos ? address : address.substr(scheme + 3);
  auto credentials = grpc::InsecureChannelCredentials();
  if (address.rfind("https://", 0) == 0) {
    grpc::SslCredentialsOptions options;
    options.pem_root_certs = Contents("TOTP_FACADE_CA_FILE");
    options.pem_private_key = Contents("TOTP_FACADE_CLIENT_KEY_FILE");
    options.pem_cert_chain = Contents("TOTP_FACADE_CLIENT_CERT_FILE");
    credentials = grpc::SslCredentials(options);
  }
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(kRetries);
  return grpc::CreateCustomChannel(target, credentials, arguments);
}

std::string NewKey() {
  std::random_device random;
  std::ostringstream key;
  for (int i = 0; i < 4; ++i) key << std::hex << random() << '-';
  return key.str();
}

Call::Call(const std::string& key, std::chrono::milliseconds deadline) {
  set_deadline(std::chrono::system_clock::now() + deadline);
  AddMetadata("idempotency-key", key);
  const std::string token = Variable("TOTP_FACADE_TOKEN");
  if (!token.empty()) AddMetadata("authorization", "Bearer " + token);
}

Details::Details(const grpc::Status& status) {
  google::rpc::Status all;
  all.ParseFromString(status.error_details());
  for (const auto& detail : all.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    if (detail.UnpackTo(&info)) {
      reason = info.reason();
      upstream = (*info.mutable_metadata())["upstream"];
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& violation : bad.field_violations()) fields.push_back(violation.field());
    }
  }
}

std::string Variable(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value && *value ? value : otherwise;
}

}  // namespace facade
