"""collate and take: every column against a plain loop over random trajectories."""

from array import array

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
