"""The README and the guides: their programs run, and what they name exists."""

import dataclasses
import itertools
import re
import shlex
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags
from checkpoints.server import Server
from marked import slow_except
from networks import shrink

import bit_keras
from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.cli.main import COMMANDS

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
PAGES += sorted((ROOT / "examples" / "guides").glob("*.md"))
TEXTS = {str(page.relative_to(ROOT)): page.read_text() for page in PAGES}
PROGRAMS = {
    name: "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    for name, text in TEXTS.items()
    if "```python" in text
}

# What an indented line begins with if it is a command.
COMMAND_LINE = re.compile(r"^    ((?:pip|python|pytest|bit-keras) .*)$", re.MULTILINE)


def commands(text):
    """Returns the words of each command in the indented lines and in the quoted code of a page."""
    text = re.sub(r"```python\n.*?```", "", text, flags=re.DOTALL)
    lines = COMMAND_LINE.findall(text)
    lines += re.findall(r"`((?:pip|python|pytest|bit-keras) [^`]+)`", text.replace("\n", " "))
    return [shlex.split(part) for line in lines for part in line.split(" && ")]


def check_bit_keras(name, *arguments):
    """Raises an error if the command line would refuse the command's name or its flags."""
    if name.startswith("--"):
        return
    command = COMMANDS[name]
    values = flags.FlagValues()
    flags.DEFINE_bool("help", False, "", flag_values=values)
    for define, flag, default, text in command.flags:
        define(flag, default, text, flag_values=values)
    _, *given = values([name, *arguments])
    assert len(given) >= command.required or not arguments
    unlimited = command.arguments and command.arguments[-1].endswith("...")
    assert unlimited or len(given) <= len(command.arguments)


def check_python(program, *arguments):
    """Raises an error if the program does not exist, or does not define a flag."""
    if program == "-m":
        module, *arguments = arguments
        if module == "http.server":
            return
        path = ROOT / f"{module.replace('.', '/')}.py"
    else:
        path = ROOT / program
    source = path.read_text()
    for argument in arguments:
        if argument.startswith("--"):
            assert f'"{argument[2:].split("=")[0]}"' in source, argument


def check_pip(*arguments):
    """Raises an error if setup.cfg does not have an extra that the command installs."""
    extras = re.search(r"\[(.*)\]", arguments[-1])[1].split(",")
    for extra in extras:
        assert f"\n{extra} =\n" in (ROOT / "setup.cfg").read_text(), extra


def check_pytest(*arguments):
    """Raises an error if setup.cfg does not have a mark that the command selects."""
    marks = [mark for flag, mark in itertools.pairwise(arguments) if flag == "-m"]
    for mark in re.findall(r"\w+", " ".join(marks).replace(" or ", " ")):
        assert f"    {mark}: " in (ROOT / "setup.cfg").read_text(), mark


CHECKS = {
    "bit-keras": check_bit_keras,
    "python": check_python,
    "pip": check_pip,
    "pytest": check_pytest,
}


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_of_a_page_is_accepted(name):
    for program, *arguments in commands(TEXTS[name]):
        if arguments:
            CHECKS[program](*arguments)


def test_the_readme_begins_with_the_two_commands():
    first, second = COMMAND_LINE.findall(TEXTS["README.md"])[:2]
    assert first == 'pip install -e ".[test]" && bit-keras finetune'
    assert second == 'pip install -e ".[test]" && pytest'
    assert TEXTS["README.md"].index(first) < TEXTS["README.md"].index("```")


@pytest.mark.parametrize("name", TEXTS)
def test_every_flag_that_a_page_quotes_exists(name):
    known = {flag for command in COMMANDS.values() for _, flag, _, _ in command.flags}
    known |= {"help", "profile", "rounds"}  # of the benchmarks and of pytest
    quoted = {flag for code in re.findall(r"`(--[^`]+)`", TEXTS[name]) for flag in code.split()}
    for flag in {flag for flag in quoted if flag.startswith("--")}:
        assert flag[2:].split("=")[0] in known, flag


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_and_file_of_a_page_exists(name):
    for link in re.findall(r"\]\(([^)]+)\)", TEXTS[name]):
        if not link.startswith("https://"):
            assert (ROOT / name).parent.joinpath(link).exists(), link
    for file in re.findall(r"`((?:tests|examples|export|bit_keras)/[\w./]*)", TEXTS[name]):
        assert (ROOT / file).exists(), file


