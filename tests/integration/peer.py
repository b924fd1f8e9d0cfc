#!/usr/bin/python3
"""For limits.t: a client of HTTP/2 that does only as much as it is told, and byte by byte.

    peer.py SOCKET WHAT [ARGUMENT]

    silent          connects
    greets          ... and sends preface and SETTINGS
    stays           ... and makes a call, and stays
    deaf            ... and asks for a large answer, of which it takes nothing
    half            makes a call whose message it keeps back
    calls [BYTES]   makes a call, with a header of so many bytes
    beside          makes a call beside one that runs
    asks            asks for a large answer
    streams         tells how many streams the server allows

The first four wait for the server to end the connection, and print "ended"; half, calls, beside
and asks print the status of the call."""

import socket
import struct
import sys

PROBE = "/csi.v1.Identity/Probe"
WATCH = "/grpc.health.v1.Health/Watch"
REFLECTION = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, ACK, END_HEADERS = 1, 1, 4
MAX_STREAMS, INITIAL_WINDOW = 3, 4


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value):
    """A string of HPACK, without Huffman's code."""
    data, n = value.encode(), len(value)
    if n < 127:
        return bytes([n]) + data
    out, n = b"\x7f", n - 127
    while n >= 128:
        out, n = out + bytes([n % 128 + 128]), n // 128
    return out + bytes([n]) + data


def headers(path, extra):
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x",
              "content-type": "application/grpc", "te": "trailers"} | extra
    return b"".join(b"\x00" + text(k) + text(v) for k, v in fields.items())


def message(payload=b""):
    return struct.pack(">BI", 0, len(payload)) + payload


class Peer:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(120)
        self.socket.connect(path)
        self.bytes = b""
        self.greeted = False

    def send(self, *frames):
        self.socket.sendall(b"".join(frames))

    def greet(self, window=65535):
        self.greeted = True
        self.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                  frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, window)))

    def call(self, path, payload, extra, stream=1):
        self.send(frame(HEADERS, END_HEADERS, stream, headers(path, extra)),
                  frame(DATA, END_STREAM, stream, message(payload)))

    def frames(self):
        """(kind, flags, payload) of each frame, until the connection ends."""
        while True:
            while len(self.bytes) < 9 or len(self.bytes) < 9 + self.length():
                try:
                    more = self.socket.recv(65536)
                except ConnectionResetError:
                    return
                if not more:
                    return
                self.bytes += more
            end = 9 + self.length()
            kind, flags, payload = self.bytes[3], self.bytes[4], self.bytes[9:end]
            self.bytes = self.bytes[end:]
            if kind == SETTINGS and not flags & ACK and self.greeted:
                self.send(frame(SETTINGS, ACK, 0))
            yield kind, flags, payload

    def length(self):
        return int.from_bytes(self.bytes[:3], "big")

    def status(self):
        """The number behind grpc-status in the last HEADERS, which are not indexed, or a name."""
        for kind, flags, payload in self.frames():
            if kind == RST_STREAM:
                return f"reset {int.from_bytes(payload, 'big')}"
            if kind == GOAWAY:
                return f"goaway {int.from_bytes(payload[4:8], 'big')}"
            if kind == HEADERS and flags & END_STREAM:
                return grpc_status(payload)
        return "ended"

    def until_end(self):
        for _ in self.frames():
            pass
        return "ended"


def grpc_status(block):
    """grpc-status is a digit or two, sent with Huffman's code or without; its digits' codes."""
    codes = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5",
             "011100": "6", "011101": "7", "011110": "8", "011111": "9"}
    for name in (b"grpc-status", b"\x88\x9a\xca\xc8\xb2\x12\x34\xda\x8f"):
        at = block.find(name)
        if at < 0:
            continue
        at += len(name)
        huffman, length = block[at] & 0x80, block[at] & 0x7F
        value = block[at + 1:at + 1 + length]
        if not huffman:
            return value.decode()
        bits, digits = "".join(f"{b:08b}" for b in value), ""
        while bits.strip("1"):
            code = next(c for c in codes if bits.startswith(c))
            digits, bits = digits + codes[code], bits[len(code):]
        return digits
    return "no status"


def max_streams(peer):
    for kind, flags, payload in peer.frames():
        if kind == SETTINGS and not flags & ACK:
            return dict(struct.iter_unpack(">HI", payload))[MAX_STREAMS]
    return "none"


def main():
    peer, what = Peer(sys.argv[1]), sys.argv[2]
    extra = {"x-large": "x" * int(sys.argv[3])} if len(sys.argv) > 3 else {}
    csi = b"\x1a\x09csi.proto"  # file_by_filename
    if what != "silent":
        peer.greet(0 if what == "deaf" else 65535)
    if what == "half":
        peer.send(frame(HEADERS, END_HEADERS, 1, headers(PROBE, {})))
        print(peer.status())
    elif what == "streams":
        print(max_streams(peer))
    elif what in ("asks", "deaf"):
        peer.call(REFLECTION, csi, {})
        print(peer.status() if what == "asks" else peer.until_end())
    elif what == "calls":
        peer.call(PROBE, b"", extra)
        print(peer.status())
    elif what == "beside":
        peer.call(WATCH, b"", {})
        peer.call(PROBE, b"", {}, 3)
        print(peer.status())
    elif what == "stays":
        peer.call(PROBE, b"", {})
        print(peer.until_end())
    else:
        print(peer.until_end())


main()
