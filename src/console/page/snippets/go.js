import { code, json, pascal } from "./text.js";

export function go(call) {
  const { title, tls, keyed, token, hasObject } = call;
  const width = Math.max(...call.fields.map((it) => pascal(it.name).length + 1));
  const request = (it) => `${`${pascal(it.name)}:`.padEnd(width)} ${valueOf(it)},`;
  const append = "ctx = metadata.AppendToOutgoingContext(ctx, ";
  return code`
// Calls ${call.name}. Save it as call/main.go in the repository's examples/go,
// generate the packages as main.go there says, and: go run ./call
package main

import (
	"context"
	${keyed && '"crypto/rand"'}
	"fmt"
	"log"
	${call.variables.length > 0 && '"os"'}
	${call.fields.some((it) => it.repeated && it.env) && '"strings"'}
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials${tls ? "" : "/insecure"}"
	${(keyed || token) && '"google.golang.org/grpc/metadata"'}
	"google.golang.org/grpc/status"
	${hasObject && '"google.golang.org/protobuf/encoding/protojson"'}
	${call.fields.some(isPointer) && '"google.golang.org/protobuf/proto"'}
	${hasObject && '"google.golang.org/protobuf/types/known/structpb"'}

	pb "example.com/enrol/gen/${call.path}"
)

// ${call.aboutRetries}
const retries = ${`\`${call.policy}\``}

func main() {
	log.SetFlags(0)
	conn, err := grpc.NewClient(
		${json(call.address)},
		grpc.WithTransportCredentials(${tls ? 'credentials.NewClientTLSFromCert(nil, "")' : "insecure.NewCredentials()"}),
		grpc.WithDefaultServiceConfig(retries),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), ${call.deadlineMs}*time.Millisecond)
	defer cancel()
	${keyed && [`// ${call.aboutKey}`, KEY, `${append}"idempotency-key", fmt.Sprintf("%x", key))`]}
	${token && `${append}"authorization", "Bearer "+os.Getenv("TOTP_FACADE_TOKEN"))`}
	response, err := pb.New${call.stub}Client(conn).${call.rpc}(ctx, &pb.${call.input}{
		${call.fields.map(request)}
	})
	if err == nil {
		// ${call.aboutResult}
		fmt.Println("${title} succeeded:", response.GetRequestId())
		return
	}
	// ${call.aboutOutcome}
	reason, outcome, fields := "none", "unknown", ""
	failure := status.Convert(err)
	for _, detail := range failure.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason, outcome = detail.GetReason(), detail.GetMetadata()["upstream"]
		case *errdetails.BadRequest:
			for _, it := range detail.GetFieldViolations() {
				fields += "\n  field " + it.GetField() + ": " + it.GetDescription()
			}
		}
	}
	log.Fatalf("${title} failed: %s: %s\n  reason: %s\n  outcome: %s%s",
		failure.Code(), failure.Message(), reason, outcome, fields)
}
${hasObject && OBJECT}
`;
}

const KEY = "key := make([]byte, 16)\n_, _ = rand.Read(key)";

const OBJECT = `
func object(json string) *structpb.Struct {
	object := new(structpb.Struct)
	if err := protojson.Unmarshal([]byte(json), object); err != nil {
		log.Fatal(err)
	}
	return object
}`;

const isPointer = ({ required, repeated, type }) => !required && !repeated && type !== "object";

function valueOf(field) {
  const { env, repeated, type, value } = field;
  if (env && repeated) return `strings.Split(os.Getenv("${env}"), ",")`;
  if (repeated) return `[]${type}{${value.map(json).join(", ")}}`;
  const text = env ? `os.Getenv("${env}")` : json(value);
  if (type === "object") return `object(${/`/.test(text) ? json(text) : `\`${text}\``})`;
  return isPointer(field) ? `proto.${pascal(type)}(${text})` : text;
}
