"""An agent from one line of text, for command lines and settings."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from turngym.errors import ConfigError, DataError, closest
from turngym.types import Agent

__all__ = ["KINDS", "load_agent", "load_agents", "load_model"]


def load_agent(spec: str, *, deterministic: bool = False) -> Agent:
    """The agent that `spec` names.

    | spec | agent |
    | --- | --- |
    | `random` | a random tool call, or a random line of the newest message |
    | `random:yes\\|no` | one of the given replies |
    | `tiny:web_shop` | a bundled tiny policy |
    | `hf:PATH` | a Hugging Face model, by folder or name |
    | `http://localhost:8000/v1#MODEL` | an OpenAI-compatible endpoint |
    | `replay:FILE` | the trajectories or the recorded completions of a file |
    | `record:FILE:SPEC` | any of these, every completion kept in FILE and reused |

    An endpoint's key is read from `TURNGYM_API_KEY` (`OPENAI_API_KEY` for api.openai.com only), or
    from the variable named in the address: `https://host/v1?key=HOST_KEY#MODEL`.

    Args:
        spec: as in the table.
        deterministic: for models that run here: same batches, same bits, at the price of waiting.

    Raises:
        ConfigError: no such kind of agent, or something is wrong with what follows it.
    """
    kind, _, rest = spec.partition(":")
    if kind not in KINDS:
        known = ", ".join(sorted(KINDS))
        raise ConfigError(f"unknown agent {spec!r}.{closest(kind, KINDS)} Known kinds: {known}.")
    return KINDS[kind](spec if kind in ("http", "https") else rest, deterministic)


@functools.cache
def _shared(spec: str) -> Agent:
    return load_agent(spec)


def load_agents(specs: Mapping[str, str]) -> dict[str, Agent]:
    """The agents that an environment talks to, by the name of its setting.

    One spec is one agent in all environments of a process, so that they share its connections.

    Raises:
        ConfigError: a spec that `load_agent` refuses; names the setting.
    """
    found = {}
    for name, spec in specs.items():
        try:
            found[name] = _shared(spec)
        except ConfigError as error:
            raise ConfigError(f"agents.{name}: {error}") from error
    return found


def load_model(source: str, attention: str = "sdpa") -> tuple[Any, Any]:
    """Model and tokenizer: `tiny:NAME`, or the folder or name of a Hugging Face model.

    Raises:
        ConfigError: nothing can be loaded from there.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    from turngym.agents.tiny import load_tiny

    disable_progress_bar()  # our own reports say what takes long
    if source.startswith("tiny:"):
        return load_tiny(source.removeprefix("tiny:"))
    if "/" in source and source.startswith((".", "/", "~")) and not Path(source).is_dir():
        raise ConfigError(f"there is no model folder {source}")
    try:
        model = AutoModelForCausalLM.from_pretrained(source, attn_implementation=attention)
        return model, AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, SafetensorError) as error:
        raise ConfigError(f"cannot load a model from {source!r}: {error}") from error


def _random(rest: str, _: bool) -> Agent:
    from turngym.agents.scripted import RandomAgent

    return RandomAgent(rest.split("|") if rest else None)


def _tiny(rest: str, deterministic: bool) -> Agent:
    return _hf(f"tiny:{rest}", deterministic)


def _hf(rest: str, deterministic: bool) -> Agent:
    import torch

    from turngym.agents.hf import HFAgent

    model, tokenizer = load_model(rest)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return HFAgent(model.to(device), tokenizer, deterministic=deterministic)


def _http(spec: str, _: bool) -> Agent:
    from turngym.agents.http import HTTPAgent

    parts = urlsplit(spec)
    if not parts.netloc or not parts.fragment:
        raise ConfigError(
            f"an endpoint looks like http://localhost:8000/v1#MODEL (the model as the server calls "
            f"it), got {spec!r}"
        )
    query = parse_qs(parts.query)
    named = query.pop("key", [None])[0]
    if query:
        raise ConfigError(f"{spec!r}: only ?key=VARIABLE is known, got {', '.join(query)}")
    if named is not None and named not in os.environ:
        raise ConfigError(f"{spec!r}: the environment variable {named} is not set")
    # Keys of one provider must not travel to another.
    default = "OPENAI_API_KEY" if parts.hostname == "api.openai.com" else "TURNGYM_API_KEY"
    base_url = urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))
    return HTTPAgent(base_url, parts.fragment, api_key=os.environ.get(named or default))


def _replay(rest: str, _: bool) -> Agent:
    from turngym.agents.cache import CacheAgent, is_cache
    from turngym.agents.replay import RecordedAgent
    from turngym.serial import read_jsonl

    if not Path(rest).is_file():
        raise DataError(f"replay:FILE: there is no file {rest!r}")
    return CacheAgent(rest) if is_cache(rest) else RecordedAgent(read_jsonl(rest))


def _record(rest: str, deterministic: bool) -> Agent:
    from turngym.agents.cache import CacheAgent

    path, _, spec = rest.partition(":")
    if not path or not spec:
        raise ConfigError(f"recording looks like record:FILE:AGENT, got 'record:{rest}'")
    return CacheAgent(path, load_agent(spec, deterministic=deterministic))


KINDS: Mapping[str, Callable[[str, bool], Agent]] = {
    "hf": _hf,
    "http": _http,
    "https": _http,
    "random": _random,
    "record": _record,
    "replay": _replay,
    "tiny": _tiny,
}
"""What may stand before the first colon of a spec."""
