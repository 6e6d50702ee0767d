"""The report of made-up runs."""

import base64
import html.parser
import json
import re
import shutil

import pytest
from made_up_runs import configuration, make_run, make_vtab, png, write_run

import bit_keras
from bit_keras.cli.main import main
from bit_keras.cli.report import print_report
from bit_keras.data import standard, vtab
from bit_keras.experiments import report_tables
from bit_keras.experiments.report import report

PAPER = ("BiT-L", "BiT-M", "BiT-S", "generalist SOTA", "specialist SOTA")


class Page(html.parser.HTMLParser):
    """Tables, pictures and texts of a page; an unbalanced tag is an error."""

    VOID = frozenset({"meta", "img"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tables, self.images, self.texts = [], [], [], []
        self.attributes = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data


def made(paths, tmp_path, name="report"):
    """Returns the page and the Markdown of a report."""
    print_report(report(paths, tmp_path / name))
    assert {path.name for path in (tmp_path / name).iterdir()} == {"report.md", "report.html"}
    markdown = (tmp_path / name / "report.md").read_text()
    return Page((tmp_path / name / "report.html").read_text()), markdown


def rows(page):
    """The main table: {row: {column: cell}}."""
    header, *body = page.tables[0]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in body}


def test_the_published_figures():
    """The figures are those of tables 1 and 2 of arXiv 1912.11370."""
    lines = [" ".join((row.title, *row.cells)) for row in report_tables.ROWS]
    assert lines == [
        "ILSVRC-2012 87.54 ± 0.02 85.39 81.30 86.4 88.4",
        "CIFAR-10 99.37 ± 0.06 98.91 97.51 99.0 -",
        "CIFAR-100 93.51 ± 0.08 92.17 86.21 91.7 -",
        "Pets 96.62 ± 0.23 94.46 93.97 95.9 97.1",
        "Flowers 99.63 ± 0.03 99.30 89.89 98.8 97.7",
        "VTAB (19 tasks) 76.29 ± 1.70 70.64 66.87 70.5 -",
    ]
    assert report_tables.COLUMNS == PAPER
    assert [row.task for row in report_tables.ROWS] == [*standard.TASKS, None]


def test_one_run_beside_the_paper(tmp_path, capsys):
    make_run(tmp_path / "runs" / "a", "cifar10", 0.97)
    page, markdown = made([tmp_path / "runs"], tmp_path)
    table = rows(page)
    assert list(table) == [row.title for row in report_tables.ROWS]
    for row in report_tables.ROWS:
        assert tuple(table[row.title]) == ("this run", *PAPER)
        mine = "97.00 (n=1)" if row.task == "cifar10" else "not run"
        assert tuple(table[row.title].values()) == (mine, *row.cells)
        assert f"| {row.title} | {mine} | {' | '.join(row.cells)} |" in markdown
    said = capsys.readouterr().out
    for text in ("97.00 (n=1)", "not run", "specialist SOTA", "this run: BiT-M-R50x1"):
        assert text in said
    assert "this run: BiT-M-R50x1, upstream weights, paper recipe" in page.texts


def test_seeds_become_a_median_with_its_spread(tmp_path):
    for seed, accuracy in enumerate((0.96, 0.99, 0.97)):
        make_run(tmp_path / "runs" / str(seed), "oxford_iiit_pet", accuracy, seed=seed)
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert rows(page)["Pets"]["this run"] == "97.00 ± 1.53 (n=3)"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "BiT-M-R101x1"}, "BiT-M-R101x1, upstream weights"),
        ({"weights": "ilsvrc2012"}, "ilsvrc2012 weights"),
        ({"recipe": "official"}, "official recipe"),
        ({"budget": {"batch_size": 128}}, "paper recipe, batch_size 128"),
        ({"budget": {"batch_size": 128, "base_lr": 0.001}}, "batch_size 128, base_lr 0.001"),
        ({"budget": {"steps": 100, "crop": 64}}, "paper recipe, steps 100, crop 64"),
        ({"examples_per_class": 5, "num_examples": 50}, "5 examples a class"),
        (
            {"augmentation": "cutmix", "examples_per_class": 5, "num_examples": 50},
            "paper recipe, augmentation cutmix, 5 examples a class",
        ),
        ({"num_examples": 49_000}, "num_examples 49000"),
        ({"eval_every": 100, "held_out": 0.02}, "0.02 held out"),
        ({"initial_state_sha256": "f" * 64}, f"initial_state_sha256 {'f' * 12}"),
        ({"strange": {"setting": 3}}, "strange.setting 3"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_get_separate_columns(changes, words, tmp_path):
    make_run(tmp_path / "runs" / "a", "cifar10", 0.90)
    make_run(tmp_path / "runs" / "b", "cifar10", 0.92, seed=1)
    make_run(tmp_path / "runs" / "c", "cifar10", 0.10, seed=2, **changes)
    page, markdown = made([tmp_path / "runs"], tmp_path)
    cells = {name: rows(page)["CIFAR-10"][name] for name in ("run 1", "run 2")}
    assert set(cells.values()) == {"91.00 ± 1.41 (n=2)", "10.00 (n=1)"}
    (name,) = (name for name, cell in cells.items() if cell == "10.00 (n=1)")
    (legend,) = (text for text in page.texts if text.startswith(f"{name}: "))
    assert words in legend
    assert markdown.count("* run ") == 2


def test_random_weights_are_drawn_by_the_seed(tmp_path):
    for seed in (0, 1):
        make_run(
            tmp_path / "runs" / str(seed),
            "cifar10",
            0.5,
            seed=seed,
            weights="random",
            initial_state_sha256=str(seed),
        )
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert rows(page)["CIFAR-10"]["this run"] == "50.00 ± 0.00 (n=2)"


def test_vtab_has_a_score_only_where_all_nineteen_are(tmp_path):
    full = list(vtab.TASKS)
    make_vtab(tmp_path / "runs" / "0", lambda key: full.index(key) / 20, seed=0)
    make_vtab(tmp_path / "runs" / "1", lambda key: 0.5, seed=1)
    make_vtab(tmp_path / "runs" / "2", lambda key: 0.1, seed=2, keys=full[:12])
    page, markdown = made([tmp_path / "runs"], tmp_path)
    cell = rows(page)["VTAB (19 tasks)"]["this run"]
    assert cell == "47.50 ± 3.54 (n=2); seed 2: 12 of 19 run"  # of 45.00 and 50.00
    details = {tuple(row[:2]): row[2] for row in page.tables[1]}
    assert details["natural", "mean of 7"] == "15.00 ± 21.79 (n=3)"  # of 15, 50 and 10
    assert details["structured", "kitti-distance"] == "70.00 ± 28.28 (n=2)"
    assert details["score", "mean of all 19"] == cell
    assert "| natural | caltech101 | 10.00 ± 26.46 (n=3) |" in markdown
    (bars,) = (image for image in page.images if "VTAB-1k" in image["alt"])
    assert len(base64.b64decode(bars["src"].partition(",")[2])) > 10_000


def test_a_repeated_run_counts_once(tmp_path):
    make_run(tmp_path / "runs" / "a", "cifar10", 0.9)
    make_run(tmp_path / "runs" / "b", "cifar10", 0.5)
    make_run(tmp_path / "runs" / "c", "cifar10", 0.7, seed=1)
    page, markdown = made([tmp_path / "runs", tmp_path / "runs" / "a"], tmp_path)
    assert rows(page)["CIFAR-10"]["this run"] == "80.00 ± 14.14 (n=2)"
    reason = f"the same configuration and seed as {tmp_path / 'runs' / 'a'}, which counts"
    assert [str(tmp_path / "runs" / "b"), reason] in [row for t in page.tables for row in t]
    assert markdown.count("which counts") == 1  # what is named twice is read once


def _without(*names):
    asked = configuration("cifar10")
    return {key: value for key, value in asked.items() if key not in names}


DAMAGED = {
    "empty": ("", "is damaged"),
    "cut": ('{"test_accuracy": 0.', "is damaged"),
    "binary": (b"\xff\xfe\x00", "is damaged"),
    "list": ("[1]", "does not hold a JSON object"),
    "nested": ("[" * 5000, "is damaged: maximum recursion depth exceeded"),
    "bare": ({"test_accuracy": 0.5}, "has no configuration"),
    "above": ({"test_accuracy": 98.3, "seed": 0, "configuration": _without()}, "from 0 to 1"),
    "nan": ({"test_accuracy": float("nan"), "seed": 0, "configuration": _without()}, "from 0 to 1"),
    "none": ({"test_accuracy": None, "seed": 0, "configuration": _without()}, "from 0 to 1"),
    "text": ({"test_accuracy": "0.5", "seed": 0, "configuration": _without()}, "from 0 to 1"),
    "seedless": ({"test_accuracy": 0.5, "configuration": _without()}, "has seed None"),
    "recipeless": (
        {"test_accuracy": 0.5, "seed": 0, "configuration": _without("recipe")},
        "has recipe",
    ),
    "rule": (
        {
            "test_accuracy": 0.5,
            "seed": 0,
            "configuration": {**_without(), "budget": {"steps": "3"}},
        },
        "has steps '3'",
    ),
    "huge": (
        {
            "test_accuracy": 0.5,
            "seed": 0,
            "configuration": {**_without(), "budget": {"crop": 10**400}},
        },
        "cannot be shown (OverflowError",
    ),
    "task": (
        {"test_accuracy": 0.5, "seed": 0, "configuration": {**_without(), "task": ["cifar10"]}},
        "has task",
    ),
}


def test_damaged_and_unfinished_runs_are_listed_as_left_out(tmp_path, capsys):
    make_run(tmp_path / "runs" / "good", "cifar10", 0.9)
    for name, (content, _) in DAMAGED.items():
        (tmp_path / "runs" / name).mkdir()
        content = json.dumps(content) if isinstance(content, dict) else content
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "runs" / name / "metrics.json").write_bytes(content)
    (tmp_path / "runs" / "open").mkdir()
    (tmp_path / "runs" / "open" / "config.json").write_text("{}")
    page, markdown = made([tmp_path / "runs"], tmp_path)
    assert rows(page)["CIFAR-10"]["this run"] == "90.00 (n=1)"
    listed = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    for name, (_, reason) in {**DAMAGED, "open": ("", "unfinished")}.items():
        assert reason in listed[str(tmp_path / "runs" / name)]
        assert name in markdown
    assert "unfinished" in capsys.readouterr().out


