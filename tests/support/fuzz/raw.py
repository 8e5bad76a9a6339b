"""Requests that are almost HTTP: odd methods, targets, headers and chunks."""

from random import Random
from typing import Final

from tests.support.fuzz.bodies import flipped
from tests.support.fuzz.request import IMAGE, Request, random_query

METHODS: Final = (
    *(b"GET", b"POST", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"CONNECT", b"TRACE", b"PATCH"),
    *(b"PROPFIND", b"M-SEARCH", b"PRI", b"get", b"G\xffT", b"", b"GET " * 3, b"X" * 5000),
)
TARGETS: Final = (
    *(b"/livez", b"/predict", b"/gallery", b"*", b"localhost:80", b"http://localhost/livez", b"//"),
    *(b"/%", b"/%00", b"/%ff", b"/\xff", b"/a b", b"", b"?", b"/#a", b"/../..", b"/" + b"a" * 9000),
    *(b"http://", b"http://[", b"ftp://a/b", b"/livez?", b"/web/%2e%2e/app.py", b"/;a=b", b"\\"),
)
VERSIONS: Final = (
    *(b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/9.9"),
    *(b"HTTP/1.1 ", b"HTTP/11", b"", b"http/1.1", b"HTTP/1.1\r"),
)
HOST: Final = b"Host: localhost"
HEADERS: Final = (
    *(HOST, b"Host: ", b"Host: a:b:c", b"Host: \xff", b"Host: [", b"Connection: close"),
    *(b"Connection: upgrade\r\nUpgrade: websocket", b"Connection: upgrade\r\nUpgrade: h2c"),
    *(
        b"Upgrade: TLS/1.3",
        b"Connection: keep-alive, close, x",
        b"Expect: 100-continue",
        b"Expect: x",
    ),
    *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: x"),
    *(b"Transfer-Encoding:\x0bchunked", b"Content-Length: 0", b"Content-Length: -1"),
    *(b"Content-Length: 1e3", b"Content-Length: " + b"9" * 40, b"Content-Length: 0, 0"),
    *(
        b"Content-Encoding: gzip",
        b"Content-Encoding: identity",
        b"Content-Type: ",
        b"Content-Type: ;;",
    ),
    *(b"Content-Type: application/json; charset=utf-16", b"Content-Type: \xff/\xfe"),
    *(
        b"Authorization: Bearer",
        b"Authorization: \xff",
        b"X-API-Key: " + b"k" * 3000,
        b"Range: bytes=0-",
    ),
    *(b"Origin: null", b"Origin: http://localhost", b"Referer: http://[", b"Sec-Fetch-Site: x"),
    *(
        b"X-Request-ID: \xc3\xa9",
        b"If-None-Match: *",
        b'If-None-Match: "',
        b"Accept: application/x-npy",
    ),
    *(b"Idempotency-Key: \xff", b"Cookie: " + b"c" * 4000, b"Accept-Encoding: gzip;q=x, *;q=0"),
    *(
        b": empty",
        b"no colon",
        b" folded: line",
        b"a\0b: c",
        b"a: \0",
        b"a:\r\n folded",
        b"a: b\rc: d",
    ),
    b"\r\n".join(b"h%d: v" % number for number in range(300)),
)
CHUNKS: Final = (
    *(b"3\r\nabc\r\n", b"3;a=b\r\nabc\r\n", b"03\r\nabc\r\n", b"0x3\r\nabc\r\n", b"3 \r\nabc\r\n"),
    *(
        b"3\nabc\n",
        b"-1\r\n",
        b"g\r\n",
        b"ffffffffffffffffff\r\n",
        b"3\r\nabcd\r\n",
        b"\r\n",
        b"3;\r\n",
    ),
    b"%x\r\n%s\r\n" % (len(IMAGE), IMAGE),
)
END: Final = (
    b"0\r\n\r\n",
    b"0\r\n\r\n",
    b"0\r\nX-API-Key: a\r\n\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"00\r\n\r\n",
)


def raw_request(random: Random) -> Request:
    """Return bytes whose head ends, so that there is something to answer."""
    method = random.choice(METHODS if random.random() < 0.4 else (b"GET", b"POST"))
    target = random.choice(TARGETS)
    if random.random() < 0.3:
        target += b"?" + random_query(random, "limit label").encode()
    headers = [HOST] if random.random() < 0.9 else []
    headers += random.choices(HEADERS, k=random.choice((0, 0, 1, 2, 4)))
    version = random.choice(VERSIONS if random.random() < 0.3 else (b"HTTP/1.1",))
    body = b""
    if random.random() < 0.4:
        headers.append(b"Transfer-Encoding: chunked")
        body = b"".join(random.choices(CHUNKS, k=random.randint(0, 4))) + random.choice(END)
    line = b" ".join((method, target, version))
    head = b"\r\n".join((line, *headers)) + b"\r\n\r\n"
    if random.random() < 0.1:
        head = flipped(random, head[:-4]) + b"\r\n\r\n"
    return Request(method.decode("latin-1"), target, body, head=head)
