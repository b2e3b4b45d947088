// The code that an authenticator app shows: RFC 6238 with SHA-1, six digits and 30 seconds.

#ifndef TOTP_H_
#define TOTP_H_

#include <string>

// Returns the code of this moment. Links with OpenSSL's libcrypto.
std::string TotpCode(const std::string& secret);

#endif  // TOTP_H_
