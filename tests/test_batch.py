"""collate and take: every column against a plain loop over random trajectories."""

from array import array
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from turngym.errors import DataError
from turngym.trainers.batch import collate, take, take_credit
from turngym.trainers.types import Credit
from turngym.types import Completion, EpisodeStatus, Message, Trajectory, Turn, TurnStatus


def turn(prompt, reply, *, opens=False, reward=None, status=TurnStatus.OK, anchor="a", exchange=0):
    completion = Completion(
        message=Message(role="assistant"),
        new_prompt_ids=array("i", prompt),
        reply_ids=array("i", reply),
        reply_logprobs=array("f", [-0.5 * (i + 1) for i in range(len(reply))]),
        opens_segment=opens,
    )
    return Turn(
        seen=(),
        completion=completion,
        reward=reward,
        status=status,
        anchor=anchor,
        exchange=exchange,
    )


def trajectory(turns, *, group="g", status=EpisodeStatus.TERMINATED, outcome=1.0):
    return Trajectory(
        env_id="e",
        task_id="t",
        episode="x",
        seed=0,
        group=group,
        turns=tuple(turns),
        status=status,
        outcome=outcome,
        success=bool(outcome),
    )


ids = st.lists(st.integers(0, 99), min_size=1, max_size=4)
turns = st.builds(
    turn,
    st.lists(st.integers(0, 99), max_size=3),
    ids,
    opens=st.booleans(),
    reward=st.none() | st.floats(-1, 1, width=32),
    status=st.sampled_from(TurnStatus),
    anchor=st.sampled_from("ab"),
)
trajectories = st.lists(
    st.builds(
        trajectory,
        st.lists(turns, max_size=4),
        group=st.sampled_from("gh"),
        status=st.sampled_from(EpisodeStatus),
        outcome=st.sampled_from([0.0, 0.5, 1.0]),
    ),
    max_size=4,
)


@given(trajectories)
def test_every_token_is_where_a_plain_loop_puts_it(batchful):
    batch = collate(batchful)
    batch.validate()
    tokens, owners, logprobs, turn_id = [], [], [], 0
    for t in batchful:
        for turn_ in t.turns:
            c = turn_.completion
            tokens += [*c.new_prompt_ids, *c.reply_ids]
            owners += [-1] * len(c.new_prompt_ids) + [turn_id] * len(c.reply_ids)
            logprobs += [0.0] * len(c.new_prompt_ids) + list(c.reply_logprobs)
            turn_id += 1
    assert batch.token_ids.tolist() == tokens
    assert batch.turn_of_token.tolist() == owners
    assert batch.sampled_logprobs.tolist() == logprobs
    assert batch.traj_mask.tolist() == [t.status.counts for t in batchful]
    segments = sum(
        t.completion.opens_segment or i == 0 for b in batchful for i, t in enumerate(b.turns)
    )
    assert batch.num_segments == segments
    rewarded = [
        t.reward is not None and t.status != "reward_missing" for b in batchful for t in b.turns
    ]
    assert batch.reward_mask.tolist() == rewarded


@settings(max_examples=50)
@given(trajectories, st.data())
def test_taking_a_part_equals_collating_the_part(batchful, data):
    chosen = data.draw(st.sets(st.integers(0, len(batchful) - 1)) if batchful else st.just(set()))
    rows = sorted(chosen)
    whole = collate(batchful).with_columns()
    part, tokens, turn_rows = take(whole, torch.tensor(rows, dtype=torch.int64))
    part.validate()
    direct = collate([batchful[i] for i in rows])
    for name in ("token_ids", "turn_of_token", "cu_tokens", "traj_of_segment", "traj_of_turn"):
        assert torch.equal(getattr(part, name), getattr(direct, name)), name
    for name in ("cu_turns", "turn_index", "turn_rewards", "outcome", "traj_mask", "loss_mask"):
        assert torch.equal(getattr(part, name), getattr(direct, name)), name
    credit = Credit(
        turn=torch.arange(whole.num_turns).float(), returns=torch.arange(whole.num_tokens)
    )
    small = take_credit(credit, tokens, turn_rows, whole.num_turns)
    assert torch.equal(small.turn.long(), turn_rows)


