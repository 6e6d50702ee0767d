"""Writes the web pages of published modules: one page for each module, and the index."""

import html
import json
import re
from pathlib import Path

import jinja2

from export.placing import place_text
from export.site import read_records

_OUTPUTS = {
    "logits": "Logits, `[batch, {classes}]`, float32.",
    "probabilities": "Probabilities, `[batch, {classes}]`, float32.",
    "features": "Features, `[batch, channels]`, float32.",
    "feature_map": "A map of features, `[batch, height, width, channels]`, float32.",
}

# The height and width in pixels of the images with which upstream models were trained.
_EXAMPLE_SIZE = 224


def write_pages(site: Path) -> None:
    """Writes the page of each module, index.html and index.json, if their content has changed.

    The pages depend only on the records, so the same modules always have the same pages.
    """
    records = read_records(site)
    for record in records:
        place_text(site, site / "docs" / f"{record['handle']}.md", module_page(record))
    page = _templates().get_template("index.html.jinja").render(records=records)
    place_text(site, site / "index.html", page)
    place_text(site, site / "index.json", _index(records))


def module_page(record: dict) -> str:
    """Returns the web page of a module as Markdown text."""
    description = record["description"]
    low, high = (f"{value:g}" for value in description["input_range"])
    height, width, _ = sides = description["input_shape"]
    versions = description["versions"]
    return (
        _templates()
        .get_template("module.md.jinja")
        .render(
            record=record,
            title=_title(description),
            source=_source(record["source"]),
            accuracy=_accuracy(record["ilsvrc2012_top1"]),
            versions=", ".join(f"{name} {version}" for name, version in versions.items()),
            input_shape=f"[batch, {height or 'height'}, {width or 'width'}, 3]",
            low=low,
            high=high,
            conversion="divided by 255" if (low, high) == ("0", "1") else "scaled to it",
            free=height is None and width is None,
            output=_OUTPUTS[description["output"]].format(classes=description["classes"]),
            size=description["serving_bytes_size"],
            example_size=(height or _EXAMPLE_SIZE, width or _EXAMPLE_SIZE),
            keras_shape=", ".join(map(str, sides)),
        )
    )


def _title(description: dict) -> str:
    classes = description["classes"]
    what = f"image classification, {classes} classes" if classes else "image features"
    return f"Big Transfer (arXiv 1912.11370), {what}: a reusable TF2 SavedModel."


def _source(source: dict) -> str:
    """Returns a Markdown text that says where a module's weights come from."""
    file = _code(source["file"])
    if source["published"]:
        return f"{file} of the official release (google-research/big_transfer)"
    return f"{file}{' for ' + _text(source['model']) if source['model'] else ''}"


def _accuracy(accuracy: dict | None) -> str | None:
    said = "{percent} %, reported by: {reported_by}; not measured here"
    return accuracy and said.format(**accuracy)


def _index(records: list[dict]) -> str:
    modules = [
        {
            "handle": record["handle"],
            "output": record["description"]["output"],
            "classes": record["description"]["classes"],
            "input_range": record["description"]["input_range"],
            "module": f"modules/{record['handle']}",
            "archive": {"path": f"http/{record['handle']}", **record["archive"]},
            "page": f"docs/{record['handle']}.md",
            "record": f"docs/{record['handle']}.json",
            "source": record["source"],
            "licence": record["licence"],
        }
        for record in records
    ]
    return json.dumps({"modules": modules}, indent=2) + "\n"


# Characters that have a special meaning inside a line of Markdown.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~]")


def _text(text: str) -> str:
    r"""Returns a text on one line, escaped so that Markdown shows it unchanged, also in a table.

    Some renderers know no backslash before < and >, which become entities of HTML.

    >>> print(_text("a_b <i>"))
    a\_b &lt;i&gt;
    """
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(" ".join(text.split()), quote=False))


def _code(text: str) -> str:
    r"""Returns a text that Markdown shows as code, also in a table.

    Between backticks, a backslash before a bar would end the cell, so a tag of HTML is used.

    >>> print(_code("a`b"))
    <code>a\`b</code>
    """
    return f"<code>{_text(text)}</code>"


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name.endswith(".html.jinja"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["text"] = _text
    return environment
