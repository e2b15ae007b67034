"""A minimal gRPC-Web client that gives access to every byte."""

import base64
import http.client
import struct


def frame(message, flag=0):
    return struct.pack(">BI", flag, len(message)) + message


class Response:
    """A complete response: its messages, and the trailers from headers or body."""

    def __init__(self, status, headers, body, is_text):
        self.status = status
        self.headers = headers
        self.body = b"".join(_segments(body)) if is_text else body
        self.messages = []
        self.trailers = {name.lower(): value for name, value in headers if name.lower().startswith("grpc-")}
        self.frames = []
        at = 0
        while at < len(self.body):
            flag, length = struct.unpack_from(">BI", self.body, at)
            payload = self.body[at + 5 : at + 5 + length]
            self.frames.append(flag)
            if flag & 0x80:
                pairs = [line.split(":", 1) for line in payload.decode().split("\r\n") if line]
                self.trailers.update({name.strip().lower(): value.strip() for name, value in pairs})
            else:
                self.messages.append(payload)
            at += 5 + length
        assert at == len(self.body), "the last frame is cut"

    def header(self, name):
        return ", ".join(value for other, value in self.headers if other.lower() == name)


def _segments(text):
    """Decodes base64 whose segments are padded separately."""
    start = 0
    while start < len(text):
        end = text.find(b"=", start)
        end = len(text) if end < 0 else start + ((end - start) // 4 + 1) * 4
        yield base64.b64decode(text[start:end], validate=True)
        start = end


def call(address, path, message, headers=(), text=False, flag=0):
    """One call over HTTP/1.1; `flag` 1 marks `message` as compressed."""
    kind = "application/grpc-web-text+proto" if text else "application/grpc-web+proto"
    body = frame(message, flag)
    body = base64.b64encode(body) if text else body
    connection = http.client.HTTPConnection(address, timeout=20)
    try:
        connection.putrequest("POST", path)
        for name, value in [("content-type", kind), ("content-length", str(len(body))), *headers]:
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return Response(response.status, response.getheaders(), response.read(), text)
    finally:
        connection.close()
