"""The OpenAPI documents are valid, and true: the gateway accepts and sends what they say."""

import tempfile
import unittest
import uuid

from openapi_spec_validator import OpenAPIV31SpecValidator

from contracts import REPOSITORY, compile_files, describe
from mesh import Mesh
from openapi import Document
from shop import PACKAGE, Server
from upstream import line

# That of the examples.
PASSWORD = "correct horse battery staple"
# The tests call each method more often than a client may.
UNLIMITED = "[gateway.rate_limits.overrides.tests]\nunlimited = true\n"
# Their examples hold a secret that only an e-mail or the terminal shows.
NEEDS_SECRET = {
    "AuthService_ClaimAdmin",
    "AuthService_CompleteSignIn",
    "AuthService_ConfirmEmailChange",
    "AuthService_ListMailbox",
    "AuthService_RegenerateRecoveryCodes",
    "AuthService_ReleaseEmail",
    "AuthService_RemoveFactor",
    "AuthService_ResetPassword",
    "AuthService_UndoEmailChange",
    "AuthService_VerifyEmail",
}
NOTES = """syntax = "proto3";
package acme.shop.v1;
import "google/api/annotations.proto";
// Keeps notes.
service Notes {
  // Returns a note.
  rpc GetNote(Note) returns (Note) { option (google.api.http) = {get: "/shop/notes/{id}"}; }
  // Follows all notes.
  rpc FollowNotes(Note) returns (stream Note) { option (google.api.http) = {post: "/shop/notes:follow" body: "*"}; }
}
// A note.
message Note { string id = 1; double weight = 2; bytes data = 3; map<string, int64> counts = 4; }
"""


def sign_up(document, handle, password=PASSWORD):
    """A new user's tokens."""
    body = {"email": f"{handle}@example.com", "password": password, "handle": handle, "displayName": handle}
    response = document.send("POST", f"{document.origin}/v1/auth:signUp", {}, body)
    return response.json()["tokens"]


def admin(mesh, document, handle, password=PASSWORD):
    """The access token of a new admin."""
    token = sign_up(document, handle, password)["accessToken"]
    claimed = document.send("POST", f"{document.origin}/v1/auth:claimAdmin", {}, {"code": mesh.admin_code()}, token=token)
    return claimed.json()["accessToken"]


def is_for_admins(operation):
    """Whether the caller needs a role."""
    return "x-roles" in operation


class Documents(unittest.TestCase):
    """The documents of the mesh and of an external upstream."""

    @classmethod
    def setUpClass(cls):
        server = Server()
        cls.addClassCleanup(server.stop)
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        file = f"{folder}/notes.proto"
        with open(file, "w", encoding="utf-8") as notes:
            notes.write(NOTES)
        pool = compile_files([folder, REPOSITORY / "proto/third_party"], [file])
        mesh = Mesh()
        path = mesh.folder / "notes.binpb"
        describe(path, pool, "notes.proto")
        mesh.configure(line(server, f'access = "public", descriptors = "{path}"'))
        cls.mesh = cls.enterClassContext(mesh)
        address = cls.mesh.address["gateway"]
        cls.documents = [Document(address), Document(address, f"/openapi/{PACKAGE}.json")]

    def test_documents_are_valid_openapi(self):
        for document in self.documents:
            errors = [str(error) for error in OpenAPIV31SpecValidator(document.content).iter_errors()]
            self.assertEqual(errors, [])

    def test_examples_match_their_schemas(self):
        for document in self.documents:
            for method, path, operation in document.operations():
                with self.subTest(f"{method} {path}"):
                    content = operation.get("requestBody", {}).get("content", {}).values()
                    shown = [one for one in [*operation.get("parameters", []), *content] if "example" in one]
                    faults = [fault for one in shown for fault in document.faults(one["schema"], one["example"])]
                    self.assertEqual(faults, [])

    def test_external_methods_have_the_configured_access(self):
        mesh, shop = self.documents
        self.assertEqual(shop.content["paths"]["/shop/notes/{id}"]["get"]["security"], [])
        self.assertEqual(mesh.content["paths"]["/v1/users/{user_id}"]["get"]["security"], [{"bearer": []}])
        self.assertIn("default", shop.content["paths"]["/shop/notes/{id}"]["get"]["responses"])


# These end the session or the account of their caller, so each gets one of its own.
ENDING = ("deleteAccount", "changePassword", "revokeAll", "sessions/", "signOut")


