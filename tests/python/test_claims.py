"""The declarations of an upstream apply only to the services that the configuration assigns to it."""

import pathlib
import tempfile
import unittest

import grpc
from google.protobuf import descriptor_pool

from contracts import POOL as CONTRACTS
from contracts import SERVICES, Client, compile_files, describe, is_internal, message_class_of
from mesh import Mesh
from shop import PACKAGE, POOL, ROOTS, Note, Server
from upstream import SHOP, Channel, UpstreamCase, eventually, line

GUARDED = f"{PACKAGE}.Guarded"
USERS = SERVICES["users"]


class Declared(UpstreamCase):
    """The policies and types that an upstream declares apply."""

    services = ("Shop", "Guarded")

    def setUp(self):
        self.guarded = Channel(self.gateway, "Guarded")
        self.addCleanup(self.guarded.channel.close)

    def test_only_declared_methods_can_be_called(self):
        # The configuration makes methods without a declared access public.
        self.assertEqual(self.shop.Echo(Note(text="open"), timeout=10).text, "open")
        nothing = self.shop.channel.unary_unary(f"{SHOP}/Nothing")
        self.assert_unknown(lambda: nothing(b"", timeout=10))

    def assert_unknown(self, call):
        """Checks that the gateway itself refused the call, without details. The upstream uses another text."""
        with self.assertRaises(grpc.RpcError) as refused:
            call()
        error = refused.exception
        self.assertEqual((error.code(), error.details()), (grpc.StatusCode.UNIMPLEMENTED, "there is no such method"))

    def test_declared_access_applies(self):
        calls = self.server.shop.calls
        self.assert_refused(
            grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_REQUIRED", lambda: self.guarded.Echo(Note(), timeout=10)
        )
        self.assert_unknown(lambda: self.guarded.Collect(iter([Note()]), timeout=10))
        self.assertEqual(self.server.shop.calls, calls)
        token = self.sign_up("ada").access_token
        metadata = [("authorization", f"Bearer {token}")]
        self.assertEqual(self.guarded.Echo(Note(text="known"), metadata=metadata, timeout=10).text, "known")

    def test_declared_deadline_and_rate_limit_apply(self):
        for _ in range(2):
            seen = self.guarded.Show(Note(), timeout=60).text
            # In whole seconds, because gRPC rounds it up.
            self.assertLess(float(seen.split("time-remaining: ")[1]), 6)
        self.assert_refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", lambda: self.guarded.Show(Note(), timeout=60)
        )

    def test_reflection_shows_declared_types(self):
        pool = descriptor_pool.DescriptorPool(self.database())
        guarded = pool.FindServiceByName(GUARDED)
        self.assertEqual(sorted(guarded.methods_by_name), ["Echo", "Show"])
        note = message_class_of(pool, guarded.methods_by_name["Echo"].input_type.full_name)
        decoded = note.FromString(Note(text="learned", count=7).SerializeToString())
        self.assertEqual((decoded.text, decoded.count), ("learned", 7))

    def test_one_pool_holds_types_of_mesh_and_upstream(self):
        # The upstream's `descriptor.proto` may have another version than the mesh's.
        pool = descriptor_pool.DescriptorPool(self.database())
        for service in (GUARDED, USERS):
            self.assertTrue(pool.FindServiceByName(service).methods)


class DeclaredOverV1(Declared):
    """The same with an upstream that serves only reflection v1."""

    reflects = "v1"


#: The methods that the impostor declares as public, by service.
CLAIMS = {
    # Services of the mesh: a method for users, an internal one, and a missing one.
    USERS: ("GetUser", "CreateUser", "Echo"),
    # An unassigned service under the mesh's reserved prefix.
    "trellis.something.v1.Made": ("Echo",),
    # Services assigned to another upstream: a method for users, and a missing one.
    GUARDED: ("Echo", "Chat"),
    # The impostor's own services.
    "evil.Own": ("Echo",),
    "worse.Own": ("Echo",),
}


def claims(folder):
    """A pool with the claims, and its last file. Each file imports those before it: reading one reads all."""
    imports = ["shop.proto", "trellis/policy/v1/policy.proto"]
    for service, methods in CLAIMS.items():
        package, _, name = service.rpartition(".")
        policy = "option (trellis.policy.v1.method) = { access: { public: {} } };"
        rpcs = "".join(f"rpc {method}(.{PACKAGE}.Note) returns (.{PACKAGE}.Note) {{ {policy} }}\n" for method in methods)
        head = f'syntax = "proto3";\npackage {package};\n' + "".join(f'import "{file}";\n' for file in imports)
        (folder / f"{service}.proto").write_text(f"{head}service {name} {{\n{rpcs}}}\n")
        imports.append(f"{service}.proto")
    return compile_files([folder, *ROOTS], imports), imports[-1]


