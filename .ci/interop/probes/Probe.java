package enrol;

import grpc.health.v1.HealthCheckRequest;
import grpc.health.v1.HealthGrpc;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.StatusRuntimeException;
import io.grpc.stub.MetadataUtils;
import java.util.Scanner;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;
import stytch.b2b.totp.v1.Totp.CreateRequest;
import stytch.b2b.totp.v1.TotpServiceGrpc;

/** Makes calls as standard input says, with the client of examples/java: see ../client.py. */
public final class Probe {
  private Probe() {}

  public static void main(String[] args) throws Exception {
    ManagedChannel channel = Facade.connect();
    Scanner lines = new Scanner(System.in);
    while (lines.hasNextLine()) {
      String[] words = lines.nextLine().split(" ");
      System.out.println(
          words[0].equals("health")
              ? health(channel)
              : create(channel, words[1].replace("-", ""), words[2], Long.parseLong(words[3])));
    }
    channel.shutdown();
  }

  private static String create(ManagedChannel channel, String member, String key, long deadline) {
    CreateRequest request =
        CreateRequest.newBuilder().setOrganizationId("example-works").setMemberId(member).build();
    var headers = new AtomicReference<Metadata>();
    try {
      Facade.attempts(TotpServiceGrpc.newBlockingStub(channel), key)
          .withInterceptors(
              MetadataUtils.newCaptureMetadataInterceptor(headers, new AtomicReference<>()))
          .withDeadlineAfter(deadline, TimeUnit.MILLISECONDS)
          .create(request);
      return "0 - - - " + word(headers.get().get(Facade.header("idempotent-replayed")));
    } catch (StatusRuntimeException error) {
      Details details = Details.of(error);
      String fields = String.join(",", details.fields());
      return String.join(
          " ",
          Integer.toString(error.getStatus().getCode().value()),
          word(details.reason()),
          word(details.upstream()),
          word(fields),
          "-");
    }
  }

  private static String health(ManagedChannel channel) {
    var client = HealthGrpc.newBlockingStub(channel).withDeadlineAfter(300, TimeUnit.SECONDS);
    return Integer.toString(client.check(HealthCheckRequest.getDefaultInstance()).getStatus());
  }

  private static String word(String text) {
    return text == null || text.isEmpty() ? "-" : text;
  }
}
