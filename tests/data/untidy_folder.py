"""Makes a folder of about 200 untidy pictures, and says which of them are to be left out and why.

python tests/data/untidy_folder.py FOLDER
"""

import itertools
import os
import socket
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from data import kinds_of_images as kinds

CLASSES = ("birds", "cats & dogs", "Möwen")

# Names that programs often take for something else.
_NAMES = (
    *("a b.png", " leading.png", "trailing .png", "-rf.png", "--help.png", "100%.png", "%s.png"),
    *("{x}.png", "[1].png", "a*b?.png", "it's.png", 'say "hi".png', "back\\slash.png", "$HOME.png"),
    *("two\nlines.png", "tab\tbed.png", "ünïcode.png", "e\u0301.png", "日本.png", "🐦.png"),
    *("UPPER.PNG", "a.b.c.png", "x" * 240 + ".png", "#1.png", "~.png", "a;b.png", "a&b.png"),
)
_BYTES = (b"latin\xe9.png", b"\xff\xfe.png")  # Names that are not UTF-8.

_SIZES = ((1, 1), (1, 300), (300, 1), (2, 2), (7, 5), (640, 480))


def make_untidy_folder(root):
    """Writes the pictures.

    Returns:
        The paths of the images that can be read, and for the path of each entry that is left out a
        part of the reason; all are relative to the root.
    """
    readable = list(_write_all(root, _images()))
    broken = {f"broken {name}": content for name, (content, _) in kinds.BROKEN.items()}
    named = {f"{name}.jpg": content for name, content in broken.items() if "heic" not in name}
    left_out = dict(
        zip(
            _write_all(root, named),
            (reason for name, (_, reason) in kinds.BROKEN.items() if name != "heic"),
            strict=True,
        )
    )
    first = root / CLASSES[0]
    others = {
        "photo.heic": (kinds.BROKEN["heic"][0], ".heic"),
        "photo.jpeg": (kinds.BROKEN["heic"][0], "HEIC"),
        "camera.NEF": (kinds.KINDS["tiff"][0], ".nef"),
        "drawing.svg": (b"<svg/>", ".svg"),
        ".hidden.png": (kinds.KINDS["png"][0], "begins with a dot"),
        "notes.txt": (b"Pictures of birds", ".txt"),
        "Thumbs.db": (bytes(50), ".db"),
    }
    for name, (content, reason) in others.items():
        (first / name).write_bytes(content)
        left_out[f"{CLASSES[0]}/{name}"] = reason
    (root / "stray.png").write_bytes(kinds.KINDS["png"][0])
    left_out["stray.png"] = "not in the folder of a class"
    left_out |= _links(root, readable) | _special_files(first)
    return readable, left_out


def _images():
    """Yields names and contents of images that can be read."""
    for kind, (content, *_) in kinds.KINDS.items():
        yield kind, content  # without a suffix
        yield f"{kind}.{kind.split()[-1]}", content
    for form, orientation in itertools.product(kinds.FORMATS_WITH_EXIF, range(1, 9)):
        yield f"turned {orientation}.{form}", kinds.rotated(form, orientation)
    for width, height in _SIZES:
        resized = kinds.RGB.resize((width, height))
        # With the suffix of another format.
        yield f"{width}x{height}.jpg", kinds.encoded(resized, "PNG")
        yield f"{width}x{height}.png", kinds.encoded(resized, "JPEG")
    for name in (*_NAMES, *map(os.fsdecode, _BYTES)):
        yield name, kinds.KINDS["transparent png"][0]


def _write_all(root, contents):
    """Writes files to the classes in turn; yields their paths."""
    contents = contents.items() if isinstance(contents, dict) else contents
    for label, (name, content) in zip(itertools.cycle(CLASSES), contents, strict=False):
        path = root / label / "nested" / name if len(name) % 5 == 0 else root / label / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        yield str(path.relative_to(root))


def _links(root, readable):
    """Makes links; adds those that can be read to the list, and returns the other ones."""
    (root / "Möwen" / "link.png").symlink_to(root / readable[0])
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "one.png").write_bytes(kinds.KINDS["png"][0])
    (root / "Möwen" / "more").symlink_to(root.parent / "elsewhere")
    readable += ["Möwen/link.png", "Möwen/more/one.png"]
    (root / "Möwen" / "circle").symlink_to(root)
    (root / "Möwen" / "broken.png").symlink_to("absent.png")
    (root / "Möwen" / "itself").symlink_to("itself")
    return {
        "Möwen/circle": "around",
        "Möwen/broken.png": "No such file",
        "Möwen/itself": "symbolic links",
    }


def _special_files(folder):
    os.mkfifo(folder / "fifo.png")
    os.mkfifo(folder / "pipe")
    (folder / "device.png").symlink_to("/dev/zero")
    here = os.getcwd()
    os.chdir(folder)  # The address of a socket may have only 108 bytes.
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind("socket.png")
    os.chdir(here)
    kinds_of_files = {"fifo.png": "FIFO", "pipe": "FIFO", "device.png": "device"}
    return {
        f"{folder.name}/{name}": reason
        for name, reason in {**kinds_of_files, "socket.png": "socket"}.items()
    }


if __name__ == "__main__":
    found, missing = make_untidy_folder(Path(sys.argv[1]).absolute())
    print(f"{len(found)} images can be read. These are left out:")
    for path, why in missing.items():
        print(f"{path!r}: {why}")
