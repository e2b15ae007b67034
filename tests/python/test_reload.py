"""SIGHUP: the gateway applies changes at once, and calls in progress continue."""

import os
import queue
import signal
import socket
import time
import unittest

import grpc

from contracts import describe, reason
from mesh import Mesh
from shop import POOL, Note, Server
from upstream import Channel, eventually, line

#: Longer than the interval at which the process checks the file (`POLL_INTERVAL` in trellis/src/reload.rs).
LOOKED = 3


class Hangup(unittest.TestCase):
    """A shop whose descriptors are in a file that the gateway checks once per hour."""

    def setUp(self):
        self.server = Server(services=("Shop", "Guarded"), reflects=None)
        self.addCleanup(self.server.stop)
        self.mesh = Mesh()
        self.descriptors = self.mesh.folder / "shop.binpb"
        describe(self.descriptors, POOL, "shop.proto")
        refresh = '[gateway]\ndescriptors_refresh = "1h"\n'
        self.mesh.configure(refresh + line(self.server, f'access = "public", descriptors = "{self.descriptors}"'))
        self.enterContext(self.mesh)
        self.shop = Channel(self.mesh.address["gateway"])
        self.addCleanup(self.shop.channel.close)

    def hang_up(self):
        self.mesh.process.send_signal(signal.SIGHUP)

    def change_unseen(self, old, new):
        """Changes the file in place and keeps its length and time, so that polling does not notice the change."""
        file = self.mesh.file
        before = file.stat()
        file.write_text(file.read_text().replace(old, new.ljust(len(old))))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        after = file.stat()
        for seen in ("st_mtime_ns", "st_size", "st_ino"):
            self.assertEqual(getattr(after, seen), getattr(before, seen))

    def assert_closed(self):
        with self.assertRaises(grpc.RpcError) as refused:
            self.shop.Echo(Note(), timeout=10)
        self.assertEqual(reason(refused.exception), "METHOD_CLOSED")

    def test_sighup_applies_configuration_and_connections_stay(self):
        notes = queue.SimpleQueue()
        chat = self.shop.Chat(iter(notes.get, None), timeout=60)
        notes.put(Note(text="before"))
        self.assertEqual(next(chat).text, "before")
        host, port = self.mesh.address["gateway"].split(":")
        browser = self.enterContext(socket.create_connection((host, int(port)), timeout=10))
        self.look(browser)
        self.change_unseen('"public"', '"deny"')
        time.sleep(LOOKED)
        self.shop.Echo(Note(), timeout=10)
        self.hang_up()
        eventually(self.assert_closed)
        # The open call continues to its successful end.
        notes.put(Note(text="after"))
        self.assertEqual(next(chat).text, "after")
        notes.put(None)
        self.assertEqual((list(chat), chat.code()), ([], grpc.StatusCode.OK))
        self.look(browser)

    def look(self, browser):
        browser.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        self.assertIn(b"200 OK", browser.recv(1_000))

    def test_sighup_rereads_descriptor_file(self):
        guarded = Channel(self.mesh.address["gateway"], "Guarded")
        self.addCleanup(guarded.channel.close)

        def assert_guarded(code):
            with self.assertRaises(grpc.RpcError) as refused:
                guarded.Echo(Note(), timeout=10)
            self.assertEqual(refused.exception.code(), code)

        assert_guarded(grpc.StatusCode.UNIMPLEMENTED)
        describe(self.descriptors, POOL, "guarded.proto")
        time.sleep(LOOKED)
        assert_guarded(grpc.StatusCode.UNIMPLEMENTED)
        self.hang_up()
        # The method is declared now, with access for users.
        eventually(lambda: assert_guarded(grpc.StatusCode.UNAUTHENTICATED))
        self.shop.Echo(Note(), timeout=10)


class Apart(unittest.TestCase):
    """A failure of one upstream does not delay others."""

    #: Much less than the timeout of an unresponsive upstream (`TIMEOUT` in gateway/src/external/reflection.rs).
    SOON = 8

    def shop(self, mesh):
        shop = Channel(mesh.address["gateway"])
        self.addCleanup(shop.channel.close)
        return shop

    def test_unresponsive_upstream_does_not_delay_others(self):
        silent = self.enterContext(socket.create_server(("127.0.0.1", 0)))
        # It is the first in the order of prefixes.
        silent = f'"aaa.silent" = {{ to = ["http://127.0.0.1:{silent.getsockname()[1]}"], descriptors = "reflection" }}\n'
        server = Server(services=("Shop", "Guarded"))
        self.addCleanup(server.stop)
        with Mesh(f"[gateway.external]\n{silent}{line(server, section='')}") as mesh:
            shop = self.shop(mesh)
            eventually(lambda: shop.Echo(Note(), timeout=10), self.SOON)
            # The next configuration does not wait for it either.
            other = Server()
            self.addCleanup(other.stop)
            mesh.configure(f"[gateway.external]\n{silent}{line(other, section='')}")

            def assert_moved():
                shop.Echo(Note(), timeout=10)
                self.assertGreater(other.shop.calls, 0)

            eventually(assert_moved, self.SOON)

    def test_descriptors_apply_to_their_endpoints(self):
        server = Server()
        self.addCleanup(server.stop)
        mute = Server(reflects=None)
        self.addCleanup(mute.stop)
        with Mesh(line(server)) as mesh:
            shop = self.shop(mesh)
            eventually(lambda: shop.Echo(Note(), timeout=10))
            mesh.configure(line(mute))

            def assert_unread():
                with self.assertRaises(grpc.RpcError) as refused:
                    shop.Echo(Note(), timeout=10)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)

            eventually(assert_unread)
            self.assertEqual(mute.shop.calls, 0)
            mesh.configure(line(server))
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def test_unreadable_descriptor_file_does_not_delay_others(self):
        server = Server(services=("Shop", "Guarded"), reflects=None)
        self.addCleanup(server.stop)
        mesh = Mesh()
        ours, theirs = mesh.folder / "ours.binpb", mesh.folder / "theirs.binpb"
        for file in (ours, theirs):
            describe(file, POOL, "shop.proto")
        mesh.configure(
            '[gateway]\ndescriptors_refresh = "200ms"\n'
            + line(server, f'access = "public", descriptors = "{theirs}"', prefix="acme.shop.v1.Shop")
            + line(server, f'access = "public", descriptors = "{ours}"', prefix="acme.shop", section="")
        )
        with mesh:
            shop, guarded = self.shop(mesh), Channel(mesh.address["gateway"], "Guarded")
            self.addCleanup(guarded.channel.close)
            shop.Echo(Note(), timeout=10)
            theirs.write_bytes(b"no descriptors")
            eventually(lambda: self.assertIn("theirs.binpb", mesh.output()))
            describe(ours, POOL, "guarded.proto")

            def assert_guarded():
                with self.assertRaises(grpc.RpcError) as refused:
                    guarded.Echo(Note(), timeout=10)
                self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAUTHENTICATED)

            eventually(assert_guarded)
            # The last good descriptors of the other upstream stay in force.
            shop.Echo(Note(), timeout=10)
            # It does not delay another configuration that still names it, either.
            mesh.configure(mesh.file.read_text().replace('access = "public"', 'access = "deny"'))

            def assert_closed():
                with self.assertRaises(grpc.RpcError) as refused:
                    shop.Echo(Note(), timeout=10)
                self.assertEqual(reason(refused.exception), "METHOD_CLOSED")

            eventually(assert_closed)


if __name__ == "__main__":
    unittest.main()
