"""client.py ENDPOINT: python3-grpcio against the test server, as TAP."""

import concurrent.futures
import sys
import threading
import time

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

TEXT = "\t\nvolume vöĺ: 100 % ☺ 😈\r\n"
AUTHORITIES = (
    "localhost",
    "/var/lib/kubelet/plugins/x/csi.sock",
    "unix:/csi/csi.sock",
    "%2Fvar%2Flib%2Fcsi.sock",
    "a b",
)

count = failed = 0


def ok(good, name, why=""):
    global count, failed
    count += 1
    failed += not good
    print(f"{'' if good else 'not '}ok {count} - {name}", flush=True)
    if not good:
        print(f"# {why}", flush=True)


def call(channel, method, request=b"", timeout=120, **more):
    """Gives (code name, text or reply)."""
    stub = channel.unary_unary("/interop.Test/" + method)
    try:
        return "OK", stub(request, timeout=timeout, **more)
    except grpc.RpcError as e:
        return e.code().name, e.details()


def expect(name, got, code, value=None):
    good = got[0] == code and (value is None or got[1] == value)
    ok(good, name, f"got {got[0]} {str(got[1])[:200]!r}")


def unary(channel):
    expect("a unary call", call(channel, "Echo", b"hello"), "OK", b"hello")
    expect("an empty message", call(channel, "Echo"), "OK", b"")
    expect("metadata that nobody knows",
           call(channel, "Echo", b"x", metadata=(("x-one", "1"), ("x-two-bin", b"\0\1"))),
           "OK", b"x")
    for size in (271828, 4 * 1024 * 1024):
        data = bytes(size)
        expect(f"a message of {size} bytes", call(channel, "Echo", data), "OK", data)
    expect("a message over the limit", call(channel, "Echo", bytes(4 * 1024 * 1024 + 1)),
           "RESOURCE_EXHAUSTED")
    expect("an answer of 314159 bytes", call(channel, "Size", b"314159"), "OK", b"x" * 314159)


def errors(channel):
    names = [None] * 17
    for code in grpc.StatusCode:
        names[code.value[0]] = code.name
    got = [call(channel, "Status", b"%d text" % n)[0] for n in range(1, 17)]
    ok(got == names[1:], "every status code", got)
    expect("a text in Unicode", call(channel, "Status", b"5 " + TEXT.encode()), "NOT_FOUND", TEXT)
    expect("an unknown method", call(channel, "Nope"), "UNIMPLEMENTED")
    stub = channel.unary_unary("/interop.Nope/Echo")
    try:
        stub(b"", timeout=120)
        ok(False, "an unknown service", "got OK")
    except grpc.RpcError as e:
        expect("an unknown service", (e.code().name, e.details()), "UNIMPLEMENTED")
    expect("a compressed message",
           call(channel, "Echo", b"x" * 1000, compression=grpc.Compression.Gzip), "UNIMPLEMENTED")


def time_and_cancel(channel):
    # The server's margin is 5 %, at most 100 ms: so long the text may be on its way. On a loaded machine it takes longer at
    # times, and the client's own text comes first.
    for _ in range(30):
        start = time.monotonic()
        got = call(channel, "Sleep", b"600000", timeout=2)
        took = time.monotonic() - start
        if got[1] == "was asleep":
            break
    expect("a deadline: the server's text arrives", got, "DEADLINE_EXCEEDED", "was asleep")
    ok(took > 1, "... not before it", f"{took} s")
    expect("an answer within the deadline", call(channel, "Sleep", b"50"), "OK", b"awake")
    before = int(call(channel, "Gone")[1])
    future = channel.unary_unary("/interop.Test/Never").future(b"")
    while not int(call(channel, "Running")[1]):
        time.sleep(0.01)
    future.cancel()
    end = time.monotonic() + 120
    while int(call(channel, "Gone")[1]) == before and time.monotonic() < end:
        time.sleep(0.01)
    ok(int(call(channel, "Gone")[1]) == before + 1, "a cancelled call is let go")


def concurrent_calls(channel, endpoint):
    stub = channel.unary_unary("/interop.Test/Echo")
    futures = [stub.future(b"%d" % n, timeout=120) for n in range(1000)]
    good = sum(f.result() == b"%d" % n for n, f in enumerate(futures))
    ok(good == 1000, "1000 calls at once on one connection", good)
    data = b"y" * 300000
    futures = [stub.future(data, timeout=120) for n in range(32)]
    ok(all(f.result() == data for f in futures), "32 large ones at once")

    def one(n):
        # a subchannel of its own, or grpcio takes a connection that is there already
        with grpc.insecure_channel(endpoint, options=[
                ("grpc.use_local_subchannel_pool", 1)]) as own:
            return call(own, "Echo", b"%d" % n) == ("OK", b"%d" % n)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        good = sum(pool.map(one, range(200)))
    ok(good == 200, "200 calls with a connection each", good)


