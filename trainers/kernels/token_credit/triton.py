"""A token-level method on a GPU: one program walks a trajectory's tokens from the end, block by block.

Legend: N tokens, K turns, B trajectories.
"""

from __future__ import annotations

import triton
import triton.language as tl

from turngym.trainers.kernels.discounted_return.triton import compose

__all__ = ["token_kernel"]


@triton.jit
def _nearest(value_behind, turn_behind, value, turn):
    return tl.where(turn >= 0, value, value_behind), tl.where(turn >= 0, turn, turn_behind)


@triton.jit
def _at_first(x):
    """Scalar: the block's first element, which is what the block before needs to know."""
    return tl.sum(tl.where(tl.arange(0, x.shape[0]) == 0, x, tl.zeros_like(x)))


@triton.jit
def _linear(factor, value, carry):
    """[block] y_j = value_j + factor_j y_{j+1}, with `carry` behind the block."""
    factor, value = tl.associative_scan((factor, value), 0, compose, reverse=True)
    return value + factor * carry


@triton.jit
def _following(value, turn, carried_value, carried_turn):
    """[block] the nearest of the given positions that has a turn, else what was carried."""
    value, turn = tl.associative_scan((value, turn), 0, _nearest, reverse=True)
    return tl.where(turn >= 0, value, carried_value), tl.where(turn >= 0, turn, carried_turn)


@triton.jit
def _turn_at(TURN_OF_TOKEN, place, span):
    """[block] turn of the batch, -1 where the token was not sampled or is not the trajectory's."""
    first, end = span
    return tl.load(TURN_OF_TOKEN + place, mask=(place >= first) & (place < end), other=-1)


@triton.jit
def _forget_empty_turns(CU_TURNS, TOKENS, traj, counts, RESULT, OPEN, USED, num_tokens, own: tl.constexpr, BLOCK: tl.constexpr):  # fmt: skip
    """Turns without tokens are 0, as are all turns of a trajectory that does not count."""
    last = tl.load(CU_TURNS + traj + 1)
    for start in range(tl.load(CU_TURNS + traj), last, BLOCK):
        turn = start + tl.arange(0, BLOCK)
        tokens = tl.load(TOKENS + turn, mask=turn < last, other=1)
        empty = (turn < last) & (tl.where(counts, tokens, 0) == 0)
        _leave_open(tokens * 0.0, num_tokens + turn, empty & False, empty, RESULT, OPEN, USED, own)


@triton.jit
def _leave_open(x, row, used, inside, RESULT, OPEN, USED, own: tl.constexpr):
    """What the second launch needs; it writes the result where nothing is added to."""
    tl.store(OPEN + row, x.to(tl.float32), mask=inside)
    tl.store(USED + row, used.to(tl.int8), mask=inside)
    if own != 0:
        tl.store(RESULT + row, own * x.to(tl.float32), mask=inside)


@triton.jit
def _rewards(turn, ends, REWARDS, REWARD_MASK, weight: tl.constexpr):
    """[block] the weighted reward of a turn on its last token."""
    known = ends & (tl.load(REWARD_MASK + turn, mask=ends, other=0) != 0)
    return weight * tl.load(REWARDS + turn, mask=known, other=0.0)


@triton.jit
def _targets(stops, rewards, turn, next_value, next_turn, carry, PLAN: tl.constexpr):
    """[block] H of the tokens where the recurrence stops; those in between pass it on."""
    more = next_turn >= 0
    if PLAN.turn_time:
        elapsed = tl.where(more, next_turn - turn, 0).to(tl.float32)
        gamma = tl.exp2(elapsed * PLAN.log_gamma)
        lam = tl.exp2(elapsed * PLAN.log_lam)
    else:
        gamma = tl.where(more, PLAN.gamma, 1.0)
        lam = tl.where(more, PLAN.lam, 1.0)
    value = tl.where(stops, rewards + gamma * (1 - lam) * next_value, 0.0)
    return _linear(tl.where(stops, gamma * lam, 1.0), value, carry)


@triton.jit
def _inside_turns(targets, sampled, ends, value_behind, carry, PLAN: tl.constexpr):
    """[block] H of a turn's tokens towards that of its last."""
    gamma, lam = PLAN.inner_gamma, PLAN.inner_lam
    value = tl.where(sampled, gamma * (1 - lam) * value_behind, 0.0)
    factor = tl.where(ends, 0.0, tl.where(sampled, gamma * lam, 1.0))
    return _linear(factor, tl.where(ends, targets, value), carry)


