"""The examples run, and all public names can be imported."""

import runpy
from pathlib import Path

import pytest

import condgen

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(path), run_name="__main__")
    assert "%" in capsys.readouterr().out


def test_every_public_name_is_there() -> None:
    assert sorted(condgen.HOMES) == sorted(condgen.__all__) == dir(condgen)
    for name in condgen.__all__:
        assert getattr(condgen, name).__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'condgen' has no attribute 'Flow'"):
        condgen.Flow  # noqa: B018
