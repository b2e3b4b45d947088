"""The contract's messages and stubs, for the scripts beside this one."""

import sys

import grpc

from facade import ROOT

sys.path.append(str(ROOT / "proto"))
totp, totp_grpc = grpc.protos_and_services("stytch/b2b/totp/v1/totp.proto")
codes, codes_grpc = grpc.protos_and_services("stytch/b2b/recovery_codes/v1/recovery_codes.proto")
