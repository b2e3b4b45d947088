// Command enrol enrols a member and logs in: totp-facade from Go.
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@latest
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	buf generate && go mod tidy && go run .
//
// It runs against `totp-facade dev`, unless ADDR, ORGANIZATION and MEMBER in the environment say
// otherwise.
package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/pquerna/otp/totp"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	totpv1 "example.com/enrol/gen/stytch/b2b/totp/v1"
)

// deadline is the time for a whole call, retries included.
const deadline = 5 * time.Second

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

func main() {
	log.SetFlags(0)
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	organization, member := env("ORGANIZATION", "example-works"), env("MEMBER", "fresh")
	conn, err := grpc.NewClient(
		env("ADDR", "127.0.0.1:50051"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(retries),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := totpv1.NewTotpServiceClient(conn)

	created, err := create(ctx, client, organization, member)
	if err != nil {
		return err
	}
	_, picture, _ := strings.Cut(created.GetQrCode(), ",")
	png, err := base64.StdEncoding.DecodeString(strings.TrimSpace(picture))
	if err != nil {
		return err
	}
	if err := os.WriteFile("qr.png", png, 0o600); err != nil {
		return err
	}
	fmt.Printf("scan qr.png, or type %s\n", created.GetSecret())

	// In place of the member's authenticator app.
	code, err := totp.GenerateCode(created.GetSecret(), time.Now())
	if err != nil {
		return err
	}
	// In place of the intermediate session token that a login with Stytch returns.
	login := "sandbox-login." + member + "." + random()
	session, err := authenticate(ctx, client, &totpv1.AuthenticateRequest{
		OrganizationId:           organization,
		MemberId:                 member,
		Code:                     code,
		IntermediateSessionToken: proto.String(login),
		SetMfaEnrollment:         proto.String("enroll"),
	})
	if err != nil {
		return err
	}
	expires := session.GetMemberSession().GetExpiresAt().AsTime()
	fmt.Printf("logged in, until %s\n", expires.Format(time.RFC3339))

	_, err = authenticate(ctx, client, &totpv1.AuthenticateRequest{
		OrganizationId: organization,
		MemberId:       member,
		Code:           code,
		SessionToken:   proto.String(session.GetSessionToken()),
	})
	reason, upstream, fields := details(err)
	fmt.Printf("the same code again: %s %s %s %v\n", status.Code(err), reason, upstream, fields)
	return nil
}

// create registers a TOTP. It replaces an active one.
func create(
	ctx context.Context, client totpv1.TotpServiceClient, organization, member string,
) (*totpv1.CreateResponse, error) {
	register := func() (*totpv1.CreateResponse, error) {
		ctx, cancel := call(ctx)
		defer cancel()
		return client.Create(ctx, &totpv1.CreateRequest{
			OrganizationId: organization,
			MemberId:       member,
		})
	}
	created, err := register()
	if reason, _, _ := details(err); reason != "ACTIVE_TOTP_EXISTS" {
		return created, err
	}
	fmt.Println("there is an active TOTP; removing it")
	ctx, cancel := call(ctx)
	defer cancel()
	if _, err := client.Delete(ctx, &totpv1.DeleteRequest{
		OrganizationId: organization,
		MemberId:       member,
	}); err != nil {
		return nil, err
	}
	return register()
}

func authenticate(
	ctx context.Context, client totpv1.TotpServiceClient, request *totpv1.AuthenticateRequest,
) (*totpv1.AuthenticateResponse, error) {
	ctx, cancel := call(ctx)
	defer cancel()
	return client.Authenticate(ctx, request)
}

// call returns the context of one call, with the deadline and the key that all its attempts share.
func call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = metadata.AppendToOutgoingContext(ctx, "idempotency-key", random())
	return context.WithTimeout(ctx, deadline)
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

func random() string {
	bytes := make([]byte, 16)
	_, _ = rand.Read(bytes)
	return hex.EncodeToString(bytes)
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
