"""Publishes models as TF-Hub modules: directories, compressed files, pages and an index.

    python -m export.publish --site site --model BiT-M-R50x1
    python -m export.publish --site site --model BiT-M-R50x1 --weights BiT-M-R50x1.npz
    python -m export.publish --site site --weights flowers.keras --handle my/flowers/1
    python -m export.publish --site site --all

A model of the zoo is published as a feature vector, bit/m-r50x1/1, and as classifiers, such as
bit/m-r50x1/ilsvrc2012_classification/1. After `python -m http.server --directory site/http`,
hub.load("http://127.0.0.1:8000/bit/m-r50x1/1") loads the feature vector.

A module is published only if its archive, unpacked and loaded again, gives the model's numbers, and
never incompletely. If the program was interrupted, the same command continues. The exit status is 0
if all modules are published, 1 if a module is not, and 2 if the flags contradict each other.
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

_SITE = flags.DEFINE_string("site", "site", "Directory that the modules are written to.")
_MODEL = flags.DEFINE_string("model", None, "A model of the zoo, such as BiT-M-R50x1.")
_WEIGHTS = flags.DEFINE_string(
    "weights",
    None,
    "With --model, an npz file; without --handle, it replaces the published checkpoint with as "
    "many classes. Without --model, a .keras file or the directory of a run.",
)
_HANDLE = flags.DEFINE_string(
    "handle", None, "Name and version of the module of --weights, such as my/flowers/1."
)
_CLASS_NAMES = flags.DEFINE_string(
    "class_names", None, "Text file with the class names of --weights, one in each line."
)
_IMAGE_SIZE = flags.DEFINE_integer(
    "image_size", None, "Side in pixels to which serving_bytes resizes images, for --weights.", 1
)
_LICENCE = flags.DEFINE_string("licence", None, "Licence of --weights, which the page shows.")
_ALL = flags.DEFINE_bool("all", False, "Publish every model of the zoo that was released.")
_OVERWRITE = flags.DEFINE_bool(
    "overwrite",
    False,
    "Build published modules again and replace them; by default, a published "
    "version does not change.",
)

BUILD = (sys.executable, "-m", "export.build")


def run_build(module: Module, directory: Path) -> None:
    """Builds the files of a module in a new process.

    Raises:
        PublishError: the process refused the module, or failed.
    """
    specification = directory / "specification.json"
    specification.write_text(json.dumps(dataclasses.asdict(module)), "utf-8")
    checkout = str(Path(__file__).parent.parent)
    paths = os.pathsep.join(filter(None, [checkout, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONHASHSEED": "0"}
    environment |= {"KERAS_BACKEND": "tensorflow"}
    # The child process writes its temporary files into `directory`, which the publisher removes
    # even if the child process is killed.
    environment["TMPDIR"] = str(directory)
    environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with subprocess.Popen(
        [*BUILD, str(specification), str(directory)],
        # The child process ends when the pipe to its standard input is closed, so it does not
        # outlive this process.
        stdin=subprocess.PIPE,
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
            f"The build was ended by {signal.Signals(-status).name}. If nobody sent this signal, "
            "the memory of the machine was too small."
        )
    if status:
        raise PublishError(f"The build failed because of a fault in the program:\n{said}")


def publish_all(
    site: Path,
    modules: Iterable[Module],
    overwrite: bool = False,
    build: Callable[[Module, Path], None] = run_build,
) -> bool:
    """Publishes modules into a site, and prints the result for each of them.

    Args:
        site: the directory of the site; it is created if needed.
        modules: the modules to publish. If one fails, the others are still published.
        overwrite: if True, build published modules again and replace them.
        build: writes a module's parts into an empty directory; the default does this in a new
            process.

    Returns:
        True if all modules are published.

    Raises:
        PublishError: another publisher is working on the site.
    """
    failed = False
    with opened(site):
        for module in modules:
            try:
                print(f"{module.handle}: {publish(site, module, overwrite, build)}")
            except (PublishError, OSError) as error:
                failed = True
                print(f"{module.handle}: not published. {error}", file=sys.stderr)
        write_pages(site)
    return not failed


def publish(
    site: Path, module: Module, overwrite: bool, build: Callable[[Module, Path], None]
) -> str:
    """Publishes one module into a locked site; returns a text such as "published already"."""
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


def _immutable(record: dict) -> PublishError:
    handle, source = record["handle"], record["source"]
    return PublishError(
        f"{handle} is already published, from {source['file']} (sha256 {source['sha256'][:12]}), "
        "but its weights, class names, image size, background, licence or file name differ from "
        "those that were asked for. A published version does not change: publish "
        f"{next_version(handle)}, or pass --overwrite."
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
            given["class_names"] = _lines(Path(_CLASS_NAMES.value).expanduser())
        return modules_of(**given)
    others = [f"--{name}" for name, value in given.items() if value is not None]
    if others:
        raise PublishError(
            f"--all publishes all models of the zoo, so it takes no {', '.join(others)}."
        )
    return modules_of_zoo()


def _lines(path: Path) -> tuple[str, ...]:
    try:
        return tuple(path.read_text("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise PublishError(
            f"{path} is not a text file in UTF-8 ({error.reason} at byte {error.start}). Save it "
            "in UTF-8."
        ) from None


def main(arguments: list[str]) -> int:
    """Publishes the modules that the command-line flags select; returns the exit status."""
    try:
        if arguments[1:]:
            raise PublishError(
                f"Unexpected argument {arguments[1]!r}. Flags are written as --name=value."
            )
        site = Path(_SITE.value).expanduser().resolve()
        return 0 if publish_all(site, _asked_for(), _OVERWRITE.value) else 1
    except (PublishError, ValueError, OSError) as error:
        print(textwrap.indent(str(error), "export.publish: ")[:4000], file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # 130 is the usual exit status of a program that was stopped by Ctrl-C.
        return 130


def _help() -> str:
    """Returns the text for --help: the description of this program and of its flags."""
    return f"{__doc__}\nFlags:\n{flags.FLAGS.main_module_help()}"


if __name__ == "__main__":
    if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & set(sys.argv[1:]):
        # The help is printed here, because absl would print it and exit with the status 1.
        print(_help())
        sys.exit(0)
    app.run(main)