def test_html_and_markdown_in_names_are_escaped(tmp_path):
    name = "<script src='http://evil.example/x.js'></script>&amp;|`*a*`"
    folder = tmp_path / "runs" / "a&b <i>"
    make_run(folder, f"folder:{name}", 0.9, model=name, weights=f"{name}.npz")
    make_run(tmp_path / "runs" / "c", "cifar10", 0.9, model=name)
    page, markdown = made([tmp_path / "runs"], tmp_path)
    assert f"folder:{name}" in [cell for table in page.tables for row in table for cell in row]
    assert any(str(folder) in text for text in page.texts)
    assert any(name in image["alt"] for image in page.images)
    text = (tmp_path / "report" / "report.html").read_text()
    assert "<script" not in text
    assert "<i>" not in text
    assert r"\<script src='http://evil.example/x.js'\>" in markdown
    for line in markdown.splitlines():
        assert not re.search(r"(?<!\\)[<&]", line)
        if line.startswith("| finetune"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 9


def test_the_page_loads_nothing_from_elsewhere(tmp_path):
    make_vtab(tmp_path / "runs" / "vtab", keys=["dmlab"])
    study = write_run(
        tmp_path / "runs" / "curve",
        {"command": "fewshot", "method": "linear probe", "model": "m", "task": "digits"},
        test_accuracy=0.25,
        seed=[0, 1],
    )
    (study / "fewshot.png").write_bytes(png((255, 0, 0)))
    (tmp_path / "runs" / "vtab" / "dmlab" / "learning_curve.png").write_bytes(png((1, 2, 3)))
    page, _ = made([tmp_path / "runs"], tmp_path)
    # No attribute that would fetch anything holds anything but data; none runs anything.
    for name, value in page.attributes:
        if name in ("src", "href", "srcset", "data", "poster", "action", "background"):
            assert value.startswith("data:image/png;base64,")
        assert not name.startswith("on")
    text = (tmp_path / "report" / "report.html").read_text()
    assert "http:" not in text
    assert "https:" not in text
    assert not re.search(r"url\(|@import|<script|<link|<iframe", text)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in text
    pictures = [base64.b64decode(image["src"].partition(",")[2]) for image in page.images]
    assert png((255, 0, 0)) in pictures
    assert png((1, 2, 3)) in pictures
    assert len(pictures) == 3  # and the bars
    assert all(image["alt"] for image in page.images)


def test_other_runs_have_a_table_of_their_own(tmp_path):
    for seed, accuracy in enumerate((0.5, 0.75)):
        make_run(tmp_path / "runs" / f"d{seed}", "digits", accuracy, seed=seed)
    evaluation = {"command": "evaluate", "model": "m", "weights": "saved", "task": "cifar10"}
    write_run(tmp_path / "runs" / "e", evaluation, test_accuracy=0.6, seed=None)
    study = {"command": "fewshot", "model": "m", "weights": "upstream", "task": "digits"}
    study["method"] = "linear probe"
    write_run(tmp_path / "runs" / "f", study, test_accuracy=0.25, seed=[0, 1])
    study = {"command": "vtab", "model": "m", "weights": "upstream", "task": "vtab"}
    write_run(tmp_path / "runs" / "v", study, test_accuracy=None, seed=[0, 1])
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert all(row["this run"] == "not run" for row in rows(page).values())
    _, *others = page.tables[1]
    assert others == [
        ["evaluate", "cifar10", "m", "saved", "", "", "", "60.00 (n=1)"],
        ["fewshot", "digits", "m", "upstream", "linear probe", "", "0, 1", "25.00"],
        ["finetune", "digits", "BiT-M-R50x1", "upstream", "paper recipe", "", "0, 1",
         "62.50 ± 17.68 (n=2)"],
        ["vtab", "vtab", "m", "upstream", "", "", "0, 1", ""],
    ]  # fmt: skip
    assert ["keras 3.15.1, python 3.11.2", "5"] in page.tables[-1]


def test_the_same_runs_give_the_same_files(tmp_path):
    make_vtab(tmp_path / "runs" / "vtab", seed=1)
    make_run(tmp_path / "runs" / "b", "cifar10", 0.9)
    make_run(tmp_path / "runs" / "a", "cifar10", 0.9, model="BiT-S-R50x1")
    made([tmp_path / "runs"], tmp_path, "first")
    shutil.copytree(tmp_path / "runs", tmp_path / "copy")
    shutil.rmtree(tmp_path / "runs")
    shutil.move(tmp_path / "copy", tmp_path / "runs")
    made([tmp_path / "runs"], tmp_path, "second")
    for name in ("report.md", "report.html"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_file_that_is_no_png_is_left_out(tmp_path):
    run = make_run(tmp_path / "runs" / "a", "cifar10", 0.9)
    (run / "learning_curve.png").write_bytes(b"<svg onload=alert(1)>")
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert page.images == []


def test_a_hundred_runs_have_a_hundred_pictures(tmp_path):
    for seed in range(100):
        make_run(tmp_path / "runs" / f"{seed:03}", "cifar10", 0.9, seed=seed)
    page, _ = made([tmp_path / "runs"], tmp_path)
    assert rows(page)["CIFAR-10"]["this run"] == "90.00 ± 0.00 (n=100)"
    assert len(page.images) == 100
    assert ("open", None) not in page.attributes  # one folded line for each


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "one", "cifar10", 0.9)
    make_run(tmp_path / "two", "cifar100", 0.8)
    assert main(["report", "one", "two"]) == 0
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert rows(page)["CIFAR-100"]["this run"] == "80.00 (n=1)"
    assert main(["report", "one", "--output_dir=other"]) == 0
    assert (tmp_path / "other" / "report.md").exists()
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for arguments, message in {
        (): "report needs the argument RUNS...",
        ("nowhere",): "There is no directory nowhere",
        ("file",): "There is no directory file",
        ("empty",): "There is no finished run in empty",
        ("one", "--output_dir=file"): "cannot be written",
    }.items():
        capsys.readouterr()
        assert main(["report", *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_finetune_made(tmp_path):
    run = bit_keras.finetune(
        "R14x0.5",
        "digits",
        budget={"steps": 1, "batch_size": 2},
        output_dir=tmp_path / "runs" / "mine",
        verbose=False,
    )
    page, _ = made([tmp_path / "runs"], tmp_path)
    ((_, *row),) = page.tables[1][1:]
    rule = "from scratch recipe, steps 1, batch_size 2"
    accuracy = f"{100 * run.metrics['test_accuracy']:.2f} (n=1)"
    assert row == ["digits", "R14x0.5", "random", rule, "", "0", accuracy]
    (image,) = page.images
    curve = (run.output_dir / "learning_curve.png").read_bytes()
    assert base64.b64decode(image["src"].partition(",")[2]) == curve


def test_two_studies_of_one_configuration_are_two_rows(tmp_path):
    asked = {**configuration("vtab"), "command": "vtab"}
    for name, seeds, accuracy in (("a", [0], 0.7012), ("b", [1], 0.7155), ("c", [1], 0.68)):
        write_run(tmp_path / "runs" / name, asked, test_accuracy=accuracy, seed=seeds)
    page, _ = made([tmp_path / "runs"], tmp_path)
    for percent in ("70.12", "71.55", "68.00"):
        assert percent in page.texts
