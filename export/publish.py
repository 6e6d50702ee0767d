"""Publishes models as TF-Hub modules: directories, compressed files, pages and an index.

    python -m export.publish --site site --model BiT-M-R50x1
    python -m export.publish --site site --model BiT-M-R50x1 --weights BiT-M-R50x1.npz
    python -m export.publish --site site --weights flowers.keras --handle my/flowers/1
    python -m export.publish --site site --all

A model of the zoo gives its feature vector, bit/m-r50x1/1, and its classifiers, such as
bit/m-r50x1/ilsvrc2012_classification/1. `python -m http.server --directory site/http` is then
enough for hub.load("http://127.0.0.1:8000/bit/m-r50x1/1").

A module appears whole or not at all, and only if its archive, unpacked and loaded again, gives the
model's numbers. Started again, the program goes on where it stopped. Exit status: 0 when all that
was asked for is published, 1 when a module is not, 2 when the request makes no sense.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from absl import app, flags

from export.error import PublishError
from export.handle import next_version
from export.modules import Module, modules_of, modules_of_zoo
from export.page import write_pages
from export.placing import ERROR, RECORD, opened, place_module, staging
from export.site import is_intact, published_record, read_record

_SITE = flags.DEFINE_string("site", "site", "Directory of the tree to be written.")
_MODEL = flags.DEFINE_string("model", None, "A model of the zoo, such as BiT-M-R50x1.")
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "With --model an npz file, which without --handle stands in for the published one with as many "
    "classes; without --model a .keras file or the directory of a run.",
)
_HANDLE = flags.DEFINE_string("handle", None, "Name and version for --weights: my/flowers/1.")
_CLASS_NAMES = flags.DEFINE_string(
    "class_names", None, "Text file that names the classes of --weights, a line each."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels to which serving_bytes resizes, for --weights.", 1
)
_LICENCE = flags.DEFINE_string("licence", None, "Of --weights, for the page.")
_ALL = flags.DEFINE_bool("all", False, "Publish every model of the zoo that was released.")
_OVERWRITE = flags.DEFINE_bool(
    "overwrite", False, "Build anew what is published, and replace it. Versions are immutable else."
)

BUILD = (sys.executable, "-m", "export.build")


def publish_all(
    site: Path,
    modules: Iterable[Module],
    overwrite: bool = False,
    build: Callable[[Module, Path], None] | None = None,
) -> bool:
    """Publishes modules into a site, those that are not there yet, and prints what became of each.

    Args:
        site: the tree; it is made if need be.
        modules: what to publish. One that fails does not stop the others.
        overwrite: whether modules that are there are built anew and replaced.
        build: writes a module's parts into an empty directory; the default does so in a process of
            its own.

    Returns:
        Whether all are published.

    Raises:
        PublishError: the site cannot be worked on.
    """
    failed = False
    with opened(site):
        for module in modules:
            try:
                print(f"{module.handle}: {publish(site, module, overwrite, build or run_build)}")
            except (PublishError, OSError) as error:
                failed = True
                print(f"{module.handle}: not published. {error}", file=sys.stderr)
        write_pages(site)
    return not failed


def publish(
    site: Path, module: Module, overwrite: bool, build: Callable[[Module, Path], None]
) -> str:
    """Publishes one module into a site that is held; returns what was done."""
    old = published_record(site, module.handle)
    if old and not overwrite:
        if old["identity"] != module.identity():
            raise _immutable(old)
        if is_intact(site, old):
            return "published already"
    with staging(site) as staged:
        build(module, staged)
        new = read_record(staged / RECORD)
        if old and not overwrite and new["archive"] != old["archive"]:
            raise _immutable(old)
        place_module(site, staged)
    return f"{'replaced' if old and overwrite else 'published'}, {new['archive']['bytes']} bytes"


def run_build(module: Module, directory: Path) -> None:
    """Builds a module in a process of its own.

    Raises:
        PublishError: the process refused it, or failed.
    """
    specification = directory / "specification.json"
    specification.write_text(json.dumps(dataclasses.asdict(module)), "utf-8")
    checkout = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
    environment |= {"KERAS_BACKEND": "tensorflow"}
    environment["TMPDIR"] = str(directory)  # which is removed, however the process ends
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with subprocess.Popen(
        [*BUILD, str(specification), str(directory)],
        stdin=subprocess.PIPE,  # held open: the process ends when it is closed
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
    ) as process:
        said = process.stderr.read()
        status = process.wait()
    specification.unlink()
    if status == 2 and (directory / ERROR).exists():
        raise PublishError((directory / ERROR).read_text("utf-8"))
    if status < 0:
        raise PublishError(
            f"It was ended by {signal.Signals(-status).name}; if nobody did that, memory ran out."
        )
    if status:
        raise PublishError(f"Building it failed, by a fault of the program:\n{said}")


def _immutable(record: dict) -> PublishError:
    handle, source = record["handle"], record["source"]
    return PublishError(
        f"{handle} is published, from {source['file']} (sha256 {source['sha256'][:12]}), with "
        "other weights, class names, image size, licence or file name than asked for. Versions are "
        f"immutable: publish {next_version(handle)}, or "
        "pass --overwrite."
    )


def _asked_for() -> list[Module]:
    given = {
        "model": _MODEL.value,
        "weights": _WEIGHTS.value,
        "handle": _HANDLE.value,
        "class_names": _CLASS_NAMES.value,
        "image_size": _IMAGE_SIZE.value,
        "licence": _LICENCE.value,
    }
    if not _ALL.value:
        if _CLASS_NAMES.value is not None:
            lines = Path(_CLASS_NAMES.value).expanduser().read_text("utf-8-sig").splitlines()
            given["class_names"] = tuple(lines)
        return modules_of(**given)
    others = [f"--{name}" for name, value in given.items() if value is not None]
    if others:
        raise PublishError(f"--all takes the zoo as it is: leave {', '.join(others)} out.")
    return modules_of_zoo()


def main(arguments: list[str]) -> int:
    """Publishes what the flags ask for; returns the exit status."""
    try:
        if arguments[1:]:
            raise PublishError(f"Unexpected {arguments[1]!r}: flags are written --name=value.")
        site = Path(_SITE.value).expanduser().resolve()
        return 0 if publish_all(site, _asked_for(), _OVERWRITE.value) else 1
    except (PublishError, ValueError, OSError) as error:
        print(textwrap.indent(str(error), "export.publish: ")[:4000], file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # what shells give for Ctrl-C


if __name__ == "__main__":
    app.run(main)
