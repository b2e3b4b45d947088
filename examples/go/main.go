// Command enrol enrols a member and logs in: totp-facade from Go.
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@latest
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@latest
//	buf generate && go mod tidy && go run .
//
// It runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.
package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	totpv1 "example.com/enrol/gen/stytch/b2b/totp/v1"
)

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	organization, member := env("ORGANIZATION", "example-works"), env("MEMBER", "fresh")
	conn, err := connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	client := totpv1.NewTotpServiceClient(conn)

	created, err := create(ctx, client, organization, member)
	if err != nil {
		return err
	}
	if err := save(created.GetQrCode(), "qr.png"); err != nil {
		return err
	}
	fmt.Printf("scan qr.png, or type %s\n", created.GetSecret())

	// In place of the member's authenticator app.
	code, err := totp(created.GetSecret(), time.Now())
	if err != nil {
		return err
	}
	// In place of the intermediate session token that a login with Stytch returns.
	login := "sandbox-login." + member + "." + newKey()
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
	if err := remove(ctx, client, organization, member); err != nil {
		return nil, err
	}
	return register()
}

func remove(
	ctx context.Context, client totpv1.TotpServiceClient, organization, member string,
) error {
	ctx, cancel := call(ctx)
	defer cancel()
	_, err := client.Delete(ctx, &totpv1.DeleteRequest{
		OrganizationId: organization,
		MemberId:       member,
	})
	return err
}

func authenticate(
	ctx context.Context, client totpv1.TotpServiceClient, request *totpv1.AuthenticateRequest,
) (*totpv1.AuthenticateResponse, error) {
	ctx, cancel := call(ctx)
	defer cancel()
	return client.Authenticate(ctx, request)
}

// save writes the picture of a data URI to a file.
func save(uri, file string) error {
	_, picture, _ := strings.Cut(uri, ",")
	png, err := base64.StdEncoding.DecodeString(picture)
	if err != nil {
		return err
	}
	return os.WriteFile(file, png, 0o600)
}
