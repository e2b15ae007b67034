"""The commands that `trellis explain` prints work when they are pasted."""

import base64
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

from contracts import Client, describe, is_internal, methods
from mesh import BINARY, Mesh
from shop import PACKAGE, POOL, Server

EMAIL = "eve@example.org"
# Not the password of the samples: DeleteAccount must not succeed.
PASSWORD = "another long password"
# How a well-formed request may fail: its ids name nothing, or its password is wrong. As numbers in `google.rpc.Status`,
# as names in Connect.
CODES = {5: "not_found", 6: "already_exists", 7: "permission_denied", 9: "failed_precondition", 16: "unauthenticated"}
WELL_FORMED = {*CODES, *CODES.values()}
PROGRAMS = {
    "curl": ["sh", "-c"],
    # Only the syntax: the tests do not install grpcurl.
    "grpcurl": ["sh", "-n", "-c"],
    "python": [sys.executable, "-c"],
    "typescript": ["node", "--input-type=module", "-e"],
}


# Their caller needs a role.
FOR_ADMINS = {
    "ListAccounts",
    "GetAccount",
    "ListAccountSessions",
    "EndAccountSessions",
    "SuspendAccount",
    "RestoreAccount",
    "GrantRole",
    "RevokeRole",
}


def name_of(method):
    return f"{method.containing_service.full_name}/{method.name}"


def trailers(body):
    """The trailers at the end of a body of gRPC-Web in base64, whose parts are padded."""
    return "".join(base64.b64decode(part).decode(errors="replace") for part in re.findall("[A-Za-z0-9+/]+={0,2}", body))


def ends_sessions(method):
    return method.name in ("RevokeAllSessions", "SignOut", "ChangePassword")


