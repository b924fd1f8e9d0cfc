"""The Test Anything Protocol, for the tests here that are written in Python."""

count = failed = 0


def ok(good, name, *why):
    """Tells a check; `why` is told if it has failed."""
    global count, failed
    count += 1
    print(f"{'ok' if good else 'not ok'} {count} - {name}", flush=True)
    if not good:
        failed += 1
        for line in why:
            print(f"# {line}")


def done():
    """Tells the plan, and ends the program: status 0 if nothing has failed."""
    print(f"1..{count}")
    raise SystemExit(failed != 0)
