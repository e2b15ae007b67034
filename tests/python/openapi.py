"""An OpenAPI document of the gateway: its operations, their examples, and whether a response is one that it describes."""

import json
import re
import urllib.parse

import jsonschema
import referencing
import requests
from referencing.jsonschema import DRAFT202012

# A stream without an end is cut off by its deadline: the last line or event states it.
STREAM_TIMEOUT = "700m"
PATIENCE_S = 30


class Document:
    """The document at `path` of the gateway at `address`."""

    def __init__(self, address, path="/openapi.json"):
        self.origin = f"http://{address}"
        self.content = requests.get(self.origin + path, timeout=PATIENCE_S).json()
        resource = referencing.Resource(contents=self.content, specification=DRAFT202012)
        self.registry = referencing.Registry().with_resource("urn:openapi", resource)

    def operations(self):
        """Every operation: its HTTP method, its path and its object."""
        return [
            (method.upper(), path, operation)
            for path, item in self.content["paths"].items()
            for method, operation in item.items()
        ]

    def resolved(self, value):
        """The target of a reference, or the value itself."""
        while "$ref" in value:
            value = self.at(value["$ref"].removeprefix("#"))
        return value

    def at(self, pointer):
        value = self.content
        for part in pointer.split("/")[1:]:
            value = value[part.replace("~1", "/").replace("~0", "~")]
        return value

    def faults(self, schema, instance):
        """How an instance differs from a schema of the document, in words."""
        based = json.loads(json.dumps(schema).replace('"$ref": "#', '"$ref": "urn:openapi#'))
        validator = jsonschema.Draft202012Validator(
            based, registry=self.registry, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
        )
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(instance)]

    def example(self, method, path, operation, known=None):
        """The request of an operation's examples: its URL, headers and body. `known` replaces values by their names."""
        known = known or {}
        query, headers = [], {"grpc-timeout": timeout(operation)}
        for parameter in operation.get("parameters", []):
            name, place = parameter["name"], parameter["in"]
            value = known.get(name, parameter.get("example"))
            if value is None:
                continue
            if place == "path":
                path = path.replace(f"{{{name}}}", urllib.parse.quote(str(value), safe=""))
            elif place == "query":
                query += [(name, one) for one in (value if isinstance(value, list) else [value])]
            else:
                headers[name] = value
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
        if body is not None:
            body = {name: known.get(name, value) for name, value in body.items()}
        url = self.origin + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        return method, url, headers, body

    def send(self, method, url, headers, body, accept="application/json", token=None):
        headers = {"accept": accept, **headers}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        return requests.request(method, url, headers=headers, json=body, timeout=PATIENCE_S)

    def undocumented(self, operation, response):
        """What the document does not say about a response. Empty: it describes all of it."""
        described = operation["responses"].get(str(response.status_code)) or operation["responses"].get("default")
        if described is None:
            return [f"status {response.status_code}: {response.text[:500]}"]
        described = self.resolved(described)
        missing = [
            f"header {name} is missing"
            for name, header in described.get("headers", {}).items()
            if self.resolved(header).get("required") and name not in response.headers
        ]
        media_type = response.headers.get("content-type", "").partition(";")[0]
        content = described.get("content", {})
        if not content:
            return missing + (["it has a body"] if response.content else [])
        if media_type not in content:
            return [*missing, f"content type {media_type!r}: {response.text[:500]}"]
        instance = decoded(media_type, response.text)
        faults = self.faults(content[media_type].get("schema", {}), instance)
        if media_type == "text/event-stream":
            # Validators do not read `contentSchema`.
            choices = content[media_type]["schema"]["items"]["oneOf"]
            for event in instance:
                of = choices["event" in event]["properties"]["data"]["contentSchema"]
                faults += self.faults(of, json.loads(event["data"]))
        return missing + faults


def timeout(operation):
    """The deadline of a call, as `grpc-timeout`."""
    return STREAM_TIMEOUT if "application/x-ndjson" in operation["responses"]["200"].get("content", {}) else "20S"


def decoded(media_type, text):
    """A body as the instance that its schema describes: OpenAPI 3.2, "Sequential Media Types"."""
    if media_type == "application/x-ndjson":
        return [json.loads(line) for line in text.splitlines()]
    if media_type == "text/event-stream":
        blocks = [re.findall(r"^(\w+): ?(.*)$", block, re.MULTILINE) for block in text.split("\n\n")]
        return [dict(block) for block in blocks if block]
    return json.loads(text) if "json" in media_type else text


def reason(error):
    """`ErrorInfo.reason` of an error's JSON, or None."""
    return next((detail["reason"] for detail in error.get("details", []) if "reason" in detail), None)
