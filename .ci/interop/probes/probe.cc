// Makes calls as standard input says, with the client of examples/cpp: see ../client.py.

#include <iostream>
#include <sstream>
#include <stdexcept>

#include "facade.h"
#include "health.grpc.pb.h"
#include "stytch/b2b/totp/v1/totp.grpc.pb.h"

namespace totp = stytch::b2b::totp::v1;

namespace {

std::string Word(const std::string& text) { return text.empty() ? "-" : text; }

void Create(totp::TotpService::Stub& stub, std::istream& words) {
  std::string member, key;
  int deadline;
  words >> member >> key >> deadline;
  facade::Call call(key, std::chrono::milliseconds(deadline));
  totp::CreateRequest request;
  request.set_organization_id("example-works");
  if (member != "-") request.set_member_id(member);
  totp::CreateResponse response;
  const auto status = stub.Create(&call, request, &response);
  const facade::Details details(status);
  std::string fields, replayed;
  for (const auto& field : details.fields) fields += (fields.empty() ? "" : ",") + field;
  const auto& headers = call.GetServerInitialMetadata();
  const auto header = headers.find("idempotent-replayed");
  if (header != headers.end()) replayed.assign(header->second.data(), header->second.size());
  std::cout << status.error_code() << " " << Word(details.reason) << " " << Word(details.upstream)
            << " " << Word(fields) << " " << Word(replayed) << std::endl;
}

void CheckHealth(grpc::health::v1::Health::Stub& stub) {
  facade::Call call(facade::NewKey(), std::chrono::minutes(5));
  grpc::health::v1::HealthCheckResponse response;
  const auto status = stub.Check(&call, {}, &response);
  if (!status.ok()) throw std::runtime_error(status.error_message());
  std::cout << response.status() << std::endl;
}

}  // namespace

int main() {
  const auto channel = facade::Connect();
  const auto stub = totp::TotpService::NewStub(channel);
  const auto health = grpc::health::v1::Health::NewStub(channel);
  for (std::string line, name; std::getline(std::cin, line);) {
    std::istringstream words(line);
    words >> name;
    if (name == "health") {
      CheckHealth(*health);
    } else {
      Create(*stub, words);
    }
  }
}
