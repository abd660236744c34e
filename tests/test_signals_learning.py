"""Signals that learn: worked numbers, gradients that reach their weights, states that come back."""

from dataclasses import replace

import pytest
import torch

from test_batch import trajectory
from test_forward import episodes, model_of
from turngym.errors import ConfigError
from turngym.trainers.batch import collate
from turngym.trainers.credit import gae_token, gae_turn
from turngym.trainers.credit.gae_turn import GaeTurnConfig
from turngym.trainers.critic import Critic, CriticConfig
from turngym.trainers.forward import policy_output
from turngym.trainers.losses.value import ValueConfig
from turngym.trainers.signals import (
    ImplicitReward,
    ImplicitRewardConfig,
    Models,
    Progress,
    ProgressConfig,
)
from turngym.trainers.signals.implicit_reward import pairwise, step_rewards, trajectory_values
from turngym.trainers.signals.learner import ScalarModel
from turngym.trainers.signals.logprobs import score_tokens
from turngym.trainers.signals.progress import fit, progress_loss, redistributed, turn_ends
from turngym.types import EpisodeStatus
from worked import PROGRESS, PROGRESS_OUTCOME, STEP_REWARDS, check, flat, worked

# Section 9.3: summed log-ratios of the reward model to the policy that acted, per turn.
DELTAS = ((2, 4, 0), (-1, 1), (0, -2, 1), (1, 3), (-2,))


def with_ratios(batch):
    """Log-probabilities of phi whose ratio to pi_old, -1 everywhere, sums to DELTAS by turn."""
    rows = batch.turn_of_token.clamp(min=0)
    own = torch.where(batch.turn_of_token >= 0, -1 + flat(DELTAS)[rows] / 2, 0.0)
    return own.requires_grad_(True), batch.sampled_logprobs


def test_worked_step_rewards_loss_and_gradient():
    batch = worked()
    logprobs, old = with_ratios(batch)
    rewards = step_rewards(logprobs, old, batch, 0.05)
    check(rewards, STEP_REWARDS)
    values = trajectory_values(rewards, batch, "sum")
    torch.testing.assert_close(values, torch.tensor([0.3, 0, -0.05, 0.2, -0.1]))
    found = pairwise(values, batch)
    assert found.pairs == 3 and found.accuracy == 1
    assert found.loss.item() == pytest.approx(0.547364, abs=1e-6)
    found.loss.backward()
    slopes = (-0.013982, 0.007093, 0.006890, -0.007093, 0.007093)
    expected = torch.zeros_like(logprobs)
    for traj, slope in enumerate(slopes):
        expected[batch.traj_of_turn[batch.turn_of_token.clamp(min=0)] == traj] = slope
    expected[batch.turn_of_token < 0] = 0
    torch.testing.assert_close(logprobs.grad, expected, rtol=0, atol=1e-6)


def test_worked_loss_of_the_released_mean():
    batch = worked()
    rewards = flat(STEP_REWARDS)
    assert pairwise(trajectory_values(rewards, batch, "mean"), batch).loss.item() == pytest.approx(
        0.626350, abs=1e-6
    )


def test_the_pairwise_loss_is_stable_and_leaves_out_what_does_not_count():
    batch = worked()
    far = torch.tensor([-1e4, 1e4, 1e4, 0, 0])
    assert pairwise(far, batch).loss.item() == pytest.approx((2e4 + 2e4 + 0.693147) / 3)
    masked = replace(batch, traj_mask=torch.tensor([True, False, True, True, True]))
    assert pairwise(far, masked).pairs == 2
    nobody = pairwise(far, replace(batch, success=torch.zeros(5, dtype=torch.bool)))
    assert nobody.pairs == 0 and nobody.loss.item() == 0