def test_anchors_are_equal_only_inside_one_group():
    batch = collate(
        [
            trajectory([turn([1], [2], anchor="s"), turn([1], [2], anchor="r")]),
            trajectory([turn([1], [2], anchor="s")]),
            trajectory([turn([1], [2], anchor="s")], group="other"),
        ]
    )
    a = batch.anchor_of_turn.tolist()
    assert a[0] == a[2] and len({a[0], a[1], a[3]}) == 3


def test_a_black_box_turn_cannot_be_trained_but_a_broken_episode_may_hold_one():
    blank = Turn(seen=(), completion=Completion(message=Message(role="assistant", content="hi")))
    with pytest.raises(DataError, match="evaluated, not trained"):
        collate([trajectory([blank])])
    batch = collate([trajectory([blank], status=EpisodeStatus.ENV_ERROR, outcome=None)])
    assert batch.loss_mask.tolist() == [False] and batch.outcome.tolist() == [0.0]


def spoilt(**columns):
    """A valid batch of two groups, two turns each, with other columns and without its table."""
    batch = collate(
        [
            trajectory([turn([1], [2, 3], anchor="s"), turn([1], [2], anchor="r", exchange=1)]),
            trajectory([turn([1], [2]), turn([4], [5])], group="other"),
        ]
    )
    batch.validate()
    changed = {name: torch.tensor(column) for name, column in columns.items()}
    return replace(batch, **changed, traj_by_group=None)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"anchor_of_turn": [0, 1, 0, 2]}, "anchor 0 .* groups 1 and 0|anchor 0 .* groups 0 and 1"),
        ({"anchor_of_turn": [0, 1, 2, 4]}, r"anchor_of_turn must lie in \[0, 4\), got 0..4"),
        ({"exchange_of_turn": [0, 2, 0, 0]}, "turn 1, number 1 of its trajectory, has 2"),
        ({"exchange_of_turn": [0, 1, 1, 1]}, "turn 2, number 0 of its trajectory, has 1"),
        ({"exchange_of_turn": [0, 0, 0, -1]}, "turn 3, number 1 of its trajectory, has -1"),
        (
            {"turn_of_token": [-1, 1, 1, -1, 0, -1, 2, -1, 3]},
            "got turn 1 at token 2 before turn 0 at token 4",
        ),
        (
            {"turn_of_token": [-1, 0, 0, -1, 2, -1, 2, -1, 3]},
            "token 4 is of turn 2 of trajectory 1, but lies in segment 0 of trajectory 0",
        ),
    ],
)
def test_a_batch_that_methods_would_misread_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        spoilt(**columns).validate()


def test_an_exchange_that_falls_is_refused():
    batch = collate([trajectory([turn([1], [2], exchange=n) for n in (0, 1, 1)])])
    fallen = replace(batch, exchange_of_turn=torch.tensor([0, 1, 0]))
    with pytest.raises(ValueError, match="turn 2, number 2 of its trajectory, has 0"):
        fallen.validate()


def test_exchanges_numbered_with_gaps_stay_within_their_group():
    """A key of (group, exchange) beyond the longest trajectory would be one of the next group."""
    batch = collate(
        [
            trajectory([turn([1], [2]), turn([1], [2], exchange=7)]),
            trajectory([turn([1], [2])], group="other"),
        ]
    )
    batch.validate()
    assert batch.exchange_of_turn.tolist() == [0, 1, 0]


def test_a_part_numbers_its_states_anew():
    batch = collate([trajectory([turn([1], [2], anchor=state)]) for state in "aba"])
    part, _, _ = take(batch, torch.tensor([1, 2]))
    part.validate()
    first, second = part.anchor_of_turn.tolist()
    assert first != second
