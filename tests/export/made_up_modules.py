"""Modules that are quickly made: no network is in them."""

import hashlib
import json
from dataclasses import replace

from export.modules import Module
from export.placing import ARCHIVE, MODULE, RECORD
from export.site import digests, sha256
from export.tarball import pack

FLOWERS = Module("my/flowers/1", None, "/somewhere/flowers.keras", sha256="1" * 64)


def flowers(text):
    """The module of another file."""
    return replace(FLOWERS, sha256=hashlib.sha256(text.encode()).hexdigest())


def build(module, directory):
    """Writes a module's parts as `export.build` does, with a text for the network."""
    (directory / MODULE / "variables").mkdir(parents=True)
    (directory / MODULE / "saved_model.pb").write_text(f"the graph of {module.sha256}")
    (directory / MODULE / "variables" / "variables.index").write_text(f"{module.sha256} values")
    pack(directory / MODULE, directory / ARCHIVE)
    record = {
        "handle": module.handle,
        "identity": module.identity(),
        "source": {
            "model": None,
            "file": module.source,
            "sha256": module.sha256,
            "published": False,
        },
        "licence": module.licence,
        "ilsvrc2012_top1": None,
        "description": {
            "model": "flowers",
            "architecture": None,
            "output": "logits",
            "classes": 3,
            "input_range": [0.0, 1.0],
            "input_shape": [None, None, 3],
            "serving_bytes_size": [128, 128],
            "versions": {"bit_keras": "1"},
        },
        "archive": {
            "bytes": (directory / ARCHIVE).stat().st_size,
            "sha256": sha256(directory / ARCHIVE),
        },
        "files": digests(directory / MODULE),
    }
    (directory / RECORD).write_text(json.dumps(record))


def tree(site):
    """The content of each file of a site, by its path."""
    files = [path for path in site.rglob("*") if path.is_file()]
    return {str(path.relative_to(site)): path.read_bytes() for path in files}