def test_every_test_that_a_page_names_exists():
    deviations = 0
    for name, text in TEXTS.items():
        for file, function in re.findall(r"`(tests/\S+\.py)::(\w+)`", text):
            assert f"def {function}(" in (ROOT / file).read_text(), function
            deviations += name.endswith("deviations.md")
    assert deviations == 11


def test_every_guide_is_linked_from_the_readme():
    for name in TEXTS:
        if name != "README.md":
            assert f"({name})" in TEXTS["README.md"], name


def test_contributing_names_every_folder_of_the_package():
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name for path in (ROOT / "bit_keras").iterdir()
    }
    rooms = {room for room in rooms if not room.startswith(("_", "."))}
    named = re.findall(r"^\| `(\w+(?:/|\.py))` \|", TEXTS["CONTRIBUTING.md"], re.MULTILINE)
    assert rooms == set(named)


def test_the_guide_of_networks_names_every_model():
    for name in bit_keras.list_models():
        assert name in TEXTS["examples/guides/networks.md"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Returns the path of a folder with the files of a user: weights, a picture, and a folder."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        model = bit_keras.create("BiT-M-R50x1", classes=1000)
    bit_keras.save_npz(model, folder / "weights.npz")
    for i, image in enumerate(images()):
        path = folder / "images" / f"class{i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tf.io.encode_png(image).numpy())
    (folder / "cat.jpg").write_bytes(tf.io.encode_jpeg(images()[0]).numpy())
    return folder


def images():
    return np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), "uint8")


@pytest.fixture
def user(weights, tmp_path, monkeypatch):
    """Sets up a user with a small BiT-M-R50x1, a server of its weights, and a small CIFAR-10."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.jpg").symlink_to(weights / "cat.jpg")
    shrink(monkeypatch)
    server = Server()
    content = (weights / "weights.npz").read_bytes()
    for name in ("upstream", "ilsvrc2012"):
        entry = CHECKPOINTS["BiT-M-R50x1", name]
        small = dataclasses.replace(entry, size=len(content), classes=1000)
        monkeypatch.setitem(CHECKPOINTS, ("BiT-M-R50x1", name), small)
        server.files[entry.file] = content
    for kind in ("ids", "lemmas"):
        lines = "".join(f"{kind}{k}\n" for k in range(1000))
        server.files[f"ilsvrc2012_wordnet_{kind}.txt"] = lines.encode()
    monkeypatch.setenv("BIT_KERAS_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("BIT_KERAS_BASE_URL", server.address)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("BIT_KERAS_OFFLINE")
    labels = np.arange(8)[:, None] % 10
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((images(), labels),) * 2)
    small = bit_keras.HyperRule.for_task(8, (8, 8)).scaled(2, steps=1, resize=36, crop=32)
    monkeypatch.setattr(bit_keras.HyperRule, "for_task", lambda *_, **__: small)
    monkeypatch.setattr(bit_keras.HyperRule, "scaled", lambda rule, *_, **__: rule)
    yield {
        "/path/to/BiT-M-R50x1-ILSVRC2012.npz": weights / "weights.npz",
        "/path/to/images": weights / "images",
    }
    server.close()


@pytest.mark.parametrize("name", slow_except(["README.md"], PROGRAMS))
def test_the_programs_of_a_page_run(name, user, capsys):
    program = PROGRAMS[name]
    for written, real in user.items():
        program = program.replace(written, str(real))
    # The pictures of the README have 448 pixels, which cost time and show nothing more.
    names = {}
    exec(compile(program.replace("(448, 448)", "(64, 64)"), name, "exec"), names)
    printed = capsys.readouterr().out
    if name == "README.md":
        assert "lemmas" in printed
    if "result" in names:
        assert names["result"].metrics["num_test_examples"] == 2
    if name.endswith("fine_tuning.md"):
        assert keras.models.load_model("cifar10.keras").output_shape == (None, 10)
    if name.endswith("networks.md"):
        assert names["model"].output_shape == (None, 5)
    if name.endswith("exporting.md"):
        assert names["layer"](np.zeros((1, 32, 32, 3), "float32")).shape == (1, 5)
