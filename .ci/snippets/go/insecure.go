// Package insecure is what gRPC has under this name since 1.34.
package insecure

import (
	"context"
	"net"

	"google.golang.org/grpc/credentials"
)

type plaintext struct{}

// NewCredentials returns credentials that leave the connection as it is.
func NewCredentials() credentials.TransportCredentials { return plaintext{} }

func (plaintext) ClientHandshake(
	_ context.Context, _ string, conn net.Conn,
) (net.Conn, credentials.AuthInfo, error) {
	return conn, nil, nil
}

func (plaintext) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, nil, nil
}

func (plaintext) Info() credentials.ProtocolInfo { return credentials.ProtocolInfo{} }

func (plaintext) Clone() credentials.TransportCredentials { return plaintext{} }

func (plaintext) OverrideServerName(string) error { return nil }
