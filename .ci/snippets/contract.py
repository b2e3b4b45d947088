"""The contract, as the console prints it (/contract.json), and the classes of its messages.

Beside it there is proto/ of this folder, whose echo service has what the contract could have one day.
"""

import sys
from functools import cache

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf import timestamp_pb2  # noqa: F401, which the contract imports

from snippets.tools import FOLDER, PROTO, proto_files, run

PACKAGE = "stytch.b2b."
TYPES = {
    descriptor_pb2.FieldDescriptorProto.TYPE_STRING: "string",
    descriptor_pb2.FieldDescriptorProto.TYPE_INT32: "int32",
    descriptor_pb2.FieldDescriptorProto.TYPE_BOOL: "bool",
}
OBJECT = struct_pb2.Struct.DESCRIPTOR.full_name

def descriptors():
    output = FOLDER / "contract.pb"
    protoc = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", "--include_imports"]
    run(*protoc, f"--descriptor_set_out={output}", *proto_files())
    return descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes())


def methods(files):
    return {
        f"{file.package}.{service.name}/{method.name}": {
            "name": f"{file.package}.{service.name}/{method.name}",
            "short": method.name,
            "command": command(service.name, method.name),
            "request": method.input_type.removeprefix("."),
            "response": method.output_type.removeprefix("."),
            "reads_only": method.name == "Get",
        }
        for file in files
        for service in file.service
        for method in service.method
    }


def command(service, method):
    group = [] if service == "TotpService" else ["recovery-codes"]
    return [*group, method.lower()]


def messages(files, requests):
    names = {f"{file.package}.{it.name}": it for file in files for it in file.message_type}
    return {
        name: {"name": name, "fields": [field(it, name in requests) for it in message.field]}
        for name, message in names.items()
    }


def field(it, is_of_request):
    is_message = it.type == it.TYPE_MESSAGE
    is_object = it.type_name == f".{OBJECT}"
    repeated = it.label == it.LABEL_REPEATED
    has_presence = it.proto3_optional or is_message
    return {
        "name": it.name,
        "type": "object" if is_object else "message" if is_message else TYPES[it.type],
        "repeated": repeated,
        "required": is_of_request and not repeated and not has_presence,
        "secret": it.options.debug_redact,
    }


@cache
def message_class(name):
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))


OURS = [file for file in descriptors().file if file.package.startswith(PACKAGE)]
for file in OURS:
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
METHODS = methods(OURS)
MESSAGES = messages(OURS, {it["request"] for it in METHODS.values()})
ECHO = f"{PACKAGE}echo.v1.EchoService/SayAll"
