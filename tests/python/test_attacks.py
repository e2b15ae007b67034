"""A live gateway under attack: it closes or holds back the attacker's connections, other clients see no error, and
memory stays bounded."""

import json
import pathlib
import subprocess
import sys
import threading
import time
import unittest

import grpc

import attacks
from mesh import Mesh
from shop import Note, Server
from upstream import Channel, eventually, line

#: The duration of each attack. All together take about a minute.
SECONDS = 4
#: The allowed growth of memory over all attacks.
MEMORY_MIB = 96
#: Attacks that make the gateway close the connection. The others are held back, or cost the attacker as much.
CLOSED = {
    "rapid_reset",
    "made_you_reset_by_empty_window",
    "made_you_reset_by_large_window",
    "made_you_reset_by_priority_size",
    "made_you_reset_by_priority_on_itself",
    "made_you_reset_by_data_after_the_end",
    "made_you_reset_by_headers_after_the_end",
    "continuation_flood",
    "empty_data_frames",
    "settings_flood",
    "ping_flood",
    "unread_pings",
    "priority_flood",
    "unknown_frames",
    "stalled_windows",
    "window_update_flood",
    "garbage",
}


class Healthy:
    """A well-behaved client that records every error."""

    def __init__(self, address):
        self.shop = Channel(address)
        self.errors = []
        self.calls = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.ended.is_set():
            try:
                assert self.shop.Echo(Note(text="beans"), timeout=20).text == "beans"
                assert len(list(self.shop.Repeat(Note(text="peas", count=20), timeout=20))) == 20
                self.calls += 2
            except (grpc.RpcError, AssertionError) as error:
                self.errors.append(repr(error))
            time.sleep(0.01)

    def stop(self):
        self.ended.set()
        self.thread.join()
        self.shop.channel.close()


def resident_mib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(row.split()[1]) for row in status.splitlines() if row.startswith("VmRSS")) / 1024


class Attacked(unittest.TestCase):
    def test_attacks_do_not_affect_other_clients(self):
        server = Server()
        self.addCleanup(server.stop)
        # No rate limit: the gateway must withstand the attacks without it.
        settings = '[gateway]\ndefault_rate_requests = 1000000000\nstall_timeout = "1s"\n[log]\nlevel = "info,access=off"\n'
        with Mesh(settings + line(server)) as mesh:
            host, port = mesh.address["gateway"].split(":")
            shop = Channel(mesh.address["gateway"])
            eventually(lambda: shop.Echo(Note(), timeout=5))
            shop.channel.close()
            before = resident_mib(mesh.process.pid)
            outcomes = {}
            for burst in attacks.ATTACKS:
                name = burst.__name__
                with self.subTest(name):
                    healthy = [Healthy(mesh.address["gateway"]) for _ in range(2)]
                    attacker = subprocess.run(
                        [sys.executable, attacks.__file__, host, port, name, str(SECONDS)],
                        capture_output=True,
                        text=True,
                        timeout=60,
                        cwd=pathlib.Path(attacks.__file__).parent,
                    )
                    for client in healthy:
                        client.stop()
                    self.assertEqual(attacker.returncode, 0, attacker.stderr)
                    outcome = outcomes[name] = json.loads(attacker.stdout)
                    outcome["healthy calls"] = sum(client.calls for client in healthy)
                    outcome["MiB"] = round(resident_mib(mesh.process.pid))
                    self.assertEqual([client.errors for client in healthy], [[], []])
                    self.assertTrue(all(client.calls for client in healthy), outcome)
                    if name in CLOSED:
                        self.assertGreater(outcome["closed"], 0, outcome)
            print(json.dumps(outcomes, indent=1), file=sys.stderr)
            self.assertLess(resident_mib(mesh.process.pid) - before, MEMORY_MIB)
            self.assertNotIn("panicked", mesh.output())


if __name__ == "__main__":
    unittest.main()
