#!/usr/bin/env python3
"""host.py: runs ceph, rbd, rados and Python for a guest (scripts/vm/on-host.sh), beside the cluster

host.py ADDRESS: listens there, on a port that it prints. A call is the number of words and a newline,
then the words, each with a NUL. The answer is "STATUS BYTES BYTES", a newline, standard output, standard error.
"""
import socketserver
import subprocess
import sys

TOOLS = ("ceph", "rbd", "rados", "python3")


class Call(socketserver.StreamRequestHandler):
    """One tool, run once."""

    def handle(self):
        count = int(self.rfile.readline())
        words = []
        while len(words) < count:
            word = b""
            while not word.endswith(b"\0"):
                word += self.rfile.read(1)
            words.append(word[:-1].decode())
        if words[0] not in TOOLS:
            return
        done = subprocess.run([f"/usr/bin/{words[0]}", *words[1:]], stdin=subprocess.DEVNULL, capture_output=True, check=False)
        self.wfile.write(b"%d %d %d\n" % (done.returncode, len(done.stdout), len(done.stderr)))
        self.wfile.write(done.stdout + done.stderr)


class Server(socketserver.ThreadingTCPServer):
    """A thread for each call."""

    daemon_threads = True


with Server((sys.argv[1], 0), Call) as server:
    print(server.server_address[1], flush=True)
    server.serve_forever()
