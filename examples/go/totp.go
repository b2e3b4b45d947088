package main

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"time"
)

// totp returns the code that an authenticator app shows: RFC 6238 with SHA-1, six digits and 30
// seconds.
func totp(secret string, now time.Time) (string, error) {
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(secret)
	if err != nil {
		return "", err
	}
	counter := make([]byte, 8)
	binary.BigEndian.PutUint64(counter, uint64(now.Unix()/30))
	mac := hmac.New(sha1.New, key)
	mac.Write(counter)
	hash := mac.Sum(nil)
	number := binary.BigEndian.Uint32(hash[hash[19]&0xf:]) & 0x7fffffff
	return fmt.Sprintf("%06d", number%1_000_000), nil
}
