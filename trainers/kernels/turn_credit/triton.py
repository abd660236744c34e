"""A turn-level method in two launches: one program holds a group, turns side by side in a tile.

`group_kernel` does all that stays inside a group. What looks further is left to a second launch, so
that nothing a program writes is read before all have ended: `batch_kernel` merges the groups'
counts, means and squared differences, `anchor_kernel` lets all turns of a group meet. Statistics in
float64, no atomics, no order that could change. Legend: K turns, B trajectories, G groups, P programs.
"""

from __future__ import annotations

import triton
import triton.language as tl

from turngym.trainers.kernels.discounted_return.triton import compose
from turngym.trainers.kernels.segment_norm.reference import ROUNDING

__all__ = ["anchor_kernel", "batch_kernel", "group_kernel"]

_ROUNDING_SQUARED = tl.constexpr(ROUNDING**2)


@triton.jit
def _total(x, SCOPE: tl.constexpr):
    """Sum of a tile over the rows that are compared, as [1, turns] or [1, 1]."""
    total = tl.sum(x, 0, keep_dims=True)
    if SCOPE != "turn":
        total = tl.sum(total, 1, keep_dims=True)
    return total


@triton.jit
def _factor(count, mean, variance, NORM: tl.constexpr):
    """What centred values are multiplied by; whether there is one value; whether all are equal."""
    alone = count == 1
    floor = tl.maximum((variance + mean * mean) * _ROUNDING_SQUARED, NORM.rule.std_floor**2)
    flat = (variance <= floor) & (count > 1)
    factor = count * 0 + 1
    if NORM.leave_one_out:
        factor = count / tl.maximum(count - 1, 1.0)
    if NORM.rule.divide:
        factor = 1 / (tl.sqrt(variance + NORM.rule.eps_inside) + NORM.rule.eps)
    lonely = count * 0
    if NORM.rule.singleton == "raw":
        lonely = lonely + 1
        if NORM.rule.divide:
            lonely = lonely / (1 + NORM.rule.eps)
    return tl.where(flat, 0.0, tl.where(alone, lonely, factor)), alone, flat


@triton.jit
def _normed(x, used, share, NORM: tl.constexpr):
    """`segment_norm` of a tile, and which of its keys hold one value or equal ones."""
    x = tl.where(used, x, 0.0).to(tl.float64)
    count = _total(share, NORM.scope)
    mean = _total(share * x, NORM.scope) / tl.maximum(count, 1.0)
    if NORM.rule.singleton == "raw":
        mean = tl.where(count == 1, 0.0, mean)
    x = tl.where(used, x - mean, 0.0)
    variance = _total(share * x * x, NORM.scope) / tl.maximum(count - NORM.rule.ddof, 1.0)
    factor, alone, flat = _factor(count, mean, variance, NORM)
    return tl.where(used, x * factor, 0.0).to(tl.float32), alone, flat


@triton.jit
def _share(used, row, turn, length, LOSS_MASK, TOKENS, NORM: tl.constexpr):
    """How often each row counts in the statistics."""
    share = used.to(tl.float64)
    if NORM.share == "length":
        share = share * length
    elif NORM.share == "first":
        share = tl.where(turn == 0, share, 0.0)
    elif NORM.share != "row":
        used = used & (tl.load(LOSS_MASK + row, mask=used, other=0) != 0)
        share = used.to(tl.float64)
        if NORM.share == "tokens":
            share = tl.load(TOKENS + row, mask=used, other=0).to(tl.float64)
    return share


@triton.jit
def _compared(x, used, place, pointers, NORM: tl.constexpr, NUMBER: tl.constexpr):
    """`segment_norm` by the norm's scope, and which rows are alone; notes both for the metrics."""
    row, turn, length = place
    LOSS_MASK, TOKENS, EXCHANGE, COUNTS = pointers
    share = _share(used, row, turn, length, LOSS_MASK, TOKENS, NORM)
    if NORM.scope == "exchange":
        exchange = tl.load(EXCHANGE + row, mask=used, other=-1)
        values, lone = tl.zeros_like(x), used & False
        singletons = tl.sum(values)
        flats = singletons
        for number in range(turn.shape[1]):
            mine = used & (exchange == number)
            value, alone, flat = _normed(x, mine, tl.where(mine, share, 0.0), NORM)
            values += value
            lone = lone | (mine & alone)
            singletons += tl.sum(alone.to(tl.float32))
            flats += tl.sum(flat.to(tl.float32))
    else:
        values, alone, flat = _normed(x, used, share, NORM)
        lone = used & alone
        singletons = tl.sum(alone.to(tl.float32))
        flats = tl.sum(flat.to(tl.float32))
    here = COUNTS + 2 * NUMBER * tl.num_programs(0) + tl.program_id(0).to(tl.int64)
    tl.store(here, singletons)
    tl.store(here + tl.num_programs(0), flats)
    return values, lone


