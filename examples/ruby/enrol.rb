# Enrols a member and logs in: totp-facade from Ruby.
#
#     bundle install && bundle exec ./generate.sh && bundle exec ruby enrol.rb
#
# Runs against `totp-facade dev`, unless the environment says otherwise: ../README.md.

require "base64"

require_relative "facade"
require_relative "totp"

include Stytch::B2b::Totp::V1

WHO = {
  organization_id: ENV.fetch("ORGANIZATION", "example-works"),
  member_id: ENV.fetch("MEMBER", "fresh"),
}.freeze

# Registers a TOTP. Replaces an active one.
def create(client)
  client.create(CreateRequest.new(**WHO), **Facade.once)
rescue GRPC::BadStatus => error
  reason, = Facade.details(error)
  raise unless reason == "ACTIVE_TOTP_EXISTS"

  puts "there is an active TOTP; removing it"
  client.delete(DeleteRequest.new(**WHO), **Facade.once)
  client.create(CreateRequest.new(**WHO), **Facade.once)
end

client = Facade.connect(TotpService::Stub)

created = create(client)
File.binwrite("qr.png", Base64.decode64(created.qr_code.split(",", 2).last))
puts "scan qr.png, or type #{created.secret}"

# In place of the member's authenticator app.
code = ::Totp.code(created.secret)
# In place of the intermediate session token that a login with Stytch returns.
login = "sandbox-login.#{WHO[:member_id]}.#{SecureRandom.hex(8)}"
proof = { intermediate_session_token: login, set_mfa_enrollment: "enroll" }
session = client.authenticate(AuthenticateRequest.new(**WHO, code: code, **proof), **Facade.once)
expires = Time.at(session.member_session.expires_at.seconds).utc
puts "logged in, until #{expires.strftime("%FT%TZ")}"

begin
  proof = { session_token: session.session_token }
  client.authenticate(AuthenticateRequest.new(**WHO, code: code, **proof), **Facade.once)
rescue GRPC::BadStatus => error
  reason, upstream, fields = Facade.details(error)
  name = error.class.name.split("::").last
  puts "the same code again: #{name} #{reason} #{upstream} #{fields}"
end
