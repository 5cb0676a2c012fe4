# wirelab.Calculator for grpcio: its messages as protobuf's own library makes them of a descriptor; no protoc.
# python3 calculator.py serve PORT | call ADDRESS
import sys
import time
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FIELD = descriptor_pb2.FieldDescriptorProto
FILE = descriptor_pb2.FileDescriptorProto(name="calculator.proto", package="wirelab", syntax="proto3")


def message(name, *fields):
    made = FILE.message_type.add(name=name)
    for number, (field, kind, label) in enumerate(fields, 1):
        made.field.add(name=field, number=number, type=kind, label=label)


message("Numbers", ("values", FIELD.TYPE_INT64, FIELD.LABEL_REPEATED))
message("Number", ("value", FIELD.TYPE_INT64, FIELD.LABEL_OPTIONAL))
message("Range", ("count", FIELD.TYPE_UINT32, FIELD.LABEL_OPTIONAL), ("interval_ms", FIELD.TYPE_UINT32, FIELD.LABEL_OPTIONAL))
POOL = descriptor_pool.DescriptorPool()
POOL.Add(FILE)
Numbers, Number, Range = (
    message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"wirelab.{name}")) for name in ["Numbers", "Number", "Range"]
)
LIMIT = 4096


def count(request, context):
    for n in range(1, request.count + 1):
        yield Number(value=n)
        time.sleep(request.interval_ms / 1000)


def serve(port):
    def handler(make, request, method):
        return make(method, request_deserializer=request.FromString, response_serializer=Number.SerializeToString)

    methods = {
        "Add": handler(grpc.unary_unary_rpc_method_handler, Numbers, lambda m, _: Number(value=sum(m.values))),
        "Count": handler(grpc.unary_stream_rpc_method_handler, Range, count),
        "Total": handler(grpc.stream_unary_rpc_method_handler, Number, lambda all, _: Number(value=sum(m.value for m in all))),
        "AddEach": handler(
            grpc.stream_stream_rpc_method_handler, Numbers, lambda all, _: (Number(value=sum(m.values)) for m in all)
        ),
    }
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", LIMIT)])
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("wirelab.Calculator", methods)])
    assert server.add_insecure_port(f"0.0.0.0:{port}") == port
    server.start()
    server.wait_for_termination()


def call(address):
    channel = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])

    def method(make, name, request):
        return make(
            f"/wirelab.Calculator/{name}", request_serializer=request.SerializeToString, response_deserializer=Number.FromString
        )

    add = method(channel.unary_unary, "Add", Numbers)
    count = method(channel.unary_stream, "Count", Range)
    total = method(channel.stream_unary, "Total", Number)
    each = method(channel.stream_stream, "AddEach", Numbers)

    def code(what, **options):
        try:
            what(**options)
        except grpc.RpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    assert add(Numbers(values=[20, 22, -(2**40)]), timeout=10).value == 42 - 2**40
    assert add(Numbers(), timeout=10).value == 0
    assert [n.value for n in count(Range(count=5, interval_ms=20), timeout=10)] == [1, 2, 3, 4, 5]
    assert total(iter([Number(value=n) for n in range(100)]), timeout=10).value == 4950
    assert [n.value for n in each(iter([Numbers(values=[n, n]) for n in range(50)]), timeout=10)] == [2 * n for n in range(50)]
    status = grpc.StatusCode
    assert code(lambda: add(Numbers(values=[1]), timeout=0.05)) == status.DEADLINE_EXCEEDED
    assert code(lambda: list(count(Range(count=9, interval_ms=100), timeout=0.35))) == status.DEADLINE_EXCEEDED
    assert code(lambda: add(Numbers(values=[2**63 - 1, 1]), timeout=10)) == status.OUT_OF_RANGE
    assert code(lambda: add(Numbers(values=[1] * 2 * LIMIT), timeout=10)) == status.RESOURCE_EXHAUSTED
    assert code(lambda: method(channel.unary_unary, "Divide", Numbers)(Numbers(), timeout=10)) == status.UNIMPLEMENTED
    stream = count(Range(count=100, interval_ms=50))
    assert next(stream).value == 1
    stream.cancel()
    assert code(lambda: list(stream)) == status.CANCELLED
    assert add(Numbers(values=[1, 2]), timeout=10).value == 3
    print("all is well")


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    call(sys.argv[2])
