"""Our credit methods as verl's advantage estimators, and the turn-level ratio as its policy loss.

    algorithm.adv_estimator=turngym_mapo  +algorithm.turngym.gamma=0.9
    actor_rollout_ref.actor.policy_loss.loss_mode=turngym_turn

verl finds them by the entry-point group `verl.plugins`. It hands an estimator token rewards, a mask
and uids, no more. Turns are the runs of sampled tokens in the mask: an observation, or at least the
header of the next message, lies between any two. `TurngymAgentLoop` writes the rewards so that
they can be told apart: the outcome on the last sampled token, a turn's own on its first.

What verl has no place for: values (only its own `gae` gets them), observable states (GiGPO), the
exchange a turn belongs to, turns without reward (they count as 0) and A2TGPO's clip factors. Methods
that cannot do without are refused by name.

Legend: B rows, T response tokens, N = B T, K turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from turngym.errors import UsageError
from turngym.trainers.credit import CREDITS, CreditMethod
from turngym.trainers.kernels.segment_sum import segment_mean, segment_sum
from turngym.trainers.kernels.spread import spread
from turngym.trainers.types import Credit, TurnBatch

__all__ = ["estimator", "register", "turn_batch", "turn_policy_loss"]

PREFIX = "turngym_"
READ_FROM_REWARDS = frozenset({"info_gain", "step_reward", "progress"})
"""Turn columns that stand in verl's reward tensor, where a reward function puts them."""


def turn_batch(token_rewards: Tensor, response_mask: Tensor, uids: Any = None) -> TurnBatch:
    """The batch behind verl's tensors; its tokens are the N cells of the response grid.

    Args:
        token_rewards: [B, T]; the outcome is what lies on the last sampled token and behind it,
            a turn's reward what lies from its first token to the next turn's.
        response_mask: [B, T], 1 where a token was sampled.
        uids: [B] objects, equal in a group; None: every row is a group of its own.
    """
    rows, width = response_mask.shape
    device = response_mask.device
    mask = response_mask.bool()
    before = torch.nn.functional.pad(mask[:, :-1], (1, 0))
    first = (mask & ~before).reshape(-1)  # of a turn
    turn = first.cumsum(0) - 1
    traj_of_turn = torch.arange(rows, device=device).repeat_interleave(width)[first]
    counts = torch.bincount(traj_of_turn, minlength=rows)
    cu_turns = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    num_turns = traj_of_turn.shape[0]
    position = torch.arange(num_turns, device=device)
    outcome, turn_rewards = _rewards(token_rewards, mask, turn, num_turns)
    every, floats = torch.ones_like(traj_of_turn, dtype=torch.bool), torch.zeros(0, device=device)
    groups = _groups(uids, rows)
    return TurnBatch(
        token_ids=torch.zeros(rows * width, dtype=torch.int64, device=device),
        turn_of_token=torch.where(mask.reshape(-1), turn, -1),
        sampled_logprobs=floats.new_zeros(rows * width),
        cu_tokens=torch.arange(rows + 1, device=device) * width,
        traj_of_segment=torch.arange(rows, device=device),
        traj_of_turn=traj_of_turn,
        cu_turns=cu_turns,
        turn_index=position - cu_turns[traj_of_turn],
        exchange_of_turn=position - cu_turns[traj_of_turn],
        anchor_of_turn=position,
        turn_rewards=turn_rewards,
        reward_mask=every,
        loss_mask=every,
        turn_status=torch.zeros_like(traj_of_turn, dtype=torch.int8),
        temperature=floats.new_ones(num_turns),
        policy_version=torch.zeros_like(traj_of_turn),
        group_of_traj=groups.to(device),
        outcome=outcome,
        success=torch.zeros(rows, dtype=torch.bool, device=device),
        truncated=torch.zeros(rows, dtype=torch.bool, device=device),
        traj_mask=counts > 0,
        num_groups=int(groups.max()) + 1 if rows else 0,
        max_turns=int(counts.max()) if rows else 0,
    )


