"""server.py PATH: grpc.testing.TestService on python3-grpcio (gRPC's C core), for tests of our client.

It listens on a unix socket and prints "ready"; SIGTERM ends it gracefully. Messages are taken apart by the numbers of their
fields, so that no generated code is needed.
"""

import concurrent.futures
import signal
import sys
import threading

import grpc

INITIAL = "x-grpc-test-echo-initial"
TRAILING = "x-grpc-test-echo-trailing-bin"


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def fields(message):
    """Each field as (number, value): an int or bytes."""
    at = 0

    def number():
        nonlocal at
        n = shift = 0
        while True:
            n |= (message[at] & 127) << shift
            at += 1
            shift += 7
            if message[at - 1] < 128:
                return n

    while at < len(message):
        key = number()
        value = number()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        yield key >> 3, value


def field(number, value):
    return varint(number << 3 | 2) + varint(len(value)) + value


def response(size):
    """A message whose first field is a Payload of so many zeros."""
    return field(1, field(2, bytes(size)))


def echo_metadata(context):
    metadata = dict(context.invocation_metadata())
    if INITIAL in metadata:
        context.send_initial_metadata([(INITIAL, metadata[INITIAL])])
    if TRAILING in metadata:
        context.set_trailing_metadata([(TRAILING, metadata[TRAILING])])


def fail_if_asked(request, context):
    for number, value in fields(request):
        if number == 7:
            status = dict(fields(value))
            code = next(c for c in grpc.StatusCode if c.value[0] == status[1])
            context.abort(code, status[2].decode())


def empty_call(request, context):
    return b""


def unary_call(request, context):
    echo_metadata(context)
    fail_if_asked(request, context)
    return response(dict(fields(request)).get(2, 0))


def streaming_input_call(requests, context):
    total = sum(len(dict(fields(dict(fields(r))[1]))[2]) for r in requests)
    return b"\x08" + varint(total)


def streaming_output_call(request, context):
    fail_if_asked(request, context)
    for number, value in fields(request):
        if number == 2:
            yield response(dict(fields(value)).get(1, 0))


def full_duplex_call(requests, context):
    echo_metadata(context)
    for request in requests:
        yield from streaming_output_call(request, context)


HANDLERS = {
    "EmptyCall": grpc.unary_unary_rpc_method_handler(empty_call),
    "UnaryCall": grpc.unary_unary_rpc_method_handler(unary_call),
    "StreamingInputCall": grpc.stream_unary_rpc_method_handler(streaming_input_call),
    "StreamingOutputCall": grpc.unary_stream_rpc_method_handler(streaming_output_call),
    "FullDuplexCall": grpc.stream_stream_rpc_method_handler(full_duplex_call),
}


def main():
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.testing.TestService", HANDLERS),))
    server.add_insecure_port("unix:" + sys.argv[1])
    server.start()
    print("ready", flush=True)
    ended.wait()
    server.stop(30).wait()


main()
