"""External upstreams over TLS."""

import pathlib
import unittest

import grpc

from mesh import Mesh
from shop import Note, Server
from upstream import Channel, eventually, line

TLS = pathlib.Path(__file__).resolve().parents[1] / "tls"


class Secure(unittest.TestCase):
    """An upstream over TLS. The gateway verifies its certificate, and the upstream may request one from the gateway."""

    def shop(self, asks=False):
        pem = [(TLS / name).read_bytes() for name in ("server.key", "server.crt", "authority.crt")]
        credentials = grpc.ssl_server_credentials([tuple(pem[:2])], pem[2] if asks else None, asks)
        server = Server(credentials=credentials)
        self.addCleanup(server.stop)
        return server

    def through(self, mesh):
        shop = Channel(mesh.address["gateway"])
        self.addCleanup(shop.channel.close)
        return shop

    def test_trusted_upstream_is_called_and_described_over_tls(self):
        server = self.shop()
        settings = f'access = "public", descriptors = "reflection", ca = "{TLS}/authority.crt"'
        with Mesh(line(server, settings)) as mesh:
            shop = self.through(mesh)
            eventually(lambda: self.assertEqual(shop.Echo(Note(text="sealed"), timeout=5).text, "sealed"))
            self.assertEqual(len(list(shop.Repeat(Note(text="r", count=50), timeout=10))), 50)

    def test_upstream_with_untrusted_certificate_gets_no_call(self):
        server = self.shop()
        for ca in (f', ca = "{TLS}/one.crt"', ""):
            with Mesh(line(server, f'access = "public"{ca}')) as mesh:
                self.assert_unavailable(self.through(mesh))
        self.assertEqual(server.shop.calls, 0)

    def test_client_certificate_is_presented_on_request(self):
        server = self.shop(asks=True)
        trust = f'access = "public", ca = "{TLS}/authority.crt"'
        with Mesh(line(server, trust)) as mesh:
            shop = self.through(mesh)
            self.assert_unavailable(shop)
            # The next configuration presents one, on new connections.
            mesh.configure(line(server, f'{trust}, certificate = "{TLS}/client.crt", key = "{TLS}/client.key"'))
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def test_renewed_client_certificate_applies_without_reload(self):
        server = self.shop(asks=True)
        with Mesh() as mesh:
            # First a certificate that the upstream does not trust, then a trusted one under the same name.
            shown = self.show(mesh, "one")
            refresh = '[gateway]\ndescriptors_refresh = "200ms"\n'
            mesh.configure(refresh + line(server, f'access = "public", ca = "{TLS}/authority.crt", {shown}'))
            shop = self.through(mesh)
            eventually(lambda: self.assert_unavailable(shop))
            self.show(mesh, "client")
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def test_bad_file_of_one_upstream_does_not_block_other_renewals(self):
        server = self.shop(asks=True)
        with Mesh() as mesh:
            ca = mesh.folder / "ca"
            ca.write_bytes((TLS / "authority.crt").read_bytes())
            shown = self.show(mesh, "one")
            mesh.configure(
                '[gateway]\ndescriptors_refresh = "200ms"\n'
                + line(server, f'ca = "{ca}"', prefix="acme.other")
                + line(server, f'access = "public", ca = "{TLS}/authority.crt", {shown}', section="")
            )
            shop = self.through(mesh)
            eventually(lambda: self.assert_unavailable(shop))
            ca.write_bytes(b"no certificate")
            eventually(lambda: self.assertIn('acme.other\\".ca', mesh.output()))
            self.show(mesh, "client")
            eventually(lambda: shop.Echo(Note(), timeout=10))

    def show(self, mesh, name):
        """Stores a certificate for the gateway, and returns the settings that name it."""
        for file, ending in (("key", "key"), ("certificate", "crt")):
            (mesh.folder / file).write_bytes((TLS / f"{name}.{ending}").read_bytes())
            # The gateway refuses a key that other users may read.
            (mesh.folder / file).chmod(0o600)
        return f'certificate = "{mesh.folder}/certificate", key = "{mesh.folder}/key"'

    def assert_unavailable(self, shop):
        with self.assertRaises(grpc.RpcError) as refused:
            shop.Echo(Note(), timeout=10)
        self.assertEqual(refused.exception.code(), grpc.StatusCode.UNAVAILABLE)

    def test_error_names_the_invalid_tls_file(self):
        server = self.shop()
        for settings, words in (
            (f'ca = "{TLS}/none.crt"', '"acme.shop.v1".ca: '),
            (f'ca = "{TLS}/README.md"', "contains no certificate"),
            (f'certificate = "{TLS}/client.crt"', "is empty; name a PEM file"),
            (f'certificate = "{TLS}/client.crt", key = "{TLS}/server.key"', '"acme.shop.v1".key: '),
        ):
            with self.assertRaises(RuntimeError) as refused, Mesh(line(server, f'access = "public", {settings}')):
                pass
            self.assertIn(words, str(refused.exception))


if __name__ == "__main__":
    unittest.main()
