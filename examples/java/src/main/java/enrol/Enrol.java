package enrol;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Timestamps;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.MetadataUtils;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import stytch.b2b.totp.v1.Totp.AuthenticateRequest;
import stytch.b2b.totp.v1.Totp.CreateRequest;
import stytch.b2b.totp.v1.Totp.CreateResponse;
import stytch.b2b.totp.v1.Totp.DeleteRequest;
import stytch.b2b.totp.v1.TotpServiceGrpc;
import stytch.b2b.totp.v1.TotpServiceGrpc.TotpServiceBlockingStub;

/**
 * Enrols a member and logs in: totp-facade from Java.
 *
 * <pre>mvn compile exec:java</pre>
 *
 * <p>Runs against {@code totp-facade dev}, unless ADDR, ORGANIZATION and MEMBER in the environment
 * say otherwise.
 */
public final class Enrol {
  private static final String ORGANIZATION = env("ORGANIZATION", "example-works");
  private static final String MEMBER = env("MEMBER", "fresh");

  /**
   * Every call carries an idempotency key, so gRPC may retry it after any failure. The server's
   * pushback delays retries, and stops those that cannot help. Without keys, retry reads only:
   * docs/retries.md.
   */
  private static final Map<String, ?> RETRIES =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  List.of(
                      Map.of("service", "stytch.b2b.totp.v1.TotpService"),
                      Map.of("service", "stytch.b2b.recovery_codes.v1.RecoveryCodesService")),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts", 4.0,
                      "initialBackoff", "0.1s",
                      "maxBackoff", "2s",
                      "backoffMultiplier", 2.0,
                      "retryableStatusCodes",
                          List.of(
                              "UNAVAILABLE",
                              "RESOURCE_EXHAUSTED",
                              "INTERNAL",
                              "UNKNOWN",
                              "CANCELLED")))));

  private static final Metadata.Key<String> IDEMPOTENCY_KEY =
      Metadata.Key.of("idempotency-key", Metadata.ASCII_STRING_MARSHALLER);

  private Enrol() {}

  public static void main(String[] args) throws Exception {
    ManagedChannel channel =
        ManagedChannelBuilder.forTarget(env("ADDR", "127.0.0.1:50051"))
            .usePlaintext()
            .defaultServiceConfig(RETRIES)
            .enableRetry()
            .build();
    try {
      run(TotpServiceGrpc.newBlockingStub(channel));
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static void run(TotpServiceBlockingStub client)
      throws IOException, GeneralSecurityException {
    CreateResponse created = create(client);
    String picture = created.getQrCode().split(",", 2)[1].trim();
    Files.write(Path.of("qr.png"), Base64.getDecoder().decode(picture));
    System.out.println("scan qr.png, or type " + created.getSecret());

    // In place of the member's authenticator app.
    String code = code(created.getSecret(), Instant.now());
    AuthenticateRequest.Builder request =
        AuthenticateRequest.newBuilder()
            .setOrganizationId(ORGANIZATION)
            .setMemberId(MEMBER)
            .setCode(code);
    // In place of the intermediate session token that a login with Stytch returns.
    String login = "sandbox-login." + MEMBER + "." + UUID.randomUUID();
    var session =
        once(client)
            .authenticate(
                request
                    .clone()
                    .setIntermediateSessionToken(login)
                    .setSetMfaEnrollment("enroll")
                    .build());
    String expires = Timestamps.toString(session.getMemberSession().getExpiresAt());
    System.out.println("logged in, until " + expires);

    try {
      once(client)
          .authenticate(request.setSessionToken(session.getSessionToken()).build());
    } catch (StatusRuntimeException error) {
      System.out.println(
          "the same code again: " + error.getStatus().getCode() + " " + Details.of(error));
    }
  }

  /** Registers a TOTP. Replaces an active one. */
  private static CreateResponse create(TotpServiceBlockingStub client) {
    CreateRequest request =
        CreateRequest.newBuilder().setOrganizationId(ORGANIZATION).setMemberId(MEMBER).build();
    try {
      return once(client).create(request);
    } catch (StatusRuntimeException error) {
      if (!Details.of(error).reason().equals("ACTIVE_TOTP_EXISTS")) {
        throw error;
      }
      System.out.println("there is an active TOTP; removing it");
      once(client)
          .delete(
              DeleteRequest.newBuilder()
                  .setOrganizationId(ORGANIZATION)
                  .setMemberId(MEMBER)
                  .build());
      return once(client).create(request);
    }
  }

  /** Returns a client for one call, with the deadline and the key that all its attempts share. */
  private static TotpServiceBlockingStub once(TotpServiceBlockingStub client) {
    Metadata metadata = new Metadata();
    metadata.put(IDEMPOTENCY_KEY, UUID.randomUUID().toString());
    return client
        .withDeadlineAfter(5, TimeUnit.SECONDS)
        .withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  /**
   * The details of a failed call.
   *
   * @param reason stable, in upper case
   * @param upstream what is known about the call: not_sent, rejected or unknown
   * @param fields the invalid fields of the request
   */
  private record Details(String reason, String upstream, List<String> fields) {
    static Details of(StatusRuntimeException error) {
      String reason = "";
      String upstream = "";
      List<String> fields = new ArrayList<>();
      var status = StatusProto.fromThrowable(error);
      if (status == null) {
        return new Details(reason, upstream, fields);
      }
      try {
        for (var detail : status.getDetailsList()) {
          if (detail.is(ErrorInfo.class)) {
            ErrorInfo info = detail.unpack(ErrorInfo.class);
            reason = info.getReason();
            upstream = info.getMetadataOrDefault("upstream", "");
          } else if (detail.is(BadRequest.class)) {
            detail
                .unpack(BadRequest.class)
                .getFieldViolationsList()
                .forEach(violation -> fields.add(violation.getField()));
          }
        }
      } catch (InvalidProtocolBufferException malformed) {
        throw new IllegalStateException(malformed);
      }
      return new Details(reason, upstream, fields);
    }
  }

  /** RFC 6238 with SHA-1, six digits and 30 seconds. */
  private static String code(String secret, Instant time) throws GeneralSecurityException {
    Mac mac = Mac.getInstance("HmacSHA1");
    mac.init(new SecretKeySpec(base32(secret), "HmacSHA1"));
    byte[] hash = mac.doFinal(ByteBuffer.allocate(8).putLong(time.getEpochSecond() / 30).array());
    int number = ByteBuffer.wrap(hash, hash[19] & 0xf, 4).getInt() & 0x7fffffff;
    return String.format("%06d", number % 1_000_000);
  }

  private static byte[] base32(String text) {
    ByteBuffer bytes = ByteBuffer.allocate(text.length() * 5 / 8);
    int bits = 0;
    int count = 0;
    for (char c : text.toCharArray()) {
      bits = bits << 5 | "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(c);
      count += 5;
      if (count >= 8) {
        count -= 8;
        bytes.put((byte) (bits >> count));
      }
    }
    return bytes.array();
  }

  private static String env(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }
}
