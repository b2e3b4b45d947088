package enrol;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.AbstractStub;
import io.grpc.stub.MetadataUtils;
import java.io.File;
import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.TimeUnit;

/** The client: a channel with retries, and what each call carries. */
final class Facade {
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

  private Facade() {}

  /** Returns a channel to the façade, by TLS if its address begins with https. */
  static ManagedChannel connect() throws IOException {
    String address = env("TOTP_FACADE_ADDR", "http://127.0.0.1:50051");
    ChannelCredentials credentials =
        address.startsWith("https://") ? tls() : InsecureChannelCredentials.create();
    return Grpc.newChannelBuilder(address.replaceFirst("^https?://", ""), credentials)
        .defaultServiceConfig(RETRIES)
        .enableRetry()
        .build();
  }

  private static ChannelCredentials tls() throws IOException {
    TlsChannelCredentials.Builder tls = TlsChannelCredentials.newBuilder();
    String authorities = env("TOTP_FACADE_CA_FILE", "");
    if (!authorities.isEmpty()) {
      tls.trustManager(new File(authorities));
    }
    String certificate = env("TOTP_FACADE_CLIENT_CERT_FILE", "");
    if (!certificate.isEmpty()) {
      tls.keyManager(new File(certificate), new File(env("TOTP_FACADE_CLIENT_KEY_FILE", "")));
    }
    return tls.build();
  }

  /** Returns an idempotency key: one for each operation, the same for all its attempts. */
  static String newKey() {
    return UUID.randomUUID().toString();
  }

  /** Returns a client for one call, with the deadline and the key that all its attempts share. */
  static <T extends AbstractStub<T>> T once(T client) {
    return attempts(client, newKey()).withDeadlineAfter(15, TimeUnit.SECONDS);
  }

  /** Returns a client whose calls carry this key, and the token that says who calls. */
  static <T extends AbstractStub<T>> T attempts(T client, String key) {
    Metadata metadata = new Metadata();
    metadata.put(header("idempotency-key"), key);
    String token = env("TOTP_FACADE_TOKEN", "");
    if (!token.isEmpty()) {
      metadata.put(header("authorization"), "Bearer " + token);
    }
    return client.withInterceptors(MetadataUtils.newAttachHeadersInterceptor(metadata));
  }

  static Metadata.Key<String> header(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }

  static String env(String name, String otherwise) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? otherwise : value;
  }
}