# These end what the others need, so they come last.
LAST = [
    "MessagingService_DeleteMessage",
    "MessagingService_RemoveMember",
    "MessagingService_LeaveConversation",
    "AuthService_SuspendAccount",
    "AuthService_RestoreAccount",
    "AuthService_RevokeSession",
    "AuthService_ChangePassword",
    "AuthService_RevokeAllSessions",
    "AuthService_SignOut",
    "AuthService_DeleteAccount",
]


def turn(listed):
    """The position of an operation in an order that works."""
    name = listed[2]["operationId"]
    return LAST.index(name) if name in LAST else -1


class Examples(unittest.TestCase):
    """Each request of the documents works, or fails in a way that the document describes."""

    @classmethod
    def setUpClass(cls):
        # Each example with a wrong password or code counts as an attempt.
        attempts = "[auth]\nattempts_by_address = 1000\nattempts = 1000\n"
        cls.mesh = cls.enterClassContext(Mesh(attempts + UNLIMITED))
        cls.document = Document(cls.mesh.address["gateway"])
        cls.ada, cls.bob, cls.eve = (sign_up(cls.document, handle) for handle in ("adalove", "bob", "eve"))
        cls.admin = admin(cls.mesh, cls.document, "grace")

    def check(self, method, path, operation, known=None, token=None):
        """Sends the examples of an operation, in each form of response, and returns the statuses."""
        content = self.document.resolved(operation["responses"]["200"]).get("content", {})
        forms = ["application/problem+json", *content]
        statuses = []
        for form in forms:
            request = self.document.example(method, path, operation, known)
            response = self.document.send(*request, accept=form, token=token)
            self.assertEqual(self.document.undocumented(operation, response), [], f"{method} {path}: {response.status_code}")
            statuses.append(response.status_code)
        return statuses

    def test_examples_get_documented_responses(self):
        for method, path, operation in self.document.operations():
            tokens = {None} if any(part in path for part in ENDING) else {None, self.eve["accessToken"]}
            if is_for_admins(operation):
                tokens.add(self.admin)
            with self.subTest(f"{method} {path}"):
                for credential in tokens:
                    self.check(method, path, operation, token=credential)

    def test_examples_succeed_with_real_ids(self):
        ada, bob, dan, cyd = self.ada, self.bob, *(sign_up(self.document, handle) for handle in ("dan", "cyd"))
        token = ada["accessToken"]
        second = self.call("AuthService_SignIn", {"email": "adalove@example.com"}, None)["tokens"]
        known = {"userId": bob["userId"], "memberIds": [bob["userId"]], "requestId": str(uuid.uuid4())}
        new = self.call("MessagingService_CreateConversation", known, token)
        known |= {"conversation_id": new["conversation"]["conversationId"], "clientMessageId": str(uuid.uuid4())}
        sent = self.call("MessagingService_SendMessage", known, token)
        known |= {"message_id": sent["entry"]["message"]["messageId"], "user_id": bob["userId"], "userIds": [bob["userId"]]}
        known |= {"refreshToken": ada["refreshToken"], "email": "adalove@example.com", "session_id": second["sessionId"]}
        own = {
            "UsersService_UpdateUser": {"user_id": ada["userId"], "handle": "countess"},
            "AuthService_SignUp": {"email": "new@example.com", "handle": "newcomer"},
            "AuthService_SignOut": {"refreshToken": dan["refreshToken"]},
        }
        callers = {"AuthService_RevokeAllSessions": self.eve, "AuthService_DeleteAccount": bob}
        failed = []
        for method, path, operation in sorted(self.document.operations(), key=turn):
            name = operation["operationId"]
            with self.subTest(f"{method} {path}"):
                credential, values = callers.get(name, ada)["accessToken"], known | own.get(name, {})
                if is_for_admins(operation):
                    credential = self.admin
                    values |= {"user_id": cyd["userId"], "email": "cyd@example.com", "sessionId": cyd["sessionId"]}
                statuses = self.check(method, path, operation, values, credential)
                # The example is no code of the app that BeginTotp has begun to add.
                expected = 401 if name == "AuthService_ConfirmTotp" else 400 if name in NEEDS_SECRET else 200
                if statuses[0] != expected:
                    failed.append((name, statuses))
        self.assertEqual(failed, [])

    def call(self, operation_id, known, token):
        method, path, operation = next(one for one in self.document.operations() if one[2]["operationId"] == operation_id)
        response = self.document.send(*self.document.example(method, path, operation, known), token=token)
        self.assertEqual(response.status_code, 200, response.text)
        return response.json()


if __name__ == "__main__":
    unittest.main()
