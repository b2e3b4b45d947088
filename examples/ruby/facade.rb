# The client: a channel with retries, what each call carries, and the details of an error.

require "google/protobuf/well_known_types"
require "google/rpc/error_details_pb"
require "google/rpc/status_pb"
require "grpc"
require "json"
require "securerandom"

$LOAD_PATH.unshift(File.join(__dir__, "generated"))
require "stytch/b2b/totp/v1/totp_services_pb"

module Facade
  DEADLINE = 15 # seconds, retries included

  # Every call carries an idempotency key, so gRPC may retry it after any failure. The server's
  # pushback delays retries, and stops those that cannot help. Without keys, retry reads only:
  # docs/retries.md.
  RETRIES = {
    methodConfig: [
      {
        name: [
          { service: "stytch.b2b.totp.v1.TotpService" },
          { service: "stytch.b2b.recovery_codes.v1.RecoveryCodesService" },
        ],
        retryPolicy: {
          maxAttempts: 4,
          initialBackoff: "0.1s",
          maxBackoff: "2s",
          backoffMultiplier: 2,
          retryableStatusCodes: %w[UNAVAILABLE RESOURCE_EXHAUSTED INTERNAL UNKNOWN CANCELLED],
        },
      },
    ],
  }.freeze

  module_function

  # Returns a client for one of the services, whose calls share one channel.
  def connect(service)
    target, credentials = self.target
    options = { "grpc.service_config" => JSON.generate(RETRIES) }
    service.new(target, credentials, channel_args: options)
  end

  # The address without its scheme, and the credentials: TLS if the scheme is https.
  def target
    scheme, _, target = ENV.fetch("TOTP_FACADE_ADDR", "http://127.0.0.1:50051").rpartition("://")
    return target, :this_channel_is_insecure unless scheme == "https"

    authorities, key, certificate =
      %w[CA CLIENT_KEY CLIENT_CERT].map { |name| contents("TOTP_FACADE_#{name}_FILE") }
    return target, GRPC::Core::ChannelCredentials.new(authorities) unless key

    [target, GRPC::Core::ChannelCredentials.new(authorities, key, certificate)]
  end

  def contents(variable)
    file = ENV[variable]
    File.read(file) if file
  end

  # Returns an idempotency key: one for each operation, the same for all its attempts.
  def new_key
    SecureRandom.uuid
  end

  # Returns what a call carries: its key, and the token that says who calls.
  def metadata(key)
    token = ENV["TOTP_FACADE_TOKEN"]
    { "idempotency-key" => key, "authorization" => token && "Bearer #{token}" }.compact
  end

  # Returns the options of one call. All its attempts share the key and the deadline.
  def once
    { metadata: metadata(new_key), deadline: Time.now + DEADLINE }
  end

  # Returns the details of a failed call: the reason, `upstream`, and the invalid fields.
  def details(error)
    reason, upstream, fields = "", "", []
    status = Google::Rpc::Status.decode(error.metadata.fetch("grpc-status-details-bin", ""))
    status.details.each do |detail|
      if detail.is(Google::Rpc::ErrorInfo)
        info = detail.unpack(Google::Rpc::ErrorInfo)
        reason, upstream = info.reason, info.metadata["upstream"]
      elsif detail.is(Google::Rpc::BadRequest)
        fields = detail.unpack(Google::Rpc::BadRequest).field_violations.map(&:field)
      end
    end
    [reason, upstream, fields]
  end
end
