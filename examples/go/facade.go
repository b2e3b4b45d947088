package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// deadline is the time for a whole call, retries included.
const deadline = 15 * time.Second

// retries lets gRPC retry a call after any failure, because every call carries an idempotency key.
// The server's pushback delays retries, and stops those that cannot help. Without keys, retry reads
// only: docs/retries.md.
const retries = `{
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
}`

// connect returns a connection to the façade, by TLS if its address begins with https.
func connect() (*grpc.ClientConn, error) {
	address := env("TOTP_FACADE_ADDR", "http://127.0.0.1:50051")
	target := strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	transport := insecure.NewCredentials()
	if strings.HasPrefix(address, "https://") {
		config, err := tlsConfig()
		if err != nil {
			return nil, err
		}
		transport = credentials.NewTLS(config)
	}
	return grpc.NewClient(
		target,
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(retries),
	)
}

// tlsConfig returns whom to trust, and the client's certificate if there is one.
func tlsConfig() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if file := os.Getenv("TOTP_FACADE_CA_FILE"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("no certificate in %s", file)
		}
	}
	if file := os.Getenv("TOTP_FACADE_CLIENT_CERT_FILE"); file != "" {
		pair, err := tls.LoadX509KeyPair(file, os.Getenv("TOTP_FACADE_CLIENT_KEY_FILE"))
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// newKey returns an idempotency key: one for each operation, the same for all its attempts.
func newKey() string {
	bytes := make([]byte, 16)
	_, _ = rand.Read(bytes)
	return hex.EncodeToString(bytes)
}

// call returns the context of one call, with the deadline and the key that all its attempts share.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(withMetadata(ctx, newKey()), deadline)
}

// withMetadata adds what a call carries: its key, and the token that says who calls.
func withMetadata(ctx context.Context, key string) context.Context {
	ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", key)
	if token := os.Getenv("TOTP_FACADE_TOKEN"); token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	return ctx
}

// details returns the details of a failed call: the reason, what is known about the call upstream,
// and the invalid fields. All are empty without an error.
func details(err error) (reason, upstream string, fields []string) {
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason, upstream = detail.GetReason(), detail.GetMetadata()["upstream"]
		case *errdetails.BadRequest:
			for _, violation := range detail.GetFieldViolations() {
				fields = append(fields, violation.GetField())
			}
		}
	}
	return reason, upstream, fields
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
