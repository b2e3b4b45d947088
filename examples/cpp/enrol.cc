// Enrols a member and logs in: totp-facade from C++.
//
//     make GOOGLEAPIS=a clone of github.com/googleapis/googleapis
//     ./enrol
//
// Runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.

#include <google/protobuf/util/time_util.h>
#include <openssl/evp.h>

#include <fstream>
#include <iostream>
#include <stdexcept>

#include "facade.h"
#include "stytch/b2b/totp/v1/totp.grpc.pb.h"
#include "totp.h"

namespace totp = stytch::b2b::totp::v1;

namespace {

// Fills in the member.
template <typename Request>
Request For(const std::string& member) {
  Request request;
  request.set_organization_id(facade::Variable("ORGANIZATION", "example-works"));
  request.set_member_id(member);
  return request;
}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error_message());
}

// Registers a TOTP. Replaces an active one.
totp::CreateResponse Create(totp::TotpService::Stub& stub, const std::string& member) {
  totp::CreateResponse created;
  facade::Call first;
  const auto status = stub.Create(&first, For<totp::CreateRequest>(member), &created);
  if (facade::Details(status).reason != "ACTIVE_TOTP_EXISTS") {
    Check(status);
    return created;
  }
  std::cout << "there is an active TOTP; removing it" << std::endl;
  facade::Call remove, again;
  totp::DeleteResponse removed;
  Check(stub.Delete(&remove, For<totp::DeleteRequest>(member), &removed));
  Check(stub.Create(&again, For<totp::CreateRequest>(member), &created));
  return created;
}

// Writes the picture of a data URI to a file.
void Save(const std::string& uri, const char* file) {
  std::string base64 = uri.substr(uri.find(',') + 1), png(base64.size(), '\0');
  const auto* text = reinterpret_cast<const unsigned char*>(base64.data());
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(&png[0]), text, base64.size());
  png.resize(size - (base64.size() - base64.find_last_not_of('=') - 1));
  std::ofstream(file, std::ios::binary) << png;
}

void Run(totp::TotpService::Stub& stub, const std::string& member) {
  const auto created = Create(stub, member);
  Save(created.qr_code(), "qr.png");
  std::cout << "scan qr.png, or type " << created.secret() << std::endl;

  auto request = For<totp::AuthenticateRequest>(member);
  // In place of the member's authenticator app.
  request.set_code(TotpCode(created.secret()));
  // In place of the intermediate session token that a login with Stytch returns.
  const std::string login = "sandbox-login." + member + "." + facade::NewKey();
  auto proven = request;
  proven.set_intermediate_session_token(login);
  proven.set_set_mfa_enrollment("enroll");
  totp::AuthenticateResponse session;
  facade::Call first;
  Check(stub.Authenticate(&first, proven, &session));
  const auto& expires = session.member_session().expires_at();
  std::cout << "logged in, until " << google::protobuf::util::TimeUtil::ToString(expires)
            << std::endl;

  request.set_session_token(session.session_token());
  facade::Call second;
  const auto status = stub.Authenticate(&second, request, &session);
  const facade::Details details(status);
  std::cout << "the same code again: code " << status.error_code() << " " << details.reason << " "
            << details.upstream;
  for (const auto& field : details.fields) std::cout << " [" << field << "]";
  std::cout << std::endl;
}

}  // namespace

int main() {
  try {
    const auto stub = totp::TotpService::NewStub(facade::Connect());
    Run(*stub, facade::Variable("MEMBER", "fresh"));
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
    return 1;
  }
}
