"""An OpenID provider on this machine: discovery, authorisation, signed tokens. Whoever comes is `person`."""

import base64
import hashlib
import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_urlsafe
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT, SECRET = "dashboard", "known to the provider and the dashboard"


class Provider(ThreadingHTTPServer):
    """`person`: what the next token says of whoever signs in, such as {"sub": "1", "email": "ada@lab.example"}."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.key = RSAKey.generate_key(2048, parameters={"kid": "one", "use": "sig", "alg": "RS256"})
        self.person: dict[str, object] = {}
        self.codes: dict[str, dict[str, str]] = {}  # code → the query of its authorisation

    def secrets(self, path: Path, dashboard: str) -> Path:
        """Write Streamlit's secrets for a dashboard at this address."""
        said = {
            "redirect_uri": f"{dashboard}/oauth2callback",
            "cookie_secret": token_urlsafe(48),
            "client_id": CLIENT,
            "client_secret": SECRET,
            "server_metadata_url": f"{self.url}/.well-known/openid-configuration",
        }
        path.write_text("[auth]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items()))
        return path


class _Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/.well-known/openid-configuration":
            ends = {name: f"{self.server.url}/{path}" for name, path in
                    (("authorization_endpoint", "authorize"), ("token_endpoint", "token"), ("jwks_uri", "jwks"))}  # fmt: skip
            self._answer({"issuer": self.server.url, **ends, "code_challenge_methods_supported": ["S256"],
                          "id_token_signing_alg_values_supported": ["RS256"]})  # fmt: skip
        elif parts.path == "/jwks":
            self._answer({"keys": [self.server.key.as_dict(private=False)]})
        elif parts.path == "/authorize" and asked["client_id"] == CLIENT:
            code = token_urlsafe()
            self.server.codes[code] = asked
            self.send_response(302)
            self.send_header(
                "Location", f"{asked['redirect_uri']}?{urlencode({'code': code, 'state': asked['state']})}"
            )
            self.end_headers()
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """A token for a code, once, if secret and PKCE verifier are right."""
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        asked = self.server.codes.pop(form["code"][0])
        given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        digest = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if SECRET.split()[0] not in given or asked["code_challenge"] != challenge:
            self.send_error(400)
            return
        now = int(time.time())
        claims = {"iss": self.server.url, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": "RS256", "kid": "one"}, claims | self.server.person, self.server.key)
        self._answer({"access_token": token_urlsafe(), "token_type": "Bearer", "expires_in": 300, "id_token": token})

    def _answer(self, content: dict) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def provider():
    one = Provider()
    threading.Thread(target=one.serve_forever, daemon=True).start()
    try:
        yield one
    finally:
        one.shutdown()
        one.server_close()
