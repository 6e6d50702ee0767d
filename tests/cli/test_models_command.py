"""`bit-keras models`."""

import hashlib

from bit_keras.checkpoints.catalog import CHECKPOINTS
from bit_keras.checkpoints.download import local_file
from bit_keras.cli.main import main


def test_where_each_file_comes_from_and_belongs(server, cache, capsys):
    server.files["BiT-M-R50x1.npz"] = b"weights"
    local_file("BiT-M-R50x1.npz", lambda path: None)
    assert main(["models", "BiT-M-R50x1", "--where"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:4] == [
        "BiT-M-R50x1 upstream",
        f"  from    {server.address}BiT-M-R50x1.npz",
        f"  to      {cache / 'BiT-M-R50x1.npz'}",
        f"  sha256  {hashlib.sha256(b'weights').hexdigest()}",
    ]
    assert f"  to      {cache / 'BiT-M-R50x1-ILSVRC2012.npz'} (not there)" in said
    assert not [line for line in said if "R101" in line]
    assert main(["models", "--where"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4 * len(CHECKPOINTS)
    assert main(["models", "BiT-X", "--where"]) == 2


def test_square_brackets_in_a_path_are_printed(tmp_path, monkeypatch, capsys):
    place = tmp_path / "[red]cache [/]"
    monkeypatch.setenv("BIT_KERAS_HOME", str(place))
    monkeypatch.setenv("BIT_KERAS_BASE_URL", "https://example.org/[files]/")
    assert main(["models", "--verify"]) == 0
    assert f"0 files in {place}" in capsys.readouterr().out
    assert main(["models", "BiT-M-R50x1"]) == 0
    said = capsys.readouterr().out
    assert "downloaded from: https://example.org/[files]/" in said
    assert "BiT-M-R50x1: units per block (3, 4, 6, 3), width 1, 23,500,352 parameters" in said
