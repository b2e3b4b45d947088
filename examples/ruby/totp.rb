require "openssl"

# The code that an authenticator app shows: RFC 6238 with SHA-1, six digits and 30 seconds.
module Totp
  module_function

  def code(secret, time = Time.now)
    hash = OpenSSL::HMAC.digest("SHA1", base32(secret), [time.to_i / 30].pack("Q>"))
    number = hash[hash[19].ord & 0xf, 4].unpack1("N") & 0x7fffffff
    format("%06d", number % 1_000_000)
  end

  def base32(text)
    bits = text.chars.map { |letter| format("%05b", [*"A".."Z", *"2".."7"].index(letter)) }.join
    [bits[0, bits.size / 8 * 8]].pack("B*")
  end
end
