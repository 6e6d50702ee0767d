"""Studies of several runs are refused under several workers, before the task is read."""

import pytest

import bit_keras
from bit_keras.experiments.seeds import finetune_seeds
from bit_keras.experiments.vtab import vtab
from bit_keras.training import workers

STUDIES = {
    "fewshot": lambda path: bit_keras.fewshot("R14x0.5", "digits", output_dir=path),
    "seeds": lambda path: finetune_seeds("R14x0.5", "digits", seeds=[0, 1], output_dir=path),
    "vtab": lambda path: vtab("R14x0.5", output_dir=path, pretrained=False),
}


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
def test_several_workers(study, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "are_several", lambda strategy: True)
    with pytest.raises(ValueError, match="cannot be made under several workers"):
        study(tmp_path / "study")
    assert not list(tmp_path.iterdir())
