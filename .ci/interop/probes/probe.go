// Makes calls as standard input says, with the client of examples/go: see ../client.py.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	totpv1 "example.com/enrol/gen/stytch/b2b/totp/v1"
)

func main() {
	conn, err := connect()
	if err != nil {
		log.Fatal(err)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if words[0] == "health" {
			checkHealth(conn)
		} else {
			create(conn, words[1], words[2], words[3])
		}
	}
}

func create(conn *grpc.ClientConn, member, key, milliseconds string) {
	wait, err := strconv.Atoi(milliseconds)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(
		withMetadata(context.Background(), key), time.Duration(wait)*time.Millisecond)
	defer cancel()
	request := &totpv1.CreateRequest{
		OrganizationId: "example-works",
		MemberId:       strings.Trim(member, "-"),
	}
	var header metadata.MD
	_, err = totpv1.NewTotpServiceClient(conn).Create(ctx, request, grpc.Header(&header))
	reason, upstream, fields := details(err)
	fmt.Println(int(status.Code(err)), word(reason), word(upstream),
		word(strings.Join(fields, ",")), word(strings.Join(header["idempotent-replayed"], ",")))
}

func checkHealth(conn *grpc.ClientConn) {
	client := grpc_health_v1.NewHealthClient(conn)
	response, err := client.Check(context.Background(), &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(int(response.GetStatus()))
}

func word(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