@triton.jit
def _members(TRAJS, CU_GROUPS, num_trajectories, GROUPED: tl.constexpr, MEMBERS: tl.constexpr):
    """[members, 1] the trajectories of a program, and which of them exist."""
    program = tl.program_id(0).to(tl.int64)
    place = tl.arange(0, MEMBERS)[:, None]
    if GROUPED:
        place += tl.load(CU_GROUPS + program)
        member = place < tl.load(CU_GROUPS + program + 1)
        traj = tl.load(TRAJS + place, mask=member, other=0)
    else:
        traj = program * MEMBERS + place
        member = traj < num_trajectories
    return traj, member


@triton.jit
def _trajectories(traj, member, CU_TURNS, TRAJ_MASK, OUTCOME):
    """[members, 1] first turn, number of turns, whether it counts, outcome if so."""
    start = tl.load(CU_TURNS + traj, mask=member, other=0)
    length = tl.load(CU_TURNS + traj + 1, mask=member, other=0) - start
    counts = (tl.load(TRAJ_MASK + traj, mask=member, other=0) != 0) & (length > 0)
    return start, length, counts, tl.load(OUTCOME + traj, mask=counts, other=0.0)


@triton.jit
def _values(row, exists, score, left, COLUMN, OTHER, KNOWN, PLAN: tl.constexpr):
    """[members, turns] x before it is normalised, and the turns that statistics are made of."""
    x, known, used = tl.where(exists, 0.0, 0.0), exists, exists
    if PLAN.known is not None:
        known = exists & (tl.load(KNOWN + row, mask=exists, other=0) != 0)
    if PLAN.column is not None:
        x = PLAN.weight * tl.load(COLUMN + row, mask=known, other=0.0)
        if PLAN.other is not None:
            x += PLAN.other_weight * tl.load(OTHER + row, mask=known, other=0.0)
        x = tl.where(known, x + PLAN.offset, 0.0)
    if PLAN.unknown == "exclude":
        used = known
    elif PLAN.unknown == "mean":
        number = tl.sum(known.to(tl.float32), 1, keep_dims=True)
        mean = tl.sum(x, 1, keep_dims=True) / tl.maximum(number, 1.0)
        x = tl.where(exists & (known == 0), mean, x)
    if PLAN.score_to == "every":
        x = tl.where(exists, x + score, 0.0)
    elif PLAN.score_to == "to_go":
        x = tl.where(exists, (x + score) * left, 0.0)
    return x, used


@triton.jit
def _ahead(x, used, exists, last, row, inside, VALUES, RETURNS, PLAN: tl.constexpr):
    """[members, turns] what is still to come, or how much better it is than the critic said."""
    value, discount = tl.zeros_like(x), PLAN.gamma
    if PLAN.lam is not None:
        value = tl.load(VALUES + row, mask=exists, other=0.0)
        x += PLAN.gamma * tl.load(VALUES + row + 1, mask=exists & (last == 0), other=0.0) - value
        discount = PLAN.gamma * PLAN.lam
    _, y = tl.associative_scan((tl.zeros_like(x) + discount, x), 1, compose, reverse=True)
    if PLAN.lam is not None:
        tl.store(RETURNS + row, y + value, mask=inside)
    if PLAN.root_count:
        number = tl.cumsum(used.to(tl.float32), 1, reverse=True)
        y = y / tl.sqrt(tl.maximum(number, 1.0))
    return y


@triton.jit
def _scores(outcome, row, exists, REWARDS, REWARD_MASK, PLAN: tl.constexpr):
    """[members, 1] s."""
    if PLAN.score_rewards != 0:
        rewarded = exists & (tl.load(REWARD_MASK + row, mask=exists, other=0) != 0)
        rewards = tl.load(REWARDS + row, mask=rewarded, other=0.0)
        outcome += PLAN.score_rewards * tl.sum(rewards, 1, keep_dims=True)
    return outcome


