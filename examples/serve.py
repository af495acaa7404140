"""An HTTP server for an exported network: an image file in, its most likely classes out.

It needs onnxruntime and Pillow.

    spectral-ensemble export runs/digits --out digits.onnx
    python examples/serve.py digits.onnx --port 8000
    curl --data-binary @digit.png http://127.0.0.1:8000/

For a trusted network: there is no TLS and no login.
"""

from __future__ import annotations

import argparse
import io
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]
from PIL import Image

LARGEST_BODY = 32 * 2**20
SILENT_SECONDS = 30


class Network:
    """The exported file, with what its metadata says of images."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=onnxruntime.get_available_providers())
        self.about: dict[str, Any] = json.loads(self.session.get_modelmeta().custom_metadata_map["spectral.json"])

    def pixels(self, content: bytes) -> npt.NDArray[np.uint8]:
        """Return an image file as the network takes it, (H, W, C) uint8; or raise `OSError`, `ValueError`."""
        height, width, channels = self.about["input_shape"]
        with Image.open(io.BytesIO(content)) as opened:
            image = opened.convert("L" if channels == 1 else "RGB")
        short = self.about["resize"] or (image.size != (width, height) and max(height, width))
        if short:
            scale = short / min(image.size)
            size = max(round(image.width * scale), short), max(round(image.height * scale), short)
            image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return np.asarray(image.crop((left, top, left + width, top + height))).reshape(height, width, channels)

    def classes(self, content: bytes, top: int = 5) -> dict[str, float]:
        """Return the most likely classes of an image file, the best first, with their probabilities."""
        ((probabilities,),) = self.session.run(None, {"images": self.pixels(content)[None]})
        best = np.argsort(-probabilities)[:top]
        return {self.about["classes"][number]: round(float(probabilities[number]), 6) for number in best}


def server(network: Network, address: tuple[str, int]) -> ThreadingHTTPServer:
    """Return a server that answers POST with classes, and GET with what the network is."""

    class Handler(BaseHTTPRequestHandler):
        timeout = SILENT_SECONDS

        def do_GET(self) -> None:
            self.answer(200, network.about)

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdecimal() or int(length) > LARGEST_BODY:
                self.close_connection = True
                return self.answer(413, {"error": f"send an image file of at most {LARGEST_BODY} bytes"})
            try:
                self.answer(200, {"classes": network.classes(self.rfile.read(int(length)))})
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                self.answer(400, {"error": f"no image that can be read: {error}"})

        def answer(self, code: int, said: dict[str, Any]) -> None:
            content = json.dumps(said).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing of single requests."""

    return ThreadingHTTPServer(address, Handler)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve an exported network over HTTP.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    chosen = parser.parse_args()
    with server(Network(chosen.model), (chosen.host, chosen.port)) as serving:
        print(f"http://{chosen.host}:{serving.server_port}/", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    main()
