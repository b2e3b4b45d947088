# Makes calls as standard input says, with the client of examples/ruby: see ../client.py.

require "grpc/health/v1/health_services_pb"

require_relative "facade"

include Stytch::B2b::Totp::V1

def create(client, member, key, deadline)
  request = CreateRequest.new(organization_id: "example-works", member_id: member.delete("-"))
  deadline = Time.now + deadline.to_i / 1000.0
  call = client.create(
    request, metadata: Facade.metadata(key), deadline: deadline, return_op: true
  )
  call.execute
  [0, "-", "-", "-", call.metadata.fetch("idempotent-replayed", "-")]
rescue GRPC::BadStatus => error
  reason, upstream, fields = Facade.details(error)
  [error.code, *[reason, upstream, fields.join(",")].map { |word| word.empty? ? "-" : word }, "-"]
end

def health(client)
  response = client.check(Grpc::Health::V1::HealthCheckRequest.new, deadline: Time.now + 300)
  [Grpc::Health::V1::HealthCheckResponse::ServingStatus.resolve(response.status)]
end

client = Facade.connect(TotpService::Stub)
health_client = Facade.connect(Grpc::Health::V1::Health::Stub)
$stdin.each_line do |line|
  name, *arguments = line.split
  puts (name == "health" ? health(health_client) : create(client, *arguments)).join(" ")
  $stdout.flush
end
