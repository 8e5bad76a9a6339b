"""Memory does not grow with small files that decode to large images."""

import re
import struct
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests.support.fakes import BATCH_TIMEOUT, file_of
from tests.support.lengths import length
from tests.support.processes import resident, running_server, serve_command

pytestmark = pytest.mark.slow

SIDE = 2000
ROUNDS = length(4, 2)
MAX_FILE_BYTES = 64 * 1024
"""Bytes of the largest of these files. Decoded, each has 4 million pixels."""
GROWTH = 48 * 2**20
LARGE = 4000
"""Side of the images that are decoded together."""
TOGETHER = 4


def png_bomb(colour_type: int, channels: int) -> bytes:
    """Build a PNG of zeros with 16 bits per channel, one row at a time."""

    def chunk(name: bytes, data: bytes) -> bytes:
        sealed = name + data
        return struct.pack(">I", len(data)) + sealed + struct.pack(">I", zlib.crc32(sealed))

    header = struct.pack(">IIBBBBB", SIDE, SIDE, 16, colour_type, 0, 0, 0)
    packed = zlib.compressobj(9)
    row = bytes(1 + SIDE * 2 * channels)
    body = b"".join(packed.compress(row) for _ in range(SIDE)) + packed.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


def gif_bomb() -> bytes:
    """Build a GIF of one pixel on a large canvas."""
    pixel = bytearray(file_of(Image.new("P", (1, 1)), "GIF"))
    pixel[6:10] = struct.pack("<HH", SIDE, SIDE)
    return bytes(pixel)


def bombs() -> dict[str, bytes]:
    flat = Image.new("RGBA", (SIDE, SIDE), (200, 120, 40, 100))
    return {
        "png, grey, 16 bits": png_bomb(0, 1),
        "png, alpha, 16 bits": png_bomb(6, 4),
        "gif": gif_bomb(),
        "webp": file_of(flat, "WEBP", quality=1, method=0),
        "jpeg, progressive": file_of(
            flat.convert("CMYK"), "JPEG", quality=1, progressive=True, optimize=True
        ),
    }


@pytest.mark.soak
def test_memory_does_not_grow_with_decompression_bombs(
    bundle_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = bombs()
    assert max(map(len, files.values())) < MAX_FILE_BYTES
    sizes = []
    with running_server(serve_command(bundle_path), KINDRED_MAX_BATCH_SIZE="1") as http:
        for _ in range(2 * ROUNDS):
            for file in files.values():
                upload = [("file", ("bomb", file))] * 4
                results = http.post("/classify", files=upload).json()["results"]
                assert all("predictions" in one for one in results)
            sizes.append(resident(http))
    first, last = max(sizes[:ROUNDS]), max(sizes[ROUNDS:])
    with capsys.disabled():
        print(
            f"\n{2 * ROUNDS * 4 * len(files)} images of {SIDE * SIDE / 1e6:g} million pixels, in "
            f"{max(map(len, files.values())) / 1000:.0f} KB at most: resident "
            f"{', '.join(f'{size / 2**20:.0f}' for size in sizes)} MiB"
        )
    assert last < first + GROWTH


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("mode", ["RGBA", "I;16"])
def test_large_images_together_take_little_memory_and_give_it_back(
    mode: str, bundle_path: Path, tmp_path: Path
) -> None:
    """Decoded, the pixels of one image take up to 4 bytes each; a conversion would take more."""
    image = file_of(Image.new(mode, (LARGE, LARGE)), "PNG")
    bound = LARGE * LARGE
    command = [
        "sh",
        "-c",
        'echo $$ >"$0"; exec "$@"',
        tmp_path / "pid",
        *serve_command(bundle_path),
    ]
    with (
        running_server(command, KINDRED_MAX_BATCH_SIZE="1", KINDRED_REQUEST_TIMEOUT="60") as http,
        ThreadPoolExecutor(TOGETHER) as clients,
    ):
        status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/status")
        http.post("/classify", content=file_of(Image.new(mode, (LARGE // 8, LARGE // 8)), "PNG"))
        before = resident(http)
        posts = [clients.submit(http.post, "/classify", content=image) for _ in range(TOGETHER)]
        assert {one.result().status_code for one in posts} == {200}
        peak = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        deadline = time.monotonic() + BATCH_TIMEOUT
        while (after := resident(http)) > before + 2 * bound and time.monotonic() < deadline:
            time.sleep(0.1)
    assert peak
    assert int(peak[1]) * 1024 < before + 8 * bound
    assert after < before + 2 * bound
