"""Names: registries of parts, environment ids, plugins of other distributions."""

import sys
import textwrap
import warnings

import gymnasium
import pytest

import turngym
from guess import Guess
from turngym.envs.registry import describe, ids
from turngym.errors import ConfigError, UnknownNameError
from turngym.registry import Registry, load_object


@pytest.fixture
def clean():
    """Environment ids and modules as they were before the test."""
    before, modules = dict(gymnasium.registry), set(sys.modules)
    yield
    gymnasium.registry.clear()
    gymnasium.registry.update(before)
    for name in set(sys.modules) - modules:
        del sys.modules[name]


# --- registries of parts --------------------------------------------------------------------------


def test_an_import_path_is_loaded_at_the_first_look_up_only():
    parts = Registry("part")
    parts.add("digest", "turngym.envs.canonical:digest")
    parts.add("broken", "no_such_module:x")
    assert parts["digest"]("a") == load_object("turngym.envs.canonical:digest")("a")
    assert list(parts) == ["broken", "digest"] and "broken" in parts and len(parts) == 2
    with pytest.raises(ModuleNotFoundError):  # the real cause, not "unknown name"
        parts["broken"]


def test_names_are_bound_once_and_unknown_ones_get_the_closest():
    parts = Registry("loss")
    parts.add("clip", 1)
    parts.add("clip", 1)
    with pytest.raises(ValueError, match="loss 'clip' is already registered"):
        parts.add("clip", 2)
    with pytest.raises(UnknownNameError, match=r"unknown loss 'clp'\. Did you mean 'clip'\?"):
        parts["clp"]


@pytest.mark.parametrize("path", ["turngym", "turngym:", ":call", ""])
def test_an_import_path_without_both_halves_is_refused(path):
    with pytest.raises(ValueError, match="looks like"):
        load_object(path)


# --- environment ids ------------------------------------------------------------------------------


def test_registering_again_replaces_the_settings_and_another_class_is_refused(clean):
    turngym.register("tests/R-v0", Guess, max_turns=3)
    turngym.register("tests/R-v0", Guess, max_turns=4)
    assert turngym.make("tests/R-v0").max_turns == 4
    assert turngym.make("tests/R-v0", max_turns=5).max_turns == 5
    with pytest.raises(ValueError, match="already registered as guess:Guess"):
        turngym.register("tests/R-v0", "somewhere:Else")


def test_a_class_that_is_no_text_env_is_refused_at_registration_and_when_made(clean):
    with pytest.raises(TypeError, match="not a subclass"):
        turngym.register("tests/Int-v0", int)  # type: ignore[arg-type]
    turngym.register("tests/Other-v0", "turngym.registry:Registry", kind="part")
    with pytest.raises(TypeError, match="made a Registry"):
        turngym.make("tests/Other-v0")


def test_an_unknown_setting_names_the_closest(clean):
    turngym.register("tests/R-v0", Guess)
    with pytest.raises(ConfigError, match="no setting 'max_turn'. Did you mean 'max_turns'"):
        turngym.make("tests/R-v0", max_turn=3)


def test_ids_hold_text_environments_only_also_those_registered_with_gymnasium(clean):
    gymnasium.register("tests/Direct-v0", Guess)
    found = ids()
    assert "tests/Direct-v0" in found and "turngym/WebShop-v0" in found
    assert not any(name.startswith("CartPole") for name in found)


def test_a_class_that_cannot_be_imported_is_described_as_such(clean):
    turngym.register("tests/Gone-v0", "no_such_module:Env")
    (row,) = [row for row in describe() if row.id == "tests/Gone-v0"]
    assert "cannot be imported" in row.summary


def test_make_imports_the_module_that_the_id_names(clean, tmp_path, monkeypatch):
    (tmp_path / "my_envs.py").write_text(
        "import turngym, guess\nturngym.register('tests/Mine-v0', guess.Guess)\n"
    )
    (tmp_path / "half_envs.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(turngym.make("my_envs:tests/Mine-v0"), Guess)
    with pytest.raises(ConfigError, match="no Python module 'your_envs'"):
        turngym.make("your_envs:tests/Mine-v0")
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        turngym.make("half_envs:tests/Mine-v0")


# --- plugins --------------------------------------------------------------------------------------


def distribution(folder, name, code, value):
    """An installed distribution with one turngym.envs entry point."""
    (folder / f"{name}.py").write_text(textwrap.dedent(code))
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[turngym.envs]\n{name} = {value}\n")


def test_plugins_are_loaded_on_a_miss_and_a_broken_one_only_warns(clean, tmp_path, monkeypatch):
    distribution(
        tmp_path,
        "aa_broken_plugin",
        "raise RuntimeError('half installed')",
        "aa_broken_plugin:register_envs",
    )
    distribution(
        tmp_path,
        "good_plugin",
        """
        import guess, turngym
        def register_envs():
            turngym.register("good/Guess-v0", guess.Guess, max_turns=2)
        """,
        "good_plugin:register_envs",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert "good_plugin" not in sys.modules
    with pytest.warns(UserWarning, match=r"'aa_broken_plugin'.*RuntimeError: half installed"):
        env = turngym.make("good/Guess-v0")
    assert env.max_turns == 2


def test_known_ids_never_load_a_plugin(clean, tmp_path, monkeypatch):
    distribution(tmp_path, "idle_plugin", "raise RuntimeError", "idle_plugin:x")
    monkeypatch.syspath_prepend(tmp_path)
    turngym.register("tests/R-v0", Guess)
    turngym.make("tests/R-v0")
    assert "idle_plugin" not in sys.modules


def test_a_plugin_may_be_a_module_and_runs_once(clean, tmp_path, monkeypatch):
    distribution(
        tmp_path,
        "module_plugin",
        "import guess, turngym; turngym.register('module/Guess-v0', guess.Guess)",
        "module_plugin",
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert isinstance(turngym.make("module/Guess-v0"), Guess)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnknownNameError, match="module/Guess-v0"):
            turngym.make("module/Gess-v0")
