"""Every worked number of the credit methods, computed by hand from the papers' equations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import worked as w
from batches import Traj, make_batch
from turngym.trainers.credit import (
    A2tgpoConfig,
    GaeTokenConfig,
    GaeTurnConfig,
    GigpoConfig,
    GrpoConfig,
    IgpoConfig,
    MapoConfig,
    OprlConfig,
    ReinforcePpConfig,
    SpaConfig,
    a2tgpo,
    gae_token,
    gae_turn,
    gigpo,
    grpo,
    igpo,
    mapo,
    oprl,
    raft,
    reinforce_pp,
    reinforce_pp_baseline,
    rloo,
    spa,
)
from turngym.trainers.kernels.discounted_return import discounted_return
from turngym.trainers.kernels.gae import gae


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {"gamma": 1, **w.TURN_ONLY},
            ((1.224745, 1.224745, -1), (-1.224745, 0), (0, -1.224745, 1), (1, 0), (-1,)),
        ),
        (
            {"gamma": 1, **w.WIDE_ONLY, **w.GROUP_REWARD},
            (
                (0.192450, 1.732051, -1.347151),
                (-0.577350, 0.192450),
                (0.962250, -1.347151, 0.192450),
                (0.707107, 0.707107),
                (-1.414214,),
            ),
        ),
        (
            {"gamma": 1, "preset": "mica"},
            (
                (0.708597, 1.478398, -1.173575),
                (-0.901048, 0.096225),
                (0.481125, -1.285948, 0.596225),
                (0.853553, 0.353553),
                (-1.207107,),
            ),
        ),
        (
            {"gamma": 1, **w.WIDE_ONLY, **w.BATCH_REWARD},
            (
                (0.296500, 1.927248, -1.334249),
                (-0.518875, 0.296500),
                (1.111874, -1.334249, 0.296500),
                (0.296500, 0.296500),
                (-1.334249,),
            ),
        ),
        (
            {"gamma": 1, **w.BATCH_REWARD},
            (
                (0.760622, 1.575997, -1.167124),
                (-0.871810, 0.148250),
                (0.555937, -1.279497, 0.648250),
                (0.648250, 0.148250),
                (-1.167124,),
            ),
        ),
        (
            {"gamma": 1, "preset": "released", **w.BATCH_REWARD},
            (
                (0.667798, 1.646247, -1.200549),
                (-0.801223, 0.177900),
                (0.667124, -1.290447, 0.577900),
                (0.577900, 0.177900),
                (-1.200549,),
            ),
        ),
        (
            {"gamma": 1, **w.WIDE_ONLY},
            (
                (1.658312, 0.829156, -1.658312),
                (0, 0),
                (0.829156, -0.829156, 0),
                (0.829156, 0),
                (-1.658312,),
            ),
        ),
        (
            {**w.TURN_ONLY},
            ((1.210575, 1.224745, -1), (-1.238440, 0), (0.027865, -1.224745, 1), (1, 0), (-1,)),
        ),
        (
            {**w.WIDE_ONLY},
            (
                (1.587617, 1.016106, -1.641107),
                (-0.080522, 0.046012),
                (0.782018, -0.924081, 0.046012),
                (0.763038, 0.046012),
                (-1.641107,),
            ),
        ),
        (
            {"preset": "mica"},
            (
                (0.701512, 1.478398, -1.173575),
                (-0.907895, 0.096225),
                (0.495058, -1.285948, 0.596225),
                (0.853553, 0.353553),
                (-1.207107,),
            ),
        ),
        # The default: half of the turn term and half of the batch-return term above.
        (
            {},
            (
                (1.399096, 1.1204255, -1.3205535),
                (-0.659481, 0.023006),
                (0.4049415, -1.074413, 0.523006),
                (0.881519, 0.023006),
                (-1.3205535,),
            ),
        ),
    ],
)
def test_mapo(settings: dict[str, Any], expected: w.Rows):
    w.check(mapo(w.emotional(), MapoConfig(**settings)), expected)


@pytest.mark.parametrize(
    ("gamma", "expected"),
    [
        (1.0, ((3, 2, -1), (1, 1), (2, 0, 1), (2, 1), (-1,))),
        (0.85, ((2.8275, 2.15, -1), (0.85, 1), (1.8725, -0.15, 1), (1.85, 1), (-1,))),
    ],
)
def test_mapo_returns(gamma: float, expected: w.Rows):
    batch = w.emotional()
    w.check(discounted_return(batch.turn_rewards, batch.traj_of_turn, gamma), expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            (
                (0.866025, -0.292893, 0.707107),
                (-1.414214, -1.414214),
                (0.548188, 1.707107, 0.707107),
                (1, 1),
                (-1,),
            ),
        ),
        (
            {"preset": "released"},
            (
                (0.754782, 0.407107, 0.707107),
                (-1.414214, -1.414214),
                (0.659431, 1.007107, 0.707107),
                (1, 1),
                (-1,),
            ),
        ),
    ],
)
def test_a2tgpo(settings: dict[str, Any], expected: w.Rows):
    credit = a2tgpo(w.searching(), A2tgpoConfig(**settings))
    w.check(credit, expected)
    assert credit.clip_scale is not None
    scale = ((1.163738, 0.861365, 1), (1, 1), (0.836262, 1.138635, 1), (1, 1), (1,))
    w.check(credit.clip_scale, scale)
    # One gain stands alone at (p1, turn 1); no outcome does.
    assert float(credit.metrics["gain_singletons"]) == 1
    assert float(credit.metrics["group_singletons"]) == 0


def test_a2tgpo_terms():
    """D / sqrt(n) alone: the advantage less the normalised outcome."""
    credit = a2tgpo(w.searching(), A2tgpoConfig())
    outcome = w.flat((0.707107, -1.414214, 0.707107, 1, -1))
    expected = ((0.158919, -1, 0), (0, 0), (-0.158919, 1, 0), (0, 0), (0,))
    w.check(credit.turn - outcome, expected)


def test_igpo():
    """Gains of p0 (.3, .1, .1, -.1, .4): mean .16, population deviation .174356; p1 has one."""
    gains = ((0.802955, -0.344124), (-0.344124,), (-1.491203, 1.376495), (0,), ())
    outcome = (0.707107, -1.414214, 0.707107, 1, -1)
    expected = [
        [sum(row[t:]) + outcome[i] for t in range(w.LENGTHS[i])] for i, row in enumerate(gains)
    ]
    w.check(igpo(w.searching(), IgpoConfig(eps=0, eps_inside=0)), expected)


def test_igpo_joint():
    """p1: gain .2 with outcomes 0 and -1: mean -.266667, population deviation .524934."""
    credit = igpo(w.searching(), IgpoConfig(norm="joint"))
    gain, zero, minus = 0.889001, 0.508001, -1.397001
    assert credit.turn[8:].tolist() == pytest.approx([gain + zero, zero, minus], abs=1e-5)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {},
            (
                (1.899217, 2.982152, 0.816281),
                (-1.457234, -0.374299),
                (-0.915767, -1.998702, -0.374299),
                (0.839558, 1.634271),
                (-1.766723,),
            ),
        ),
        ({"alpha": 0}, (1.154699, -0.577349, -0.577349, 0.707106, -0.707106)),
        (
            {"ddof": 0, "eps": 0},
            (
                (2.210146, 3.367865, 1.052426),
                (-1.647754, -0.490034),
                (-1.068894, -2.226613, -0.490034),
                (1.162221, 2.135550),
                (-2.297771,),
            ),
        ),
        (
            {"preset": "released", "normalize": "leave_one_out"},
            (
                (1.125, 1.275, 0.975),
                (-0.6, -0.45),
                (-0.525, -0.675, -0.45),
                (1.15, 1.35),
                (-1.15,),
            ),
        ),
        # First rows .1, -.05, 0 have mean .016667, those of p1 -.025; the outcome less 1/3 or 1/2.
        (
            {"preset": "released"},
            (
                (0.75, 0.85, 0.65),
                (-0.4, -0.3),
                (-0.35, -0.45, -0.3),
                (0.575, 0.675),
                (-0.575,),
            ),
        ),
    ],
)
def test_oprl(settings: dict[str, Any], expected: w.Rows):
    w.check(oprl(w.shopping(), OprlConfig(**settings)), expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (
            {**w.RETURN, "gamma": 0},
            ((0.7, 0.3, 0.9), (0.6, 0.5), (0, 0.6, 0.6), (1.0, 1.1), (0.2,)),
        ),
        (
            {**w.RETURN, "gamma": 1},
            ((1.9, 1.2, 0.9), (1.1, 0.5), (1.2, 1.2, 0.6), (2.1, 1.1), (0.2,)),
        ),
        (
            {**w.RETURN},
            ((1.87909, 1.191, 0.9), (1.095, 0.5), (1.18206, 1.194, 0.6), (2.089, 1.1), (0.2,)),
        ),
        (
            {**w.RETURN, "gamma": 0, "preset": "released"},
            ((2.5, 0.75, 0), (-0.25, 0), (0, 0.5, 0), (1.5, 0), (0,)),
        ),
    ],
)
def test_spa(settings: dict[str, Any], expected: w.Rows):
    w.check(spa(w.exploring(), SpaConfig(**settings)), expected)


def test_spa_with_a_critic():
    batch = w.worked(
        w.PROGRESS_OUTCOME,
        progress=w.PROGRESS,
        grounding=w.GROUNDING,
        values=((0.5, 0.4, 0.3), (0, 0), (0, 0, 0), (0, 0), (0,)),
    )
    credit = spa(batch, SpaConfig(whiten=False))
    assert credit.turn[:3].tolist() == pytest.approx([1.312003, 0.761300, 0.6], abs=1e-5)
    assert credit.returns is not None
    assert credit.returns[:3].tolist() == pytest.approx([1.812003, 1.161300, 0.9], abs=1e-5)


def test_baselines_on_the_success_vector():
    batch = w.worked()
    w.check(grpo(batch), (1.154699, -0.577349, -0.577349, 0.707106, -0.707106))
    centred = GrpoConfig(preset="dr_grpo")
    w.check(grpo(batch, centred), (0.666667, -0.333333, -0.333333, 0.5, -0.5))
    w.check(rloo(batch), (1, -0.5, -0.5, 1, -1))
    w.check(raft(batch), (1, 0, 0, 1, 0))
    w.check(reinforce_pp(batch), (1.070259, -0.891883, -0.891883, 1.070259, -0.891883))
    w.check(reinforce_pp_baseline(batch), (1.193061, -0.825966, -0.825966, 0.856557, -1.162470))


def test_gigpo():
    expected = (
        (1.268333, 1.141667, 0.666667),
        (-0.634167, -0.808333),
        (-0.634167, -0.333333, -0.333333),
        (0.975, 0.5),
        (-0.975,),
    )
    credit = gigpo(w.worked())
    w.check(credit, expected)
    assert float(credit.metrics["anchor_singletons"]) == 4
    # Statistics over steps: p0 has 3 of 8 steps at 1, p1 has 2 of 3.
    released = gigpo(w.worked(), GigpoConfig(preset="released", omega=0))
    w.check(released, (0.625, -0.375, -0.375, 0.333333, -0.666667))


def test_token_gae_skips_observations():
    """Mask 11011011, reward 1 at the end, gamma .9, lam .8; values off the mask must not matter."""
    values = torch.tensor([0.5, 0.4, math.nan, 0.6, 0.5, 9.0, 0.7, 0.8])
    mask = torch.tensor([1, 1, 0, 1, 1, 0, 1, 1], dtype=torch.bool)
    rewards = torch.tensor([0, 0, math.nan, 0, 0, 5.0, 0, 1])
    made = gae(rewards, values, torch.zeros(8, dtype=torch.int64), 0.9, 0.8, mask=mask)
    expected = torch.tensor([-0.024365, 0.160605, 0, 0.028618, 0.248080, 0, 0.164, 0.2])
    torch.testing.assert_close(made.advantage, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        made.returns, expected + torch.where(mask, values, 0), rtol=0, atol=1e-6
    )


def test_the_distance_of_the_emotional_example():
    """States (-4,-5,-1), then +(3,0,0), +(0,3,0), +(1,1,-2): distances 5, 4, 1, 2."""
    states = torch.tensor([[-4.0, -5, -1], [-1, -5, -1], [-1, -2, -1], [0, -1, -3]])
    distance = (-1.0 - states).clamp(min=0).square().sum(1).sqrt()
    assert distance.tolist() == [5, 4, 1, 2]
    assert (-distance.diff()).tolist() == list(w.REWARDS[0])


def test_token_methods_agree_with_turn_methods():
    """One token per turn: token GAE is turn GAE, and gamma -> 1 joins both REINFORCE++ paths."""
    values = ((0.5, 0.4, 0.3), (0.1, 0), (0, 0.2, 0), (0.3, 0), (0.6,))

    batch = make_batch(
        [
            Traj(group=g, rewards=r, outcome=s, tokens=[1] * len(r), columns={"values": v})
            for g, r, s, v in zip(w.GROUPS, w.REWARDS, w.SUCCESS, values, strict=True)
        ]
    )
    token_values = torch.zeros(batch.num_tokens)
    token_values[batch.turn_of_token >= 0] = batch.turn_columns["values"]
    batch = batch.with_columns(token={"values": token_values})
    by_token = gae_token(batch, GaeTokenConfig(gamma=0.9, lam=0.8))
    by_turn = gae_turn(batch, GaeTurnConfig(gamma=0.9, lam=0.8))
    torch.testing.assert_close(by_token.turn, by_turn.turn, rtol=0, atol=1e-6)
    nearly = reinforce_pp(batch, ReinforcePpConfig(gamma=1 - 1e-7))
    torch.testing.assert_close(nearly.turn, reinforce_pp(batch).turn, rtol=0, atol=1e-5)
