"""Names of class folders in the two forms of Unicode, of which macOS writes the other one."""

import pytest
from test_folder import make, paths

from bit_keras import task

# The first sorts behind "cafz" in the composed form of Unicode, and before it in the other one.
COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("of_training", "of_test"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)]
)
def test_classes_of_splits_are_matched_in_any_form_of_unicode(tmp_path, of_training, of_test):
    splits = {"train": of_training, "test": of_test}
    counts = {f"{split}/{cafe}": 2 for split, cafe in splits.items()}
    made = task(make(tmp_path, {**counts, "train/cafz": 1, "test/cafz": 1}))
    assert set(made.class_names) == {of_training, "cafz"}
    for examples in (made.train, made.test):
        for path, label in zip(paths(examples), examples.labels, strict=True):
            assert ("cafz" in path) == (made.class_names[label] == "cafz")


def test_two_folders_of_the_same_name_in_two_forms_of_unicode_are_refused(tmp_path):
    name = make(tmp_path, {COMPOSED: 2, DECOMPOSED: 2, "cafz": 2})
    with pytest.raises(ValueError, match=r"names look the same.*'cafe\\u0301', 'caf\\xe9'"):
        task(name)