def payload(size):
    """A StreamingInputCallRequest: payload (1) with a body (2)."""
    def field(number, data):
        n, length = len(data), b""
        while n > 127:
            length, n = length + bytes([n & 127 | 128]), n >> 7
        return bytes([number << 3 | 2]) + length + bytes([n]) + data
    return field(1, field(2, bytes(size)))


def streams(channel):
    """The streams of gRPC's interoperability tests; the messages are written by hand."""
    path = "/grpc.testing.TestService/"
    sizes = (27182, 8, 1828, 45904)
    got = channel.stream_unary(path + "StreamingInputCall")(map(payload, sizes), timeout=120)
    ok(got == b"\x08\xaa\xc9\x04", "client_streaming", got)
    ask = {31415: b"\x12\x04\x08\xb7\xf5\x01", 9: b"\x12\x02\x08\x09"}
    want = [payload(31415), payload(9)]
    got = list(channel.unary_stream(path + "StreamingOutputCall")(b"".join(ask.values()), timeout=120))
    ok(got == want, "server_streaming", [len(g) for g in got])
    duplex = channel.stream_stream(path + "FullDuplexCall")
    got = list(duplex(iter(ask.values()), timeout=120))
    ok(got == want, "ping_pong", [len(g) for g in got])
    ok(list(duplex(iter(()), timeout=120)) == [], "empty_stream")
    got = list(channel.unary_stream(path + "StreamingOutputCall")(ask[31415] * 1000, timeout=120))
    ok(len(got) == 1000 and set(got) == {want[0]}, "1000 messages of 31415 bytes", len(got))
    done = threading.Event()

    def open_end():
        """One request; the client does not end its stream, or the call might end by itself."""
        yield ask[9]
        done.wait(30)

    first = duplex(open_end(), timeout=120)
    good = next(first) == want[1]
    first.cancel()
    done.set()
    ok(good and first.code() == grpc.StatusCode.CANCELLED, "cancel_after_first_response",
       first.code())


ECHO_INITIAL, ECHO_TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


def custom_metadata(channel):
    path = "/grpc.testing.TestService/"
    sent = ((ECHO_INITIAL, "test_initial_metadata_value"), (ECHO_TRAILING, b"\xab\xab\xab"))

    def comes_back(call):
        return (sent[0] in call.initial_metadata() and sent[1] in call.trailing_metadata(),
                (call.initial_metadata(), call.trailing_metadata()))

    _, call = channel.unary_unary(path + "UnaryCall").with_call(b"", timeout=120, metadata=sent)
    good, why = comes_back(call)
    ok(good, "custom_metadata, unary", why)
    call = channel.stream_stream(path + "FullDuplexCall")(
        iter([b"\x12\x02\x08\x01"]), timeout=120, metadata=sent)
    replies = list(call)
    good, why = comes_back(call)
    ok(good and len(replies) == 1, "... and full duplex", (why, replies))


def status_details(channel):
    info = error_details_pb2.ErrorInfo(reason="POOL_FULL", metadata={"pool": "vöĺ"})
    try:
        channel.unary_unary("/interop.Test/Details")(info.SerializeToString(), timeout=120)
        ok(False, "status details", "got OK")
    except grpc.RpcError as e:
        status = rpc_status.from_call(e)  # also checks that code and text are the same
        got = error_details_pb2.ErrorInfo()
        ok(len(status.details) == 1 and status.details[0].Unpack(got) and got == info,
           "status details", status)


def main():
    endpoint = sys.argv[1]
    with grpc.insecure_channel(endpoint) as channel:
        unary(channel)
        errors(channel)
        time_and_cancel(channel)
        concurrent_calls(channel, endpoint)
        streams(channel)
        custom_metadata(channel)
        status_details(channel)
    for authority in AUTHORITIES:
        with grpc.insecure_channel(endpoint, options=[
                ("grpc.default_authority", authority)]) as channel:
            expect(f":authority {authority}", call(channel, "Echo", b"x"), "OK", b"x")
    print(f"1..{count}")
    sys.exit(1 if failed else 0)


main()
