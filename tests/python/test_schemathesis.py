"""schemathesis, driven by the document against the live mesh: requests that fit the document and requests that do not.

No response is a failure of the server or is missing in the document. A request that fits the document may be refused only
for a reason that the document names, and one that does not fit is refused.
"""

import tempfile
import unittest
import uuid

import hypothesis
import requests
import schemathesis
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mesh import Mesh
from openapi import PATIENCE_S, Document, decoded, reason, timeout
from test_openapi import UNLIMITED, admin, is_for_admins, sign_up, turn

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
# The parts of a request that must fit. A malformed `If-None-Match` matches nothing, and the test sets `authorization`.
REFUSED_IN = [ParameterLocation.PATH, ParameterLocation.QUERY, ParameterLocation.BODY]
# Requests for each operation that fit the document, and as many that do not.
EXAMPLES = 15
SEED = 15
# schemathesis tries the values of the document, such as the password of the examples.
PASSWORD = "no value of the document"
# A hash of a password takes long in a debug build, and a stream ends with its deadline.
FEWER = {
    "AuthService_SignUp": 8,
    "AuthService_SignIn": 8,
    "AuthService_ChangePassword": 5,
    "AuthService_DeleteAccount": 5,
    "AuthService_Reauthenticate": 5,
    "MessagingService_Subscribe": 8,
}

# Hypothesis keeps tables of characters in a folder, by default in the current one.
set_hypothesis_home_dir(f"{tempfile.gettempdir()}/hypothesis")

TEXT = st.text(st.characters(categories=("Lu", "Ll", "Nd", "Lo"), max_codepoint=0xFFFF), min_size=1, max_size=40)
schemathesis.openapi.format("single-line", TEXT)
schemathesis.openapi.format("multi-line", TEXT)
schemathesis.openapi.format("int64", st.integers(-(2**63), 2**63 - 1).map(str))
schemathesis.openapi.format("uint64", st.integers(0, 2**64 - 1).map(str))


@schemathesis.deserializer("application/x-ndjson", "text/event-stream")
def read_stream(_, response):
    """A stream as the array that its schema describes."""
    media_type = response.headers["content-type"][0].partition(";")[0]
    return decoded(media_type, response.content.decode())


def is_positive(case, location):
    """Whether a part of the request fits the document, or is absent."""
    part = case.meta.components.get(location)
    return part is None or part.mode.is_positive


def existing(value, known):
    """A generated id, or in most cases one that exists. The same id always becomes the same, so that a failure can be
    repeated."""
    return known if str(value)[:1] < "a" else value


class Schemathesis(unittest.TestCase):
    """Each operation with requests that fit the document, and with others."""

    @classmethod
    def setUpClass(cls):
        cls.mesh = cls.enterClassContext(Mesh(UNLIMITED))
        cls.document = Document(cls.mesh.address["gateway"])
        cls.schema = schemathesis.openapi.from_dict(cls.document.content)
        cls.schema.config.update(base_url=cls.document.origin)
        cls.session = cls.enterClassContext(requests.Session())
        handles = ("adalove", "bob", "eve", "dan")
        cls.ada, cls.bob, cls.eve, cls.dan = (sign_up(cls.document, handle, PASSWORD) for handle in handles)
        cls.token = cls.ada["accessToken"]
        cls.admin = admin(cls.mesh, cls.document, "grace", PASSWORD)
        cls.known = cls.resources()

    @classmethod
    def resources(cls):
        """The values of path parameters that exist."""

        def post(path, body):
            sent = cls.document.send("POST", cls.document.origin + path, {}, body, token=cls.token)
            return sent.json()

        new = post("/v1/conversations", {"requestId": str(uuid.uuid4()), "memberIds": [cls.bob["userId"]], "title": "Notes"})
        conversation = new["conversation"]["conversationId"]
        body = {"clientMessageId": str(uuid.uuid4()), "text": "first"}
        sent = post(f"/v1/conversations/{conversation}/messages", body)
        return {
            "conversation_id": conversation,
            "message_id": sent["entry"]["message"]["messageId"],
            "user_id": cls.bob["userId"],
            "session_id": cls.dan["sessionId"],
            "memberIds": cls.bob["userId"],
            "userId": cls.bob["userId"],
        }

    def token_for(self, operation):
        """The token of a caller who has the role, and whose session or account the operation may end."""
        if is_for_admins(operation):
            return self.admin
        operation_id = operation["operationId"]
        if operation_id in ("AuthService_RevokeSession", "AuthService_RevokeAllSessions"):
            body = {"email": "dan@example.com", "password": PASSWORD}
            new = self.document.send("POST", f"{self.document.origin}/v1/auth:signIn", {}, body)
            return new.json()["tokens"]["accessToken"]
        # Wrong passwords are counted, and then sign-ins of their user are refused.
        proves = ("AuthService_ChangePassword", "AuthService_DeleteAccount", "AuthService_Reauthenticate")
        return self.eve["accessToken"] if operation_id in proves else self.token

    def test_every_response_is_described(self):
        operations = [result.ok() for result in self.schema.get_all_operations()]
        operations.sort(key=lambda operation: turn((None, None, operation.definition.raw)))
        self.assertEqual(len(operations), len(self.document.operations()))
        for operation in operations:
            for mode in schemathesis.GenerationMode:
                with self.subTest(f"{operation.label} {mode.value}"):
                    self.try_operation(operation, mode)

    def try_operation(self, operation, mode):
        definition = operation.definition.raw
        examples = FEWER.get(definition["operationId"], EXAMPLES)
        token = self.token_for(definition)
        known = self.known
        if definition["operationId"] == "UsersService_UpdateUser":
            known = known | {"user_id": self.ada["userId"]}

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=examples,
            database=None,
            deadline=None,
            # Without shrinking: each step would be a call.
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            # Most resources exist, so that more than NOT_FOUND is seen.
            path = case.path_parameters
            if is_positive(case, ParameterLocation.PATH):
                path.update({name: existing(value, known[name]) for name, value in path.items() if name in known})
            if is_positive(case, ParameterLocation.BODY) and isinstance(case.body, dict):
                if "userId" in case.body:
                    case.body["userId"] = existing(case.body["userId"], known["userId"])
                if "memberIds" in case.body:
                    case.body["memberIds"] = list({existing(value, known["memberIds"]) for value in case.body["memberIds"]})
            headers = {"authorization": f"Bearer {token}", "grpc-timeout": timeout(definition)}
            response = case.call(session=self.session, headers=headers, timeout=PATIENCE_S)
            case.validate_response(response, checks=CHECKS)
            if any(not is_positive(case, location) for location in REFUSED_IN):
                case.validate_response(response, checks=[negative_data_rejection])
            if mode.is_positive:
                self.check_accepted(definition, case, response)

        check()

    def check_accepted(self, definition, case, response):
        """A refused request that fits the document has a reason that the document names."""
        if response.status_code != 400:
            return
        parameters = [parameter.get("description", "") for parameter in definition.get("parameters", [])]
        body = definition.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
        members = self.document.resolved(body).get("properties", {}).values()
        texts = [definition.get("description", ""), *parameters, *(member.get("description", "") for member in members)]
        why = reason(response.json())
        self.assertTrue(why and why in " ".join(texts), f"{case.as_curl_command()}\n{response.text}")


if __name__ == "__main__":
    unittest.main()
