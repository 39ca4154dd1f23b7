"""Sound requests, and what becomes of them when bytes, lines and halves are moved about by chance."""

from collections.abc import Callable
from random import Random

ODD = (
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\x00", b" ", b"\t", b":", b",", b";", b"\x0b", b"\xff", b"chunked", b"0", b"-",
    b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Host: b\r\n", b"0\r\n\r\n", b"%2f", b"%00", b"..", b"{", b'"',
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n", b"18446744073709551616",
)  # fmt: skip
BODY = b'{"model":"m","messages":[{"role":"user","content":"Hi"}]}'
STREAM = BODY[:-1] + b',"stream":true}'
FORM = b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b--\r\n'


def request(line: bytes, *fields: bytes, body: bytes = b"", chunk: int = 0) -> bytes:
    """Return a request by a caller whose key is good; its body in chunks of `chunk` bytes."""
    if chunk:
        pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)]
        body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))
        fields = (*fields, b"Transfer-Encoding: chunked")
    elif body:
        fields = (*fields, b"Content-Length: %d" % len(body))
    lines = (line, b"Host: api.example.com:4000", b"Authorization: Bearer open", *fields, b"", body)
    return b"\r\n".join(lines)


_JSON = b"Content-Type: application/json"
_CHAT = b"POST /v1/chat/completions HTTP/1.1"
SOUND = (
    request(_CHAT, _JSON, body=BODY),
    request(_CHAT, _JSON, b"User-Agent: OpenAI/Python 2.0", b"X-Headworks-User: ann", body=STREAM),
    request(_CHAT, _JSON, body=BODY, chunk=20),
    request(_CHAT, _JSON, b"Expect: 100-continue", body=BODY),
    request(b"GET /v1/models HTTP/1.1"),
    request(b"GET /v1/files/file-1/content?a=b&c=%20 HTTP/1.1", b"Range: bytes=0-9"),
    request(b"DELETE /v1/responses/resp_1 HTTP/1.1"),
    request(b"POST /v1/files HTTP/1.1", b"Content-Type: multipart/form-data; boundary=b", body=FORM),
    request(b"GET /v1/models HTTP/1.0", b"Connection: keep-alive"),
    request(b"GET /v1/models HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk"),
)  # fmt: skip


def _insert(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent) + 1)
    return sent[:at] + random.choice(ODD) + sent[at:]


def _drop(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent) + 1)
    return sent[:at] + sent[at + random.choice((1, 1, 1, 2, 9)) :]


def _replace(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent) + 1)
    return sent[:at] + bytes([random.randrange(256)]) + sent[at + 1 :]


def _flip(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent))
    return sent[:at] + bytes([sent[at] ^ (1 << random.randrange(8))]) + sent[at + 1 :]


def _repeat(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent))
    piece = sent[at : at + random.randrange(1, 30)]
    return sent[:at] + piece * random.choice((2, 2, 2, 3, 200)) + sent[at + len(piece) :]


def _double_line(sent: bytes, random: Random) -> bytes:
    lines = sent.split(b"\r\n")
    at = random.randrange(len(lines))
    return b"\r\n".join((*lines[:at], lines[at], *lines[at:]))


def _shift_line(sent: bytes, random: Random) -> bytes:
    lines = sent.split(b"\r\n")
    line = lines.pop(random.randrange(len(lines)))
    lines.insert(random.randrange(len(lines) + 1), line)
    return b"\r\n".join(lines)


def _splice(sent: bytes, random: Random) -> bytes:
    other = random.choice(SOUND)
    return sent[: random.randrange(len(sent))] + other[random.randrange(len(other)) :]


def _odd_case(sent: bytes, random: Random) -> bytes:
    at = random.randrange(len(sent))
    return sent[:at] + sent[at : at + 12].swapcase() + sent[at + 12 :]


MUTATIONS: tuple[Callable[[bytes, Random], bytes], ...] = (
    _insert, _insert, _drop, _replace, _flip, _repeat, _double_line, _shift_line, _splice, _odd_case,
)  # fmt: skip


def mutated(random: Random) -> bytes:
    """Return one or two sound requests with one to four changes."""
    sent = b"".join(random.choice(SOUND) for _ in range(random.choice((1, 1, 2))))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 4))):
        sent = random.choice(MUTATIONS)(sent or b"G", random)
    return sent