@triton.jit
def _leave_open(x, used, stays, share, row, inside, OPEN, USED, PARTS, NORM: tl.constexpr):
    """What the second launch needs; for the batch, count, mean and squared differences as well."""
    tl.store(OPEN + row, tl.where(used, x, 0.0), mask=inside)
    tl.store(USED + row, (used & stays).to(tl.int8), mask=inside)
    if NORM.scope == "batch":
        x = tl.where(used, x, 0.0).to(tl.float64)
        count = tl.sum(share)
        mean = tl.sum(share * x) / tl.maximum(count, 1.0)
        x = tl.where(used, x - mean, 0.0)
        here = PARTS + tl.program_id(0).to(tl.int64)
        tl.store(here, count)
        tl.store(here + tl.num_programs(0), mean)
        tl.store(here + 2 * tl.num_programs(0), tl.sum(share * x * x))


@triton.jit
def group_kernel(
    TRAJS, CU_GROUPS, CU_TURNS, TRAJ_MASK, OUTCOME,  # [B], [G+1], [B+1], [B], [B]
    REWARDS, REWARD_MASK, COLUMN, OTHER, KNOWN, VALUES, LOSS_MASK, TOKENS, EXCHANGE,  # [K]
    TURN, CLIP, KEPT, RETURNS,  # [K] results
    OPEN, USED, PARTS, COUNTS,  # [K], [K], [3, P] for the second launch; [8, P]
    num_trajectories,
    PLAN: tl.constexpr, GROUPED: tl.constexpr, MEMBERS: tl.constexpr, TURNS: tl.constexpr,
):  # fmt: skip
    """All steps of a plan but those that look beyond the group or meet by anchor."""
    traj, member = _members(TRAJS, CU_GROUPS, num_trajectories, GROUPED, MEMBERS)
    start, length, counts, outcome = _trajectories(traj, member, CU_TURNS, TRAJ_MASK, OUTCOME)
    turn = tl.arange(0, TURNS)[None, :]
    row, inside = start + turn, turn < length
    exists, last = inside & counts, inside & counts & (turn == length - 1)
    place, pointers = (row, turn, length), (LOSS_MASK, TOKENS, EXCHANGE, COUNTS)
    kept, stays = inside, exists

    score = tl.zeros_like(outcome)
    if PLAN.score is not None:
        score = _scores(outcome, row, exists, REWARDS, REWARD_MASK, PLAN)
        score, lone = _compared(score, counts, (start, start, length), pointers, PLAN.score, 0)
        if PLAN.score.rule.singleton == "drop":
            kept = exists & (lone == 0)
    x, used = _values(row, exists, score, length - 1 - turn, COLUMN, OTHER, KNOWN, PLAN)
    if PLAN.before is not None:
        x, lone = _compared(x, used, place, pointers, PLAN.before, 1)
    if PLAN.clip_beta is not None:
        clip = 1 + PLAN.clip_beta * (2 / (1 + tl.exp(-x)) - 1)
        tl.store(CLIP + row, tl.where(exists, clip, 1.0), mask=inside)
    if PLAN.outcome_last:
        x += tl.where(last, outcome, 0.0)
    elif PLAN.score_to == "last":
        x += tl.where(last, score, 0.0)

    y = x
    if PLAN.gamma is not None:
        y = _ahead(x, used, exists, last, row, inside, VALUES, RETURNS, PLAN)
    result = tl.zeros_like(y)
    if PLAN.own != 0:
        result += PLAN.own * y
    if PLAN.score_to == "advantage":
        result += score
    if PLAN.near is not None:
        near, lone = _compared(y, used, place, pointers, PLAN.near, 2)
        result += PLAN.near.weight * near
        if PLAN.near.rule.singleton == "drop":
            kept, stays = kept & (lone == 0), stays & (lone == 0)
    if PLAN.wide is not None:
        if PLAN.wide_of_values:
            y = x
        if PLAN.wide.scope == "group":
            wide, lone = _compared(y, used, place, pointers, PLAN.wide, 3)
            result += PLAN.wide.weight * wide
        else:
            share = _share(used, row, turn, length, LOSS_MASK, TOKENS, PLAN.wide)
            _leave_open(y, used, stays, share, row, inside, OPEN, USED, PARTS, PLAN.wide)
    if PLAN.drops:
        tl.store(KEPT + row, kept.to(tl.float32), mask=inside)
    tl.store(TURN + row, tl.where(stays, result, 0.0), mask=inside)


