"""Opens connections and lets them idle until standard input ends: HOST PORT COUNT."""

import resource
import socket
import sys

host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
idle = [socket.create_connection((host, port), timeout=30) for _ in range(count)]
print("idle", flush=True)
sys.stdin.read()
