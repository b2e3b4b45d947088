package enrol;

import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.ErrorInfo;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.ArrayList;
import java.util.List;

/**
 * The details of a failed call.
 *
 * @param reason stable, in upper case
 * @param upstream what is known about the call: not_sent, rejected or unknown
 * @param fields the invalid fields of the request
 */
record Details(String reason, String upstream, List<String> fields) {
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