@triton.jit
def batch_kernel(
    PARTS, OPEN, USED, RESULT, COUNTS, num_parts, num_rows,
    NORM: tl.constexpr, ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Values normalised over the batch, added to RESULT or written there; each program merges the
    parts for itself."""
    lane = tl.arange(0, BLOCK)
    shares = tl.zeros((BLOCK,), tl.float64)
    sums = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, num_parts, BLOCK):
        part, inside = PARTS + start + lane, start + lane < num_parts
        share = tl.load(part, mask=inside, other=0.0)
        shares += share
        sums += share * tl.load(part + num_parts, mask=inside, other=0.0)
    count = tl.sum(shares)
    mean = tl.sum(sums) / tl.maximum(count, 1.0)
    squares = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, num_parts, BLOCK):
        part, inside = PARTS + start + lane, start + lane < num_parts
        share = tl.load(part, mask=inside, other=0.0)
        apart = tl.load(part + num_parts, mask=inside, other=0.0) - mean
        squares += tl.load(part + 2 * num_parts, mask=inside, other=0.0) + share * apart * apart
    variance = tl.sum(squares) / tl.maximum(count - NORM.rule.ddof, 1.0)
    factor, alone, flat = _factor(count, mean, variance, NORM)

    program = tl.program_id(0).to(tl.int64)
    if program == 0:
        for start in range(0, num_parts, BLOCK):
            part, inside = COUNTS + 6 * num_parts + start + lane, start + lane < num_parts
            first = start + lane == 0
            tl.store(part, tl.where(first, alone.to(tl.float32), 0.0), mask=inside)
            tl.store(part + num_parts, tl.where(first, flat.to(tl.float32), 0.0), mask=inside)
    row = program * BLOCK + lane
    inside = row < num_rows
    used = tl.load(USED + row, mask=inside, other=0) != 0
    x = tl.load(OPEN + row, mask=used, other=0.0).to(tl.float64) - mean
    result = tl.where(used, NORM.weight * x * factor, 0.0).to(tl.float32)
    if ADD:
        result += tl.load(RESULT + row, mask=inside, other=0.0)
    tl.store(RESULT + row, result, mask=inside)


@triton.jit
def anchor_kernel(
    TRAJS, CU_GROUPS, CU_TURNS, ANCHOR, OPEN, USED, TURN, COUNTS, NORM: tl.constexpr,
    MEMBERS: tl.constexpr, TURNS: tl.constexpr,
):  # fmt: skip
    """Add the values normalised over turns of equal anchor; every turn of a group meets every other."""
    group = tl.program_id(0).to(tl.int64)
    first, end = tl.load(CU_GROUPS + group), tl.load(CU_GROUPS + group + 1)
    traj, member = _members(TRAJS, CU_GROUPS, 0, True, MEMBERS)
    turn = tl.arange(0, TURNS)[None, :]
    row = tl.load(CU_TURNS + traj, mask=member, other=0) + turn
    inside = row < tl.load(CU_TURNS + traj + 1, mask=member, other=0)
    used = inside & (tl.load(USED + row, mask=inside, other=0) != 0)
    anchor = tl.load(ANCHOR + row, mask=used, other=-1)
    x = tl.load(OPEN + row, mask=used, other=0.0).to(tl.float64)

    count, mean, squares = tl.zeros_like(x), tl.zeros_like(x), tl.zeros_like(x)
    leads = used
    for place in range(first, end):
        other = tl.load(TRAJS + place)
        for at in range(tl.load(CU_TURNS + other), tl.load(CU_TURNS + other + 1)):
            same = (anchor == tl.load(ANCHOR + at)) & (tl.load(USED + at) != 0)
            count += same.to(tl.float64)
            mean += tl.where(same, tl.load(OPEN + at), 0.0)
            leads = leads & ((same & (at < row)) == 0)
    mean /= tl.maximum(count, 1.0)
    for place in range(first, end):
        other = tl.load(TRAJS + place)
        for at in range(tl.load(CU_TURNS + other), tl.load(CU_TURNS + other + 1)):
            same = (anchor == tl.load(ANCHOR + at)) & (tl.load(USED + at) != 0)
            apart = tl.where(same, tl.load(OPEN + at) - mean, 0.0)
            squares += apart * apart
    variance = squares / tl.maximum(count - NORM.rule.ddof, 1.0)
    factor, alone, flat = _factor(count, mean, variance, NORM)

    result = tl.load(TURN + row, mask=used, other=0.0) + NORM.weight * (x - mean) * factor
    tl.store(TURN + row, result.to(tl.float32), mask=used)
    here = COUNTS + 6 * tl.num_programs(0) + group
    tl.store(here, tl.sum((used & alone).to(tl.float32)))
    tl.store(here + tl.num_programs(0), tl.sum((leads & flat).to(tl.float32)))