class Impostor(UpstreamCase):
    """An upstream gains nothing by declaring services of others."""

    @classmethod
    def setUpClass(cls):
        mesh = Mesh()
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        pool, last = claims(folder)
        claimed, owned = folder / "claims.binpb", folder / "guarded.binpb"
        describe(claimed, pool, last)
        describe(owned, POOL, "guarded.proto")
        cls.impostor = Server(services=("Shop", "Newcomer", *CLAIMS), pool=pool)
        cls.addClassCleanup(cls.impostor.stop)
        cls.owner = Server(services=("Guarded",))
        cls.addClassCleanup(cls.owner.stop)
        away = Server()
        away.stop()
        shop = 'access = "public", descriptors = "reflection"'
        # By reflection the gateway asks the impostor only for its own services; from a file it reads all of them.
        mesh.configure(
            line(cls.impostor, shop, prefix="acme")
            + line(cls.impostor, shop, prefix="evil", section="")
            + line(cls.impostor, f'access = "public", descriptors = "{claimed}"', prefix="worse", section="")
            + line(cls.owner, f'access = "public", descriptors = "{owned}"', prefix=GUARDED, section="")
            + line(away, shop, prefix=f"{PACKAGE}.Newcomer", section="")
        )
        cls.mesh = cls.enterClassContext(mesh)
        cls.gateway = cls.mesh.address["gateway"]
        cls.shop = Channel(cls.gateway)
        cls.addClassCleanup(cls.shop.channel.close)
        cls.guarded = Channel(cls.gateway, "Guarded")
        cls.addClassCleanup(cls.guarded.channel.close)

    def setUp(self):
        # Once the impostor's own services can be called, the gateway has read all of its declarations.
        for path in (f"{SHOP}/Echo", "/evil.Own/Echo", "/worse.Own/Echo"):
            eventually(lambda path=path: self.call(path))
        self.calls = self.impostor.shop.calls

    def tearDown(self):
        self.assertEqual(self.impostor.shop.calls, self.calls, "the impostor was called")

    def call(self, path):
        return self.shop.channel.unary_unary(path)(b"", timeout=10)

    def assert_code(self, code, path):
        with self.assertRaises(grpc.RpcError) as refused:
            self.call(path)
        self.assertEqual(refused.exception.code(), code, f"{path}: {refused.exception.details()}")

    def test_mesh_services_cannot_be_taken_over(self):
        for path in (f"/{USERS}/CreateUser", f"/{USERS}/Echo", "/trellis.something.v1.Made/Echo"):
            self.assert_code(grpc.StatusCode.UNIMPLEMENTED, path)
        client = Client(self.gateway)
        self.addCleanup(client.close)
        self.assert_refused(
            grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_REQUIRED", lambda: client.call("users", "GetUser", user_id="1")
        )
        ada = self.sign_up("ada")
        response = client.call("users", "GetUser", token=ada.access_token, user_id=ada.user_id)
        self.assertEqual((response.user.user_id, response.user.handle), (ada.user_id, "ada"))

    def test_services_of_other_upstreams_cannot_be_taken_over(self):
        self.assert_refused(
            grpc.StatusCode.UNAUTHENTICATED, "SIGN_IN_REQUIRED", lambda: self.guarded.Echo(Note(), timeout=10)
        )
        self.assertEqual(self.owner.shop.calls, 0)
        metadata = [("authorization", f"Bearer {self.sign_up('bob').access_token}")]
        self.assertEqual(self.guarded.Echo(Note(text="bob's"), metadata=metadata, timeout=10).text, "bob's")
        self.assertEqual(self.owner.shop.calls, 1)
        # A method that its owner does not declare does not exist.
        self.assert_code(grpc.StatusCode.UNIMPLEMENTED, f"/{GUARDED}/Chat")

    def test_services_of_unreachable_upstreams_are_unavailable(self):
        self.assert_code(grpc.StatusCode.UNAVAILABLE, f"/{PACKAGE}.Newcomer/Echo")

    def test_reflection_shows_declarations_of_owners(self):
        services = self.database().get_services()
        self.assertNotIn("trellis.something.v1.Made", services)
        self.assertNotIn(f"{PACKAGE}.Newcomer", services)
        self.assertLessEqual({USERS, GUARDED, f"{PACKAGE}.Shop", "evil.Own", "worse.Own"}, set(services))
        for service, contracts in ((GUARDED, POOL), (USERS, CONTRACTS)):
            listed = descriptor_pool.DescriptorPool(self.database()).FindServiceByName(service).methods
            declared = [method for method in contracts.FindServiceByName(service).methods if not is_internal(method)]
            self.assertEqual(
                [(method.name, method.input_type.full_name) for method in listed],
                [(method.name, method.input_type.full_name) for method in declared],
            )


if __name__ == "__main__":
    unittest.main()
