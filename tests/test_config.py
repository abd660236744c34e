"""Settings: TOML, overrides, and errors that name the key and the closest match."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, field_validator

from turngym.config import Config, apply_overrides, config_hash, load_config, parse
from turngym.errors import ConfigError


class Grpo(Config):
    name: Literal["grpo"] = "grpo"
    gamma: float = 1.0


class Mapo(Config):
    name: Literal["mapo"] = "mapo"
    alpha: float = Field(default=0.5, ge=0, le=1)


class Stage(Config):
    steps: int
    rate: float = 1e-3


class Run(Config):
    title: str = "run"
    seed: int = 0
    credit: Annotated[Grpo | Mapo, Field(discriminator="name")] = Grpo()
    either: Grpo | Stage | None = None
    stage: Stage | None = None
    stages: tuple[Stage, ...] = ()
    by_name: dict[str, Stage] = {}
    splits: tuple[str, ...] = ("train",)
    mode: Literal["fast", "exact"] = "fast"
    base: Config = Config()

    @field_validator("seed")
    @classmethod
    def _not_13(cls, value):
        if value == 13:
            raise ValueError("13 brings bad luck")
        return value


def message(data):
    with pytest.raises(ConfigError) as caught:
        parse(Run, data, source="run.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"titel": "x"}, "unknown key 'titel'. Did you mean 'title'?"),
        ({"stage": {"steps": 1, "rat": 2}}, "unknown key 'stage.rat'. Did you mean 'rate'?"),
        (
            {"stages": [{"steps": 1}, {"stps": 1, "steps": 1}]},
            "'stages.1.stps'. Did you mean 'steps'",
        ),
        ({"by_name": {"warm": {"steps": 1, "rat": 1}}}, "Did you mean 'rate'"),
        ({"credit": {"name": "mapo", "alfa": 1}}, "'credit.alfa'. Did you mean 'alpha'?"),
        (
            {"credit": {"name": "gpro"}},
            "unknown credit.name 'gpro'. Did you mean 'grpo'? Known: grpo, mapo.",
        ),
        ({"either": {"gama": 1}}, "unknown key 'either.gama'. Did you mean 'gamma'?"),
        ({"mode": "exat"}, "Did you mean 'exact'?"),
    ],
)
def test_a_misspelt_key_or_choice_gets_the_closest_match(data, words):
    assert words in message(data)


def test_known_keys_are_those_of_the_chosen_variant_only():
    text = message({"credit": {"name": "mapo", "gamma": 1}})
    assert "unknown key 'credit.gamma'" in text and "Known: alpha, name." in text


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"stage": {}}, "stage.steps is missing"),
        ({"seed": "many"}, "seed: Input should be a valid integer"),
        ({"seed": 13}, "seed: 13 brings bad luck (got 13)"),
        (
            {"credit": {"name": "mapo", "alpha": 2}},
            "credit.alpha: Input should be less than or equal to 1",
        ),
        ({"splits": "train"}, "splits: Input should be a valid tuple (got 'train')"),
        ({"title": ["x" * 500]}, "xxx"),
    ],
)
def test_a_wrong_value_is_named_with_what_came(data, words):
    text = message(data)
    assert words in text and len(text) < 250


def test_one_error_lists_every_fault_and_the_file():
    text = message({"titel": 1, "seed": "x", "stage": {}})
    assert text.startswith("run.toml: ") and text.count(";") == 2


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=3", 3),
        ("seed=-1e-3", -1e-3),
        ("seed=true", True),
        ("seed=[1, 'a']", [1, "a"]),
        ("seed={a = 1}", {"a": 1}),
        ("seed=bare words", "bare words"),
        ("seed=/tmp/a b.json", "/tmp/a b.json"),
        ('seed="3"', "3"),
        ("seed=a=b", "a=b"),
        ("seed=", ""),
        ("seed=2026-01-31", "2026-01-31"),
        ("seed=1\nother = 2", "1\nother = 2"),
        (" seed = 3 ", 3),
    ],
)
def test_override_values_are_toml_and_bare_words_are_text(override, expected):
    result = apply_overrides({}, [override])
    assert result == {"seed": expected} and type(result["seed"]) is type(expected)


def test_overrides_reach_into_tables_make_them_and_leave_the_input_alone():
    data = {"credit": {"name": "mapo"}}
    result = apply_overrides(data, ["credit.alpha=0.1", "stage.steps=2", "credit.alpha=0.2"])
    assert result == {"credit": {"name": "mapo", "alpha": 0.2}, "stage": {"steps": 2}}
    assert data == {"credit": {"name": "mapo"}}


@pytest.mark.parametrize("override", ["seed", "=3", "title.x=1", ""])
def test_a_malformed_override_is_refused(override):
    with pytest.raises(ConfigError):
        apply_overrides({"title": "plain"}, [override])


def test_settings_come_from_a_file_with_overrides_on_top(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text('title = "é"\nsplits = ["a", "b"]\n[credit]\nname = "mapo"\nalpha = 0.25\n')
    run = load_config(Run, path, ["credit.alpha=1", "title=7"])
    assert (run.title, run.splits, run.credit) == ("7", ("a", "b"), Mapo(alpha=1.0))


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"seed = ", "not valid TOML"), (b"\xff\xfe", "not UTF-8"), (None, "cannot read")],
)
def test_an_unreadable_file_is_named(content, words, tmp_path):
    path = tmp_path / "run.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load_config(Run, path)
    assert "run.toml" in str(caught.value)


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Run().seed = 1  # type: ignore[misc]


def test_the_hash_changes_with_every_setting_also_behind_a_base_class():
    runs = [Run(), Run(seed=1), Run(credit=Mapo()), Run(base=Grpo()), Run(base=Grpo(gamma=0.5))]
    assert len({config_hash(run) for run in runs}) == len(runs)
    assert config_hash(Run()) == config_hash(Run())