class ExplainCase(unittest.TestCase):
    def explain(self, mesh, *arguments):
        environment = {"HOME": str(mesh.folder)}
        command = [BINARY, "--config", str(mesh.file), "explain", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def commands(self, mesh, method):
        ran = self.explain(mesh, method, "--gateway", f"http://{mesh.address['gateway']}", "--json")
        self.assertEqual(ran.returncode, 0, ran.stderr)
        return json.loads(ran.stdout)["commands"]

    def paste(self, command, token=""):
        """Runs the command. Returns its output, and a text for failures."""
        # Where the system has no Node, it is beside the interpreter of this test.
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ran = subprocess.run(
            [*PROGRAMS[command["program"]], command["text"]],
            env={"PATH": path, "ACCESS_TOKEN": token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=False,
        )
        what = f"{command['text']}\n{ran.stdout}\n{ran.stderr}"
        self.assertEqual(ran.returncode, 0, what)
        return ran.stdout, what


class MeshTest(ExplainCase):
    @classmethod
    def setUpClass(cls):
        # Each command with a wrong password counts as an attempt.
        cls.mesh = cls.enterClassContext(Mesh("[auth]\nattempts_by_address = 1000\nattempts = 1000\n"))
        cls.client = Client(cls.mesh.address["gateway"])
        cls.addClassCleanup(cls.client.close)
        account = {"email": EMAIL, "password": PASSWORD, "handle": "eve", "display_name": "Eve"}
        cls.token = cls.client.call("auth", "SignUp", **account).tokens.access_token
        grace = account | {"email": "grace@example.com", "handle": "grace"}
        token = cls.client.call("auth", "SignUp", **grace).tokens.access_token
        claimed = cls.client.call("auth", "ClaimAdmin", token, code=cls.mesh.admin_code())
        cls.admin = claimed.access_token

    def test_requests_of_every_method_are_well_formed(self):
        unary = [method for method in methods() if not is_internal(method) and not method.server_streaming]
        for method in sorted(unary, key=ends_sessions):
            for command in self.commands(self.mesh, name_of(method)):
                with self.subTest(method=method.name, protocol=command["protocol"], program=command["program"]):
                    if command["program"] == "grpcurl":
                        self.paste(command)
                    elif command["protocol"] == "WebSocket":
                        # Without a session or its role the gateway may close the socket before the message is sent.
                        self.assert_well_formed(command, self.token_for(method))
                    elif command["program"] == "curl":
                        self.assert_well_formed(command, self.token)

    def token_for(self, method):
        if method.name in FOR_ADMINS:
            return self.admin
        return self.sign_in() if ends_sessions(method) else self.token

    def sign_in(self):
        """The access token of a new session."""
        return self.client.call("auth", "SignIn", email=EMAIL, password=PASSWORD).tokens.access_token

    def assert_well_formed(self, command, access_token):
        output, what = self.paste(command, access_token)
        if command["protocol"] == "gRPC-Web":
            head, _, body = output.partition("\n\n")
            status = re.search("grpc-status: ([0-9]+)", head) or re.search("grpc-status: ([0-9]+)", trailers(body))
            self.assertIn(int(status[1]), {0, *WELL_FORMED}, what)
            return
        if command["protocol"] == "WebSocket":
            *_, last = output.splitlines()
            self.assertIn(json.loads(last)["status"]["code"], {0, *WELL_FORMED}, what)
            return
        response = json.loads(output)
        if command["protocol"] == "GraphQL":
            self.assertIn("data", response, what)
            for error in response.get("errors", []):
                self.assertIn(error["extensions"]["code"].lower(), WELL_FORMED, what)
        if "code" in response:
            self.assertIn(response["code"], WELL_FORMED, what)

    def test_programs_return_the_response(self):
        for method, expected in (("GetJwks", "P-256"), ("ListUsers", "eve")):
            commands = self.commands(self.mesh, method)
            self.assertEqual({command["program"] for command in commands}, set(PROGRAMS))
            for command in commands:
                if command["program"] == "grpcurl" or command["protocol"] == "gRPC-Web":
                    continue
                with self.subTest(method=method, protocol=command["protocol"], program=command["program"]):
                    output, what = self.paste(command, self.token)
                    self.assertIn(expected, output, what)

    def test_printed_commands_set_the_access_token(self):
        gateway = f"http://{self.mesh.address['gateway']}"
        explained = json.loads(self.explain(self.mesh, "ListUsers", "--gateway", gateway, "--json").stdout)
        # The first time the user signs up, and the second time in.
        for _ in range(2):
            token, what = self.set_token(explained["token"])
            self.assertRegex(token, r"^[\w-]+\.[\w-]+\.[\w-]+$", what)
            output, what = self.paste(explained["commands"][0], token)
            self.assertIn("eve", output, what)

    def set_token(self, commands):
        """Runs commands, and returns the access token that they set, and a text with their errors."""
        return self.paste({"program": "curl", "text": f"{commands}\nprintf %s \"$ACCESS_TOKEN\""})

    def test_commands_without_an_access_token_print_why(self):
        gateway = f"http://{self.mesh.address['gateway']}"
        explained = json.loads(self.explain(self.mesh, "ListUsers", "--gateway", gateway, "--json").stdout)
        # An account with another password has the address.
        commands = explained["token"].replace("ada@example.org", EMAIL)
        token, what = self.set_token(commands)
        self.assertEqual(token, "", what)
        for part in ("change the email", "the password is wrong", "sign in instead"):
            self.assertIn(part, what)

    def test_page_text_has_the_verdict_on_the_origin(self):
        printed = self.explain(self.mesh, "RefreshToken", "--origin", "https://app.example.org").stdout
        self.assertIn("A page of https://app.example.org cannot call it", printed)
        self.assertIn("gateway.cors_origins", printed)


class ExternalTest(ExplainCase):
    """A service that knows nothing of Trellis, with its descriptors in a file."""

    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        describe(folder / "shop.binpb", POOL, "shop.proto")
        server = Server()
        cls.addClassCleanup(server.stop)
        settings = f'access = "public", descriptors = "{folder}/shop.binpb", graphql = true'
        cls.mesh = cls.enterClassContext(
            Mesh(f'[gateway.external]\n"{PACKAGE}" = {{ to = ["{server.address}"], {settings} }}\n')
        )

    def test_commands_reach_the_upstream(self):
        for method in ("Echo", "Repeat", "Collect", "Chat"):
            for command in self.commands(self.mesh, f"{PACKAGE}.Shop/{method}"):
                with self.subTest(method=method, protocol=command["protocol"], program=command["program"]):
                    output, what = self.paste(command)
                    self.assertNotIn("error", output, what)

    def test_stream_has_a_subscription_over_a_socket(self):
        [command] = [
            command
            for command in self.commands(self.mesh, f"{PACKAGE}.Shop/Repeat")
            if command["protocol"] == "GraphQL over a WebSocket"
        ]
        output, what = self.paste(command)
        kinds = [json.loads(line)["type"] for line in output.splitlines()]
        self.assertEqual((kinds[0], kinds[-1]), ("connection_ack", "complete"), what)

    def test_unknown_method_gets_a_suggestion(self):
        ran = self.explain(self.mesh, "Shop/Ecko")
        self.assertNotEqual(ran.returncode, 0)
        self.assertIn(f"did you mean {PACKAGE}.Shop/Echo", ran.stderr)


if __name__ == "__main__":
    unittest.main()
