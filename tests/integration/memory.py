#!/usr/bin/env python3
"""memory.py: looks for a text in the memory of processes that run

memory.py PID...: the text comes by standard input, so that no command line has it. Prints each place where it
is; the exit status is 1 if there is one, 2 if a process could not be read.
"""
import sys


def writable(pid):
    """The address ranges of what a process may have written."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        for line in maps:
            where, access, *rest = line.split(maxsplit=5)
            if access.startswith("rw") and not line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                begin, end = (int(n, 16) for n in where.split("-"))
                yield begin, end, rest[3].strip() if len(rest) > 3 else "anonymous"


def main():
    """Looks, and tells."""
    needle = sys.stdin.buffer.read().rstrip(b"\n")
    found = read = 0
    for pid in sys.argv[1:]:
        with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
            for begin, end, name in writable(pid):
                memory.seek(begin)
                try:
                    data = memory.read(end - begin)
                except OSError:
                    continue
                read += len(data)
                at = data.find(needle)
                while at >= 0:
                    print(f"pid {pid}: {begin + at:#x} in {name}: {data[max(0, at - 24):at + 8]!r}")
                    found += 1
                    at = data.find(needle, at + 1)
    print(f"{read} bytes of {len(sys.argv) - 1} processes, {found} places")
    return 2 if read == 0 else found > 0


sys.exit(main())
