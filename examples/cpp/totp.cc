#include "totp.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <cstdint>
#include <cstdio>
#include <ctime>

namespace {

std::string Base32(const std::string& text) {
  std::string bytes;
  uint32_t bits = 0;
  int count = 0;
  for (char letter : text) {
    bits = bits << 5 | (letter >= 'A' ? letter - 'A' : letter - '2' + 26);
    count += 5;
    if (count >= 8) {
      count -= 8;
      bytes += static_cast<char>(bits >> count);
    }
  }
  return bytes;
}

}  // namespace

std::string TotpCode(const std::string& secret) {
  const std::string key = Base32(secret);
  const uint64_t step = std::time(nullptr) / 30;
  unsigned char counter[8], hash[EVP_MAX_MD_SIZE];
  for (int i = 0; i < 8; ++i) counter[i] = step >> (56 - 8 * i);
  HMAC(EVP_sha1(), key.data(), key.size(), counter, sizeof counter, hash, nullptr);
  const unsigned char* start = hash + (hash[19] & 0xf);
  const uint32_t number = (start[0] & 0x7f) << 24 | start[1] << 16 | start[2] << 8 | start[3];
  char code[7];
  std::snprintf(code, sizeof code, "%06u", number % 1000000);
  return code;
}
