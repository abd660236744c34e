"""The worked numbers once more, from the shared fixture where it lies beside the checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import worked as w
from turngym.trainers.credit import (
    A2tgpoConfig,
    MapoConfig,
    OprlConfig,
    SpaConfig,
    a2tgpo,
    gigpo,
    grpo,
    mapo,
    oprl,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
    spa,
)
from turngym.trainers.kernels.segment_norm import NormRule, segment_norm

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("TURNGYM_SHARED") or ROOT.parent / "shared")


@pytest.fixture(scope="module")
def fixture() -> dict[str, Any]:
    path = SHARED / "fixtures/worked_examples.json"
    if not path.exists():
        pytest.skip(f"{path} is not here; the same numbers are typed in above")
    data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return data


MAPO_COLUMNS = {
    "A_turn": w.TURN_ONLY,
    "A_group[prompt,reward]": {**w.WIDE_ONLY, **w.GROUP_REWARD},
    "A_group[batch,reward]": {**w.WIDE_ONLY, **w.BATCH_REWARD},
    "A_group[batch,return]": w.WIDE_ONLY,
    "A_mix[prompt,reward] .5/.5": w.GROUP_REWARD,
    "A_mix[batch,reward] .5/.5": w.BATCH_REWARD,
    "A_mix[batch,reward] turn.4/batch.6": {**w.BATCH_REWARD, "preset": "released"},
}


@pytest.mark.parametrize("gamma", ["1.0", "0.85"])
@pytest.mark.parametrize("name", MAPO_COLUMNS)
def test_mapo_fixture(fixture: dict[str, Any], gamma: str, name: str):
    settings: dict[str, Any] = {"gamma": float(gamma), **MAPO_COLUMNS[name]}
    rows = fixture["mapo"][f"gamma={gamma}"][name]
    w.check(mapo(w.emotional(), MapoConfig(**settings)), list(rows.values()))


def test_a2tgpo_fixture(fixture: dict[str, Any]):
    data = fixture["a2tgpo"]
    credit = a2tgpo(w.searching(), A2tgpoConfig())
    w.check(credit, list(data["A_alpha1"].values()))
    w.check(
        a2tgpo(w.searching(), A2tgpoConfig(preset="released")), list(data["A_alpha0.3"].values())
    )
    assert credit.clip_scale is not None
    w.check(credit.clip_scale, list(data["clip_scale"].values()))


def test_oprl_and_spa_fixture(fixture: dict[str, Any]):
    data = fixture["oprl"]
    w.check(oprl(w.shopping(), OprlConfig()), list(data["A ddof1"].values()))
    exact = OprlConfig(ddof=0, eps=0)
    w.check(oprl(w.shopping(), exact), list(data["A ddof0"].values()))
    steps = segment_norm(
        w.flat(w.STEP_REWARDS),
        torch.tensor([0] * 8 + [1] * 3),
        2,
        NormRule(ddof=1, eps=1e-6),
    )
    w.check(steps.values, list(data["A_S ddof1 all-steps"].values()))
    data = fixture["spa"]
    for gamma, name in (
        (0.0, "fused 1.0*c+0.5*g"),
        (1.0, "return gamma=1"),
        (0.99, "return gamma=.99"),
    ):
        settings: dict[str, Any] = {**w.RETURN, "gamma": gamma}
        w.check(spa(w.exploring(), SpaConfig(**settings)), list(data[name].values()))
    released: dict[str, Any] = {**w.RETURN, "gamma": 0.0, "preset": "released"}
    tokens = [row["token_reward(kl=0)"] for row in data["released-code variant"].values()]
    w.check(spa(w.exploring(), SpaConfig(**released)), tokens)


def test_baselines_fixture(fixture: dict[str, Any]):
    data = fixture["baselines"]
    methods = {
        "GRPO (ddof1, eps1e-6)": grpo,
        "RLOO": rloo,
        "REINFORCE++ (gamma=1, 2 tok/turn)": reinforce_pp,
        "REINFORCE++-baseline": reinforce_pp_baseline,
        "GiGPO mean_norm, gamma=.95, omega=1": gigpo,
    }
    for name, method in methods.items():
        w.check(method(w.worked()), list(data[name].values()))