def judged(outcomes=(1.0, 0.0, 1.0, 0.0, 0.5)):
    """Five trajectories in two groups, the last one broken."""
    done = [
        replace(each, group="ab"[i // 3], outcome=outcome, success=outcome == 1)
        for i, (each, outcome) in enumerate(zip(episodes(), outcomes, strict=True))
    ]
    done[4] = replace(done[4], status=EpisodeStatus.ENV_ERROR, outcome=None, success=None)
    return done


def models_for(*, max_tokens=1000):
    policy = model_of("llama", "sdpa").requires_grad_(False)
    return Models(
        policy=policy,
        tokenizer=None,
        initial=lambda: model_of("llama", "sdpa"),
        max_tokens=max_tokens,
    )


def scored_batch(models, done):
    batch = collate(done)
    return replace(batch, old_logprobs=score_tokens(models.policy, batch, 1000).logprobs)


def weights(model):
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


@pytest.mark.parametrize("how", ["sum", "mean"])
@pytest.mark.parametrize("max_tokens", [1000, 12])
def test_gradients_reach_the_reward_model_as_autograd_says(how, max_tokens):
    done = judged()
    models = models_for(max_tokens=max_tokens)
    batch = scored_batch(models, done)
    signal = ImplicitReward(
        ImplicitRewardConfig(trajectory_value=how, learning_rate=1e-3, beta=0.5), models
    )
    with torch.no_grad():  # away from the start, where every ratio is 1
        for p in signal.learner.model.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    seen = {}
    real = signal.learner.optimizer.step

    def step():
        seen.update({n: p.grad.clone() for n, p in signal.learner.model.named_parameters()})
        return real()

    signal.learner.optimizer.step = step
    before = weights(signal.learner.model)
    metrics = signal.update(done, batch, None, models)
    assert metrics["pairs"] == 2 and metrics["grad_norm"] > 0 and metrics["skipped"] == 0
    assert not torch.equal(before, weights(signal.learner.model))
    # The plain way: one graph from all log-probabilities to the loss.
    twin = ImplicitReward(ImplicitRewardConfig(), models).learner.model
    with torch.no_grad():
        for p in twin.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    rewards = step_rewards(policy_output(twin, batch).logprobs, batch.old_logprobs, batch, 0.5)
    loss = pairwise(trajectory_values(rewards, batch, how), batch).loss
    loss.backward()
    assert metrics["loss"] == pytest.approx(loss.item(), rel=1e-5)
    norm = torch.nn.utils.clip_grad_norm_(twin.parameters(), 10.0)
    assert metrics["grad_norm"] == pytest.approx(float(norm), rel=1e-4)
    for name, p in twin.named_parameters():
        torch.testing.assert_close(seen[name], p.grad, rtol=1e-3, atol=1e-6)


def test_the_reward_model_learns_to_tell_success_from_failure():
    done = judged()
    models = models_for()
    batch = scored_batch(models, done)
    signal = ImplicitReward(ImplicitRewardConfig(learning_rate=1e-3), models)
    start = signal.columns(done, batch, models).turn["step_reward"]
    torch.testing.assert_close(start, torch.zeros_like(start), rtol=0, atol=1e-5)
    losses = [signal.update(done, batch, None, models)["loss"] for _ in range(20)]
    assert losses[0] == pytest.approx(0.693147, abs=1e-4) and losses[-1] < 0.5
    values = trajectory_values(
        signal.columns(done, batch, models).turn["step_reward"], batch, "sum"
    )
    assert values[0] > values[1] and values[2] > values[1]


def test_without_pairs_the_reward_model_stays():
    done = judged((1.0, 1.0, 1.0, 0.0, 0.0))
    models = models_for()
    signal = ImplicitReward(ImplicitRewardConfig(learning_rate=1e-3), models)
    before = weights(signal.learner.model)
    assert signal.update(done, scored_batch(models, done), None, models)["pairs"] == 0
    assert torch.equal(before, weights(signal.learner.model))
    assert not signal.learner.optimizer.state_dict()["state"]


def test_worked_progress_loss_and_gradient():
    batch = worked(outcome=PROGRESS_OUTCOME)
    progress = flat(PROGRESS).requires_grad_(True)
    loss = progress_loss(progress, batch)
    assert loss.item() == pytest.approx(0.032)
    loss.backward()
    check(
        progress.grad,
        [[g] * n for g, n in zip((-0.04, 0.04, -0.12, 0.04, 0.08), (3, 2, 3, 2, 1), strict=True)],
    )


def test_redistributed_contributions_sum_to_the_outcome():
    batch = worked(outcome=PROGRESS_OUTCOME)
    expected = ((0.2, 0.3, 0.5), (0.1, -0.1), (0, 0.1, 0.4), (0.5, 0.5), (0,))
    check(redistributed(flat(PROGRESS), batch), expected)


@pytest.mark.parametrize("exact", [False, True])
def test_exact_contributions_are_the_turn_rewards(exact):
    done = judged()
    models, batch = models_for(), collate(done)
    config = ProgressConfig(exact=exact, as_reward=True)
    columns = Progress(config, models).columns(done, batch, models)
    assert torch.equal(columns.replaced["turn_rewards"], columns.turn["progress"])
    sums = trajectory_values(columns.turn["progress"], batch, "sum")  # a fresh head says 0
    expected = batch.outcome if exact else torch.zeros(5)
    torch.testing.assert_close(sums, expected)
    assert columns.metrics["error"] == pytest.approx(0.5)


def test_broken_episodes_teach_no_progress():
    batch = worked(outcome=PROGRESS_OUTCOME)
    batch = replace(batch, traj_mask=torch.tensor([True, True, False, True, True]))
    progress = flat(PROGRESS).requires_grad_(True)
    loss = progress_loss(progress, batch)
    assert loss.item() == pytest.approx((0.01 + 0.01 + 0.01 + 0.04) / 4)
    loss.backward()
    assert not progress.grad[batch.traj_of_turn == 2].any()


def test_progress_is_read_at_the_last_sampled_token_of_each_turn():
    batch = collate(episodes())
    rows, turns = turn_ends(batch)
    owner = batch.turn_of_token.tolist()
    expected = [max(n for n, k in enumerate(owner) if k == t) for t in range(batch.num_turns)]
    assert rows.tolist() == expected and turns.tolist() == list(range(batch.num_turns))


@pytest.mark.parametrize("read_out", ["hidden", "logits"])
def test_scalars_are_those_of_each_segment_alone(read_out):
    language_model = model_of("llama", "sdpa")
    model = ScalarModel(language_model, read_out)
    batch = collate(episodes())
    rows = torch.arange(batch.num_tokens)
    assert not model(batch, rows).any()  # a fresh head says 0
    torch.nn.init.normal_(model.head.weight, generator=torch.Generator().manual_seed(2))
    found = model(batch, rows)
    for start, end in zip(batch.cu_tokens[:-1].tolist(), batch.cu_tokens[1:].tolist(), strict=True):
        ids = batch.token_ids[start:end].unsqueeze(0)
        output = language_model(ids, output_hidden_states=True)
        states = output.logits if read_out == "logits" else output.hidden_states[-1]
        torch.testing.assert_close(
            found[start:end], model.head(states[0]).squeeze(1), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("read_out", ["hidden", "logits"])
def test_contributions_come_to_sum_to_the_outcome(read_out):
    done = judged()
    models = models_for()
    config = ProgressConfig(learning_rate=3e-3, passes=40, read_out=read_out)
    signal, batch = Progress(config, models), collate(done)
    before = signal.columns(done, batch, models).metrics["error"]
    assert before == pytest.approx(0.5)  # outcomes 1, 0, 1, 0 against 0
    signal.update(done, batch, None, models)
    columns = signal.columns(done, batch, models)
    assert columns.metrics["error"] < 0.1 and columns.turn["progress"].std() > 0


def test_micro_batches_change_nothing():
    done = judged()
    ends = []
    for max_tokens in (1000, 12):
        models = models_for(max_tokens=max_tokens)
        signal = Progress(ProgressConfig(learning_rate=1e-3, passes=3), models)
        first = signal.update(done, collate(done), None, models)
        ends.append((first["loss"], signal.columns(done, collate(done), models).metrics["error"]))
    assert ends[0] == pytest.approx(ends[1], rel=1e-3)


def test_a_fitted_estimator_annotates_and_stays_as_it_is(tmp_path):
    done = judged()
    models, path = models_for(), tmp_path / "estimator.pt"
    losses = fit(
        ProgressConfig(learning_rate=3e-3), models, done, path, epochs=30, batch_size=2, seed=1
    )
    assert losses[0] > 0.2 > 0.02 > losses[-1]  # means over batches, never the broken episode's
    signal = Progress(ProgressConfig(start=path, learning_rate=0), models)
    batch = collate(done)
    before = signal.columns(done, batch, models)
    assert before.metrics["error"] < 0.1
    assert signal.update(done, batch, None, models) == {}
    after = signal.columns(done, batch, models)
    assert torch.equal(before.turn["progress"], after.turn["progress"])


def test_a_file_that_holds_no_estimator_is_refused(tmp_path):
    path, models = tmp_path / "wrong.pt", models_for()
    for write in (lambda: None, lambda: path.write_text("x"), lambda: torch.save({"a": 1}, path)):
        write()
        with pytest.raises(ConfigError, match=r"wrong.pt holds no estimator"):
            Progress(ProgressConfig(start=path), models)


def test_values_belong_to_the_state_before_a_token():
    done = judged()
    models = models_for()
    critic, batch = Critic(CriticConfig(), models), collate(done)
    torch.nn.init.normal_(
        critic.learner.model.head.weight, generator=torch.Generator().manual_seed(2)
    )
    columns = critic.columns(done, batch, models)
    values, turn_values = columns.token["values"], columns.turn["values"]
    # Another last token of the trajectory changes no value at or before it.
    first_end = int(batch.cu_tokens[1])
    ids = batch.token_ids.clone()
    ids[first_end - 1] += 1
    changed = critic.columns(done, replace(batch, token_ids=ids), models).token["values"]
    torch.testing.assert_close(values[:first_end], changed[:first_end])
    ids[first_end - 2] += 1
    changed = critic.columns(done, replace(batch, token_ids=ids), models).token["values"]
    assert (values[first_end - 1] - changed[first_end - 1]).abs() > 1e-4
    starts = [batch.turn_of_token.tolist().index(k) for k in range(batch.num_turns)]
    assert torch.equal(turn_values, values[starts])
    assert not values[batch.turn_of_token < 0].any()


@pytest.mark.parametrize("method", [gae_token, gae_turn])
def test_the_critic_learns_the_returns(method):
    done = judged()
    models = models_for()
    config = CriticConfig(learning_rate=3e-3, passes=60, loss=ValueConfig(clip=None))
    critic = Critic(config, models)

    def batch_now():
        batch = collate(done)
        columns = critic.columns(done, batch, models)
        return batch.with_columns(token=columns.token, turn=columns.turn)

    batch = batch_now()
    first = critic.update(done, batch, method(batch), models)
    assert first["explained"] == pytest.approx(0, abs=1e-6)
    batch = batch_now()
    assert critic.update(done, batch, method(batch), models)["explained"] > 0.5


def test_micro_batches_change_nothing_for_the_critic():
    done, found = judged(), []
    for max_tokens in (1000, 12):
        models = models_for(max_tokens=max_tokens)
        critic, batch = Critic(CriticConfig(), models), collate(done)
        torch.nn.init.ones_(critic.learner.model.head.weight)  # at 0 no gradient reaches the body
        columns = critic.columns(done, batch, models)
        batch = batch.with_columns(token=columns.token, turn=columns.turn)
        metrics = critic.update(done, batch, gae_turn(batch), models)
        found.append([metrics["loss"], metrics["grad_norm"], columns.metrics["mean"]])
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_turn_returns_without_discount_are_the_outcomes():
    """gamma = lam = 1: the critic regresses on what the trajectory earned."""
    done = judged()
    models = models_for()
    batch = collate(done)
    columns = Critic(CriticConfig(), models).columns(done, batch, models)
    batch = batch.with_columns(token=columns.token, turn=columns.turn)
    returns = gae_turn(batch, GaeTurnConfig(gamma=1, lam=1)).returns
    expected = torch.where(batch.turn_mask, batch.outcome[batch.traj_of_turn], 0)
    torch.testing.assert_close(returns, expected)


def test_an_episode_without_turns_is_no_obstacle():
    done = [*judged()[:2], trajectory([], group="a", status=EpisodeStatus.TRUNCATED, outcome=0.0)]
    models = models_for()
    batch = scored_batch(models, done)
    for signal in (
        ImplicitReward(ImplicitRewardConfig(), models),
        Progress(ProgressConfig(), models),
    ):
        signal.update(done, batch, None, models)
        columns = signal.columns(done, batch, models)
        assert all(c.isfinite().all() for c in columns.turn.values())


def test_states_come_back_bit_by_bit(tmp_path):
    done = judged()
    models = models_for()
    batch = scored_batch(models, done)
    for kind, config in (
        (ImplicitReward, ImplicitRewardConfig(learning_rate=1e-3)),
        (Progress, ProgressConfig(learning_rate=1e-3)),
    ):
        one = kind(config, models)
        one.update(done, batch, None, models)
        other, file = kind(config, models), tmp_path / "state.pt"
        torch.save(one.state_dict(), file)
        other.load_state_dict(torch.load(file, weights_only=True))
        for signal in (one, other):
            signal.update(done, batch, None, models)
        assert torch.equal(weights(one.learner.model), weights(other.learner.model))
