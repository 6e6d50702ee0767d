"""Publishes a small module and loads it from a static file server with `hub.load`.

    python examples/load_from_server.py

The server is Python's own; any that serves files will do. tensorflow_hub keeps what it fetched in
$TFHUB_CACHE_DIR, so the second load needs no server. Half a minute on two cores.
"""

import functools
import os
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import tensorflow as tf
import tensorflow_hub as hub
from absl import app

import bit_keras

CHECKOUT = Path(__file__).parent.parent  # `export` is run from there


def main(_):
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TFHUB_CACHE_DIR"] = f"{folder}/cache"
        network = bit_keras.ResNetV2(depths=(1, 1, 1, 1), width=0.5, classes=10)
        network.save(f"{folder}/small.keras")
        flags = [f"--site={folder}/site", f"--weights={folder}/small.keras", "--handle=my/small/1"]
        subprocess.run([sys.executable, "-m", "export.publish", *flags], cwd=CHECKOUT, check=True)

        handler = functools.partial(SimpleHTTPRequestHandler, directory=f"{folder}/site/http")
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever).start()
        handle = f"http://127.0.0.1:{server.server_port}/my/small/1"
        images = tf.random.uniform((2, 97, 131, 3))  # values in [0, 1]
        print(f"{handle} gives logits {hub.load(handle)(images).shape}")

        server.shutdown()
        server.server_close()
        print(f"and without the server {hub.load(handle)(images).shape}")


if __name__ == "__main__":
    app.run(main)
