package enrol;

import static enrol.Facade.env;
import static enrol.Facade.once;

import com.google.protobuf.util.Timestamps;
import io.grpc.ManagedChannel;
import io.grpc.StatusRuntimeException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.time.Instant;
import java.util.Base64;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
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
 * <p>Runs against {@code totp-facade dev}, unless the environment says otherwise: ../README.md.
 */
public final class Enrol {
  private static final String ORGANIZATION = env("ORGANIZATION", "example-works");
  private static final String MEMBER = env("MEMBER", "fresh");

  private Enrol() {}

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = Facade.connect();
    try {
      run(TotpServiceGrpc.newBlockingStub(channel));
    } finally {
      channel.shutdown().awaitTermination(5, TimeUnit.SECONDS);
    }
  }

  private static void run(TotpServiceBlockingStub client)
      throws IOException, GeneralSecurityException {
    CreateResponse created = create(client);
    String picture = created.getQrCode().split(",", 2)[1];
    Files.write(Path.of("qr.png"), Base64.getDecoder().decode(picture));
    System.out.println("scan qr.png, or type " + created.getSecret());

    // In place of the member's authenticator app.
    String code = Totp.code(created.getSecret(), Instant.now());
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
      once(client).authenticate(request.setSessionToken(session.getSessionToken()).build());
    } catch (StatusRuntimeException error) {
      Details details = Details.of(error);
      System.out.printf(
          "the same code again: %s %s %s %s%n",
          error.getStatus().getCode(), details.reason(), details.upstream(), details.fields());
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
}
