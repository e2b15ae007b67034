"""Tokens of another issuer at the gateway, made by PyJWT: every algorithm, and forgeries."""

import base64
import http.server
import json
import threading
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

import grpc
from shop import Note
from upstream import UpstreamCase, eventually

AUDIENCE = "https://api.acme.test"
#: The private key, and PyJWT's class for its kind, by the algorithm.
KEYS = {
    "RS256": (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "PS256": (rsa.generate_private_key(65537, 2048), RSAAlgorithm),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}


def public_keys():
    """The JWK set. The keys of RSA state no `alg`, as those of some providers."""
    keys = []
    for name, (key, kind) in KEYS.items():
        keys.append(kind.to_jwk(key.public_key(), as_dict=True) | {"kid": name, "use": "sig"})
    # Others are skipped.
    keys.append({"kty": "oct", "kid": "secret", "k": "c2VjcmV0", "alg": "HS256"})
    keys.append({"kty": "EC", "kid": "unknown", "crv": "P-999", "x": "AA", "y": "AA"})
    return keys


class Issuer:
    """Serves its metadata and keys."""

    def __init__(self):
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                metadata = {"issuer": issuer.address, "jwks_uri": f"{issuer.address}/keys"}
                found = self.path == "/.well-known/openid-configuration"
                body = json.dumps(metadata if found else {"keys": public_keys()}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def claims(self, **changes):
        now = int(time.time())
        claims = {"iss": self.address, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600} | changes
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, algorithm, headers=None, **changes):
        key, _ = KEYS[algorithm]
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": algorithm} | (headers or {}))


ISSUER = Issuer()


class OtherIssuer(UpstreamCase):
    more = (
        f'token_issuers.acme = {{ issuer = "{ISSUER.address}", audiences = ["{AUDIENCE}"], refresh = "1s",'
        ' algorithms = ["RS256", "PS256", "ES256", "EdDSA"] }'
    )
    settings = (
        'access = "public", descriptors = "reflection", token_audience = "shop", token_issuers = ["acme"],'
        " forward_issuer_token = true"
    )

    def received(self, token):
        """The token that the upstream has received for a call with this one."""
        seen = self.shop.Show(Note(), timeout=10, metadata=[("authorization", f"Bearer {token}")]).text
        found = [line.split(": ", 1)[1] for line in seen.splitlines() if line.startswith("authorization: ")]
        return found[0].removeprefix("Bearer ") if found else None

    def test_tokens_of_every_algorithm_are_accepted(self):
        for algorithm in KEYS:
            token = ISSUER.token(algorithm)
            eventually(lambda token=token: self.assertEqual(self.received(token), token))
        key, _ = KEYS["RS256"]
        # A key of RSA without `alg` verifies both.
        token = jwt.encode(ISSUER.claims(aud=["x", AUDIENCE]), key, "PS256", headers={"kid": "RS256", "typ": "at+jwt"})
        self.assertEqual(self.received(token), token)

    def test_forged_tokens_are_refused(self):
        eventually(lambda: self.assertIsNotNone(self.received(ISSUER.token("ES256"))))
        key, _ = KEYS["ES256"]
        stranger = ec.generate_private_key(ec.SECP256R1())
        embedded = ECAlgorithm.to_jwk(stranger.public_key(), as_dict=True)
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        forged = {
            "none": jwt.encode(ISSUER.claims(), None, "none", headers={"kid": "ES256"}),
            "the secret of the set": jwt.encode(ISSUER.claims(), b"secret" * 8, "HS256", headers={"kid": "secret"}),
            "HMAC with the public key": self.hmac(pem),
            "another key": jwt.encode(ISSUER.claims(), stranger, "ES256", headers={"kid": "ES256"}),
            "its own key": jwt.encode(ISSUER.claims(), stranger, "ES256", headers={"kid": "ES256", "jwk": embedded}),
            "the key of another algorithm": ISSUER.token("ES256", {"kid": "EdDSA"}),
            "audience": ISSUER.token("ES256", aud="https://other.test"),
            "no audience": ISSUER.token("ES256", aud=None),
            "expired": ISSUER.token("ES256", exp=int(time.time()) - 60),
            "not yet valid": ISSUER.token("ES256", nbf=int(time.time()) + 600),
        }
        for name, token in forged.items():
            with self.subTest(name):
                # The method is public: the caller is anonymous.
                self.assertIsNone(self.received(token))

    @staticmethod
    def hmac(secret):
        """PyJWT refuses to sign with a public key as the secret."""
        from hashlib import sha256
        from hmac import digest

        def part(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=")

        header = json.dumps({"alg": "HS256", "kid": "ES256", "typ": "JWT"}).encode()
        message = part(header) + b"." + part(json.dumps(ISSUER.claims()).encode())
        return (message + b"." + part(digest(secret, message, sha256))).decode()

    def test_services_of_the_mesh_refuse_the_token(self):
        token = ISSUER.token("ES256", aud="trellis", headers={"typ": "at+jwt"})
        call = self.shop.channel.unary_unary("/trellis.auth.v1.AuthService/ListSessions")
        for refused in (token, ISSUER.token("ES256")):
            self.assert_refused(
                grpc.StatusCode.UNAUTHENTICATED,
                "TOKEN_INVALID",
                lambda refused=refused: call(b"", timeout=10, metadata=[("authorization", f"Bearer {refused}")]),
            )


if __name__ == "__main__":
    import unittest

    unittest.main()
