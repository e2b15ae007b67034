"""External upstreams: which methods are open, and what reflection shows of them."""

import pathlib
import time
import unittest

import grpc
from google.protobuf import descriptor_pool

from contracts import describe, message_class_of
from mesh import Mesh
from shop import PACKAGE, POOL, Note, Server
from upstream import SHOP, Channel, UpstreamCase, eventually, line


class Reflection(UpstreamCase):
    """The gateway's reflection lists external services like those of the mesh."""

    def test_reflection_shows_callable_methods(self):
        # Another test may have closed the shop a moment ago.
        eventually(lambda: self.assertIn(f"{PACKAGE}.Shop", self.database().get_services()))
        self.assertIn("trellis.users.v1.UsersService", self.database().get_services())
        pool = descriptor_pool.DescriptorPool(self.database())
        shop = pool.FindServiceByName(f"{PACKAGE}.Shop")
        self.assertIn("Echo", shop.methods_by_name)
        note = message_class_of(pool, shop.methods_by_name["Echo"].input_type.full_name)
        echo = self.shop.channel.unary_unary(
            f"{SHOP}/Echo", request_serializer=note.SerializeToString, response_deserializer=note.FromString
        )
        self.assertEqual(echo(note(text="learned"), timeout=10).text, "learned")

    def test_reflection_hides_closed_methods(self):
        self.addCleanup(lambda: self.mesh.configure(line(self.server, self.settings)))
        self.mesh.configure(line(self.server, 'access = "deny", descriptors = "reflection"'))
        eventually(lambda: self.assertNotIn(f"{PACKAGE}.Shop", self.database().get_services()))
        self.assertIn("trellis.users.v1.UsersService", self.database().get_services())


class Closed(UpstreamCase):
    """Without a configured access, no client may call."""

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.mesh = cls.enterClassContext(Mesh(line(cls.server, 'access = "deny"')))
        cls.gateway = cls.mesh.address["gateway"]
        cls.shop = Channel(cls.gateway)
        cls.addClassCleanup(cls.shop.channel.close)

    def test_calls_are_refused_without_configured_access(self):
        self.assert_refused(grpc.StatusCode.PERMISSION_DENIED, "METHOD_CLOSED", lambda: self.shop.Echo(Note(), timeout=10))

    def test_reload_opens_access_and_invalid_one_changes_nothing(self):
        self.mesh.configure(line(self.server, 'access = "signed_in"'))
        eventually(
            lambda: self.assert_refused(
                grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_REQUIRED", lambda: self.shop.Echo(Note(), timeout=10)
            )
        )
        self.mesh.configure(line(self.server, 'access = "public"'))
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        stream = self.shop.Repeat(Note(text="slowly", count=100), timeout=30)
        next(stream)
        for bad, words in (
            (line(self.server, 'access = "anyone"'), "anyone"),
            (line(self.server, prefix="trellis.users.v1"), "is served by Trellis itself"),
            ("[gateway]\nlisten = 5\n", "gateway.listen"),
        ):
            self.mesh.configure(bad)
            eventually(lambda words=words: self.assertIn(words, self.mesh.output()))
        # The open stream and the routes are unchanged.
        self.assertEqual(len(list(stream)), 99)
        self.shop.Echo(Note(), timeout=10)
        self.mesh.configure(line(self.server, 'access = "deny"'))
        eventually(self.assert_closed)

    def assert_closed(self):
        self.assert_refused(grpc.StatusCode.PERMISSION_DENIED, "METHOD_CLOSED", lambda: self.shop.Echo(Note(), timeout=10))

    def test_upstream_without_descriptors_opens_no_methods(self):
        self.mesh.configure(line(self.server, 'access = "public", descriptors = "reflection"'))
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        self.mesh.configure(line(self.server, 'access = "deny"'))
        eventually(self.assert_closed)


class Descriptors(UpstreamCase):
    """A failure never makes a method more accessible."""

    more = 'descriptors_refresh = "200ms"'
    settings = 'access = "public", descriptors = "reflection"'

    def newcomer(self):
        path = f"/{PACKAGE}.Newcomer/Echo"
        call = self.shop.channel.unary_unary(path, request_serializer=Note.SerializeToString)
        return call(Note(text="new"), timeout=10, wait_for_ready=False)

    def assert_newcomer(self, code):
        with self.assertRaises(grpc.RpcError) as refused:
            self.newcomer()
        self.assertEqual(refused.exception.code(), code, refused.exception.details())

    def test_last_good_descriptors_outlive_upstream_failures(self):
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        port = self.server.port
        self.server.stop()
        # While the upstream is unreachable, its last good descriptors stay in force.
        time.sleep(0.6)
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        self.assert_refused(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", lambda: self.shop.Echo(Note(), timeout=10))
        # It returns without reflection: the last good descriptors stay in force.
        silent = Server(port, services=("Shop", "Newcomer"), reflects=False)
        eventually(lambda: self.shop.Echo(Note(), timeout=10))
        time.sleep(0.6)
        self.assert_newcomer(grpc.StatusCode.UNIMPLEMENTED)
        silent.stop()
        # It returns with another service, which its reflection lists.
        back = Server(port, services=("Shop", "Newcomer"))
        self.addCleanup(back.stop)
        eventually(self.newcomer)


class Unread(unittest.TestCase):
    """An upstream whose descriptors were never read is closed until they are read."""

    def test_upstream_opens_once_descriptors_are_read(self):
        server = Server()
        port = server.port
        server.stop()
        with Mesh('[gateway]\ndescriptors_refresh = "200ms"\n' + line(server)) as mesh:
            shop = Channel(mesh.address["gateway"])
            self.addCleanup(shop.channel.close)
            with self.assertRaises(grpc.RpcError) as refused:
                shop.Echo(Note(), timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)
            late = Server(port)
            self.addCleanup(late.stop)
            eventually(lambda: shop.Echo(Note(), timeout=10))


class File(unittest.TestCase):
    """Descriptors from a file."""

    def test_descriptor_file_declares_methods(self):
        server = Server(reflects=False)
        self.addCleanup(server.stop)
        mesh = Mesh()
        path = mesh.folder / "shop.binpb"
        describe(path, POOL, "shop.proto")
        mesh.configure(line(server, f'access = "public", descriptors = "{path}"'))
        with mesh:
            shop = Channel(mesh.address["gateway"])
            self.addCleanup(shop.channel.close)
            self.assertEqual(shop.Echo(Note(text="by file"), timeout=10).text, "by file")
            with self.assertRaises(grpc.RpcError) as refused:
                shop.channel.unary_unary(f"{SHOP}/Nothing")(b"", timeout=10)
            self.assertEqual(refused.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
            # An invalid file is refused with its name, and the previous one stays in force.
            broken = pathlib.Path(mesh.folder / "broken.binpb")
            broken.write_bytes(b"no descriptors")
            mesh.configure(line(server, f'access = "public", descriptors = "{broken}"'))
            eventually(lambda: self.assertIn("broken.binpb", mesh.output()))
            shop.Echo(Note(), timeout=10)


if __name__ == "__main__":
    unittest.main()
