# The probe beside the example, with the health service.
include Makefile

probe: probe.o facade.o health.pb.o health.grpc.pb.o $(GEN)/contract.a
	$(CXX) -o $@ $^ $(LDLIBS)

probe.o: health.grpc.pb.h

health.pb.cc health.grpc.pb.cc: health.grpc.pb.h ;

health.grpc.pb.h:
	protoc -I . --cpp_out=. --grpc_out=. --plugin=protoc-gen-grpc=$$(which grpc_cpp_plugin) health.proto