def estimator(method: CreditMethod[Any]) -> Callable[..., tuple[Tensor, Tensor]]:
    """`method` in the form of verl's advantage estimators.

    It gives advantages and returns, both [B, T] and 0 off the mask; they are equal, because no method
    with a critic gets this far. Settings of the method come from the table `algorithm.turngym`.

    Raises:
        UsageError: the method needs what verl does not hand on.
        ConfigError: wrong settings.
    """

    def advantages(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        config: Any = None,
        index: Any = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        settings = method.parse(_settings(config))
        batch = turn_batch(token_level_rewards.float(), response_mask, index)
        _refuse(method, settings)
        credit = method(_with_columns(batch, method, settings), settings)
        dense = _dense(credit, batch, response_mask)
        return dense, dense

    advantages.__name__ = advantages.__qualname__ = PREFIX + method.name
    return advantages


def turn_policy_loss(
    old_log_prob: Tensor,
    log_prob: Tensor,
    advantages: Tensor,
    response_mask: Tensor,
    loss_agg_mode: str = "seq-mean-token-mean",
    config: Any = None,
    rollout_is_weights: Tensor | None = None,
) -> tuple[Tensor, dict[str, Any]]:
    """The clipped objective with one ratio per turn: exp(mean over the turn's tokens of log r).

    Clip bounds and aggregation are verl's (`clip_ratio_low`, `clip_ratio_high`, `loss_agg_mode`). The
    gradient of a token is that of its turn's ratio.

    Source: the turn-level ratio of A2TGPO, arXiv 2605.06200, and GSPO's, arXiv 2507.18071, per turn.
    """
    from verl.trainer.ppo.core_algos import agg_loss

    batch = turn_batch(torch.zeros_like(advantages), response_mask)
    key, shape = batch.turn_of_token, response_mask.shape
    log_ratio = (log_prob - old_log_prob).reshape(-1)
    of_turn = segment_mean(log_ratio, key, batch.num_turns)
    ratio = spread(of_turn.clamp(-20, 20).exp(), key).view(shape)
    low = 1 - (config.clip_ratio if config.clip_ratio_low is None else config.clip_ratio_low)
    high = 1 + (config.clip_ratio if config.clip_ratio_high is None else config.clip_ratio_high)
    free, bound = -advantages * ratio, -advantages * ratio.clamp(low, high)
    losses = torch.maximum(free, bound)
    if rollout_is_weights is not None:
        losses = losses * rollout_is_weights
    loss = agg_loss(losses, response_mask, loss_agg_mode, **config.global_batch_info)
    sampled = response_mask.bool()
    metrics = {
        "actor/pg_clipfrac": float((bound > free)[sampled].float().mean()),
        "actor/ppo_kl": float(-log_ratio.view(shape)[sampled].mean().detach()),
        "actor/pg_clipfrac_lower": 0.0,
    }
    return loss, metrics


def register() -> None:
    """Tell verl of every credit method, as `turngym_NAME`, and of the loss `turngym_turn`."""
    from verl.trainer.ppo.core_algos import register_adv_est, register_policy_loss

    for name in CREDITS:
        register_adv_est(PREFIX + name)(estimator(CREDITS[name]))
    register_policy_loss(PREFIX + "turn")(turn_policy_loss)


def _rewards(rewards: Tensor, mask: Tensor, turn: Tensor, num_turns: int) -> tuple[Tensor, Tensor]:
    """[B] outcomes and [K] turn rewards."""
    place = torch.arange(mask.shape[1], device=mask.device)
    last = torch.where(mask, place, -1).amax(1, keepdim=True)
    ending = (place >= last) & (last >= 0)
    outcome = torch.where(ending, rewards, 0).sum(1)
    begun = torch.where(mask, place, mask.shape[1]).amin(1, keepdim=True) <= place
    key = torch.where((begun & ~ending).reshape(-1), turn, -1)
    return outcome, segment_sum(rewards.reshape(-1), key, num_turns)


def _groups(uids: Any, rows: int) -> Tensor:
    """[B] int64 numbers of groups."""
    if uids is None:
        return torch.arange(rows)
    return torch.from_numpy(np.unique(np.asarray(uids).astype(str), return_inverse=True)[1])


def _settings(config: Any) -> dict[str, Any]:
    """The table `algorithm.turngym`; empty where there is none."""
    table = None if config is None else config.get("turngym", None)
    return {} if table is None else {str(name): table[name] for name in table}


def _refuse(method: CreditMethod[Any], settings: Any) -> None:
    if method.name == "gigpo" and settings.omega:
        raise UsageError(
            "gigpo compares steps that left the same state, and verl does not hand states to its "
            "estimators: set algorithm.turngym.omega=0, or train with turngym itself"
        )
    if getattr(settings, "turn_key", "turn") != "turn":
        raise UsageError(
            f"{method.name}: verl does not know exchanges; leave algorithm.turngym.turn_key at "
            "'turn'"
        )


def _with_columns(batch: TurnBatch, method: CreditMethod[Any], settings: Any) -> TurnBatch:
    """The batch with the turn columns that verl's rewards can hold."""
    columns: dict[str, Tensor] = {}
    for need in method.needs(settings):
        if need.column in READ_FROM_REWARDS:
            columns[need.column] = batch.turn_rewards
        elif need.column == "info_gain_mask":  # the answer turn has no gain
            counts = batch.cu_turns.diff()[batch.traj_of_turn]
            columns[need.column] = batch.turn_index < counts - 1
        else:
            raise UsageError(
                f"{method.name} needs the {need.level} column {need.column!r}, and verl hands its "
                "estimators token rewards only: train with turngym itself"
            )
    return batch.with_columns(turn=columns)


def _dense(credit: Credit, batch: TurnBatch, mask: Tensor) -> Tensor:
    """[B, T] float32 advantages, 0 off the mask and where the method drops a turn."""
    values = credit.token
    if values is None:
        values = spread(credit.turn, batch.turn_of_token)
    if credit.weight is not None:
        values = values * credit.weight
    return values.view(mask.shape) * mask
