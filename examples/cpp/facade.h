// The client: a channel with retries, what each call carries, and the details of an error.

#ifndef FACADE_H_
#define FACADE_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace facade {

// The time for a whole call, retries included.
constexpr std::chrono::seconds kDeadline(15);

// Returns a channel to the façade, by TLS if its address begins with https.
std::shared_ptr<grpc::Channel> Connect();

// Returns an idempotency key: one for each operation, the same for all its attempts.
std::string NewKey();

// The context of one call, with the deadline and the key that all its attempts share, and the
// token that says who calls.
class Call : public grpc::ClientContext {
 public:
  explicit Call(const std::string& key = NewKey(), std::chrono::milliseconds deadline = kDeadline);
};

// The details of a failed call.
struct Details {
  explicit Details(const grpc::Status& status);

  // Stable, in upper case.
  std::string reason;
  // What is known about the call: not_sent, rejected or unknown.
  std::string upstream;
  // The invalid fields of the request.
  std::vector<std::string> fields;
};

// Returns a variable of the environment, or something else if it is not set.
std::string Variable(const char* name, const std::string& otherwise = "");

}  // namespace facade

#endif  // FACADE_H_
