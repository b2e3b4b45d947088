import { code, json, pascal } from "./text.js";

export function java(call) {
  const { title, pkg, stub, input, keyed, rpc } = call;
  const put = (name, value) =>
    `metadata.put(Metadata.Key.of("${name}", Metadata.ASCII_STRING_MARSHALLER), ${value});`;
  return code`
// Calls ${call.name}. Save it as src/main/java/Call.java in the repository's
// examples/java, and there: mvn compile exec:java -Dexec.mainClass=Call

import com.google.gson.Gson;
import com.google.protobuf.util.JsonFormat;
import com.google.rpc.*;
import io.grpc.*;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.util.*;
import java.util.concurrent.TimeUnit;
import ${pkg}.${pascal(call.file)}.${input};
import ${pkg}.${stub}Grpc;

public final class Call {
  // ${call.aboutRetries}
  private static final String RETRIES =
      """
      ${call.policy}
      """;

  public static void main(String[] args) throws Exception {
    var channel =
        ManagedChannelBuilder.forTarget(${json(call.address)})
            ${!call.tls && ".usePlaintext()"}
            .defaultServiceConfig(new Gson().fromJson(RETRIES, Map.class))
            .enableRetry()
            .build();
    var metadata = new Metadata();
    ${keyed && [`// ${call.aboutKey}`, put("idempotency-key", "UUID.randomUUID().toString()")]}
    ${call.token && put("authorization", '"Bearer " + System.getenv("TOTP_FACADE_TOKEN")')}
    var request = ${input}.newBuilder();
    ${call.fields.map(statement)}
    try {
      var response =
          ${stub}Grpc.newBlockingStub(channel)
              .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata))
              .withDeadlineAfter(${call.deadlineMs}, TimeUnit.MILLISECONDS)
              .${rpc[0].toLowerCase() + rpc.slice(1)}(request.build());
      // ${call.aboutResult}
      System.out.println("${title} succeeded: " + response.getRequestId());
    } catch (StatusRuntimeException error) {
      // ${call.aboutOutcome}
      String reason = "none", outcome = "unknown", fields = "";
      for (var detail : StatusProto.fromThrowable(error).getDetailsList()) {
        if (detail.is(ErrorInfo.class)) {
          var info = detail.unpack(ErrorInfo.class);
          reason = info.getReason();
          outcome = info.getMetadataOrDefault("upstream", outcome);
        } else if (detail.is(BadRequest.class)) {
          for (var it : detail.unpack(BadRequest.class).getFieldViolationsList()) {
            fields += "\n  field " + it.getField() + ": " + it.getDescription();
          }
        }
      }
      System.err.printf(
          "${title} failed: %s%n  reason: %s%n  outcome: %s%s%n",
          error.getMessage(), reason, outcome, fields);
      System.exit(1);
    } finally {
      channel.shutdown();
    }
  }
}
`;
}

function statement({ name, env, repeated, type, value }) {
  const field = pascal(name);
  const read = `System.getenv("${env}")`;
  if (type === "object") {
    return `JsonFormat.parser().merge(${json(json(value))}, request.get${field}Builder());`;
  }
  if (!repeated) return `request.set${field}(${env ? read : json(value)});`;
  const list = env ? `${read}.split(",")` : value.map(json).join(", ");
  return `request.addAll${field}(List.of(${list}));`;
}