@triton.jit
def _merged(count, mean, squares, x, used):
    """Count, mean and squared differences with a block's added."""
    x = x.to(tl.float64)
    more = tl.sum(used.to(tl.float64))
    its_mean = tl.sum(tl.where(used, x, 0.0)) / tl.maximum(more, 1.0)
    x = tl.where(used, x - its_mean, 0.0)
    total, apart = count + more, its_mean - mean
    weight = more / tl.maximum(total, 1.0)
    return total, mean + apart * weight, squares + tl.sum(x * x) + apart * apart * count * weight


@triton.jit
def token_kernel(
    TURN_OF_TOKEN, CU_TRAJ_TOKENS, CU_TURNS, TOKENS, TRAJ_MASK, OUTCOME,  # N, B+1, B+1, K, B, B
    REWARDS, REWARD_MASK, LOSS_MASK, VALUES,  # [K], [K], [K], [N]
    RESULT, OPEN, USED, RETURNS, PARTS,  # [N + K]: tokens, then means of turns; [N]; [3, B]
    num_tokens, PLAN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Advantages of a trajectory's tokens, their means by turn, and its part of the statistics."""
    traj = tl.program_id(0).to(tl.int64)
    first, end = tl.load(CU_TRAJ_TOKENS + traj), tl.load(CU_TRAJ_TOKENS + traj + 1)
    counts = tl.load(TRAJ_MASK + traj) != 0
    _forget_empty_turns(
        CU_TURNS, TOKENS, traj, counts, RESULT, OPEN, USED, num_tokens, PLAN.own, BLOCK
    )
    span = (first, tl.where(counts, end, first))
    target = tl.load(OUTCOME + traj, mask=counts, other=0.0)
    inner, total, next_value = target, tl.where(counts, 0.0, 0.0), tl.where(counts, 0.0, 0.0)
    next_turn = first * 0 - 1
    count, mean, squares = total.to(tl.float64), total.to(tl.float64), total.to(tl.float64)
    blocks = tl.cdiv(end - first, BLOCK)
    for back in range(0, blocks):
        place = first + (blocks - 1 - back) * BLOCK + tl.arange(0, BLOCK)
        inside = place < end
        turn, behind = (
            _turn_at(TURN_OF_TOKEN, place, span),
            _turn_at(TURN_OF_TOKEN, place + 1, span),
        )
        sampled, ends = turn >= 0, (turn >= 0) & (turn != behind)
        value, value_behind = tl.zeros((BLOCK,), tl.float32), tl.zeros((BLOCK,), tl.float32)
        if PLAN.critic:
            value = tl.load(VALUES + place, mask=sampled, other=0.0)
            value_behind = tl.load(VALUES + place + 1, mask=behind >= 0, other=0.0)
        stops, stop_behind = sampled, behind
        if PLAN.inner_gamma is not None:
            after = _turn_at(TURN_OF_TOKEN, place + 2, span)
            stops, stop_behind = ends, tl.where(behind != after, behind, -1)
        values, turns = _following(value_behind, stop_behind, next_value, next_turn)
        rewards = _rewards(turn, ends, REWARDS, REWARD_MASK, PLAN.reward_weight)
        made = _targets(stops, rewards, turn, values, turns, target, PLAN)
        next_value, next_turn, target = _at_first(values), _at_first(turns), _at_first(made)
        if PLAN.inner_gamma is not None:
            made = _inside_turns(made, sampled, ends, value_behind, inner, PLAN)
            inner = _at_first(made)
        x = tl.where(sampled, made - value, 0.0)
        _leave_open(x, place, sampled, inside, RESULT, OPEN, USED, PLAN.own)
        if PLAN.critic:
            tl.store(RETURNS + place, tl.where(sampled, made, 0.0), mask=inside)
        trained = sampled & (tl.load(LOSS_MASK + turn, mask=sampled, other=0) != 0)
        count, mean, squares = _merged(count, mean, squares, x, trained)
        sums = _linear(tl.where(ends, 0.0, 1.0), x, total)
        total = _at_first(sums)
        begins = sampled & (turn != _turn_at(TURN_OF_TOKEN, place - 1, span))
        x = sums / tl.load(TOKENS + turn, mask=begins, other=1)
        _leave_open(x, num_tokens + turn, begins, begins, RESULT, OPEN, USED, PLAN.own)
    tl.store(PARTS + traj, count)
    tl.store(PARTS + tl.num_programs(0) + traj, mean)
    tl.store(PARTS + 2 * tl.num_programs(0) + traj, squares)
