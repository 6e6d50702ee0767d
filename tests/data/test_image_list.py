"""The task "labels:FILE": a text file that lists images and their labels."""

import pytest
from pretraining_data import LABELS, assert_all_there, contents, grey_png

from bit_keras.data.tasks import pretraining_task


@pytest.fixture
def listed(tmp_path):
    names = ("ant", "bee", "cat fish")
    lines = []
    for i in range(20):
        (tmp_path / f"{i}.png").write_bytes(grey_png(i))
        lines.append("\t".join([f"{i}.png", *(names[k] for k in LABELS[i % 5])]))
    (tmp_path / "list.tsv").write_text("\n".join(lines) + "\n")
    return tmp_path / "list.tsv"


def test_a_list_of_images(listed):
    task = pretraining_task(f"labels:{listed}")
    assert_all_there(task, f"labels:{listed}")
    assert task.class_names == ("ant", "bee", "cat fish")
    other = listed.with_name("other.tsv")
    other.write_text(listed.read_text().replace("4.png\tcat fish", "4.png\tant"))
    assert pretraining_task(f"labels:{other}").source != task.source


def test_a_list_of_one_label_each(listed):
    listed.write_text("".join(f"{i}.png\t{'ab'[i % 2]}\n" for i in range(20)))
    task = pretraining_task(f"labels:{listed}")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists 0 images with 0 classes"),
        ("a.png\tant\nb.png\tant\n", "lists 2 images with 1 classes"),
        ("a.png\tant\nb.png\tbee\n", "begins with 'a.png'"),
        ("a.png ant\nb.png bee\n", "lists 2 images with 0 classes"),
        ("a.png\tant\t\nb.png\tbee\n", r"line 1: .* has a tab with nothing before or after it"),
        ("a.png\tant\n\tbee\n", r"line 2: .* has a tab with nothing"),
        ("a.png\tant\n\nb.png\tbee\n./a.png\tbee\n", r"lists \./a\.png in line 1 and in line 4"),
        (b"a.png\tant\nb.png\tb\xe9e\n", "not a text file in UTF-8: line 2 has the byte 0xe9"),
    ],
)
def test_a_list_that_is_none(text, message, tmp_path):
    file = tmp_path / "list.tsv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        pretraining_task(f"labels:{file}")


def test_spaces_and_a_byte_order_mark_are_no_part_of_names(listed):
    text = "".join(f"{i}.png\t{'ab'[i % 2]}\r\n" for i in range(20)).replace("\tb", "\t b ")
    listed.write_text("\ufeff" + text)
    task = pretraining_task(f"labels:{listed}")
    assert task.class_names == ("a", "b")
    assert not task.several_labels
    test, train = contents(task)
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


def test_absolute_paths_in_a_list(listed, tmp_path, monkeypatch):
    lines = [f"{listed.parent / str(i)}.png\t{'ab'[i % 2]}\n" for i in range(0, 20, 2)]
    lines += [f"{i}.png\t{'ab'[i % 2]}\n" for i in range(1, 20, 2)]
    listed.write_text("".join(lines))
    test, train = contents(pretraining_task(f"labels:{listed}"))
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]
    monkeypatch.chdir(tmp_path)
    test, train = contents(pretraining_task(f"labels:{listed.name}"))
    assert sorted(test + train) == [(i, (i % 2,)) for i in range(20)]


def test_a_list_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nope\.tsv\. .*tabs? between"):
        pretraining_task(f"labels:{tmp_path}/nope.tsv")
