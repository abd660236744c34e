"""WebShop: find a product that fits an instruction, choose its options, buy it.

After Yao et al. 2022 (arXiv 2207.01206) and its released code, without Java, HTML or downloads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from turngym.envs.canonical import digest
from turngym.envs.env import Observation, StepResult, TextEnv
from turngym.envs.splits import as_split
from turngym.envs.web_shop.catalog import Goal, Split
from turngym.envs.web_shop.expert import expert
from turngym.envs.web_shop.market import open_market
from turngym.envs.web_shop.pages import render
from turngym.envs.web_shop.score import Score, score
from turngym.envs.web_shop.session import (
    Session,
    Shop,
    clickables,
    parse_action,
    product,
    take,
)
from turngym.envs.web_shop.settings import settings_for
from turngym.errors import ConfigError, closest
from turngym.types import Message, Privileged, TurnStatus, system, user

__all__ = ["WebShop"]

_BRACKETS = re.compile(r"[\[\]\s]+")
_RULES = {
    "text": (
        "You shop for the user. Answer with one action: search[keywords] or click[button], such as "
        "click[next >]. Open a product by clicking its id, choose its options, then click Buy Now."
    ),
    "brief": "Reply search[words] or click[button]. Buttons: numbers, options, next >, buy now.",
}


class WebShop(TextEnv):
    """A web shop with a search engine, product pages, options and a score from 0 to 1.

    Actions: `search[keywords]` on any page, `click[button]` for what the page offers; anything else
    leaves the page as it is (status `invalid_action`). The episode ends with `click[buy now]`.

    Args:
        size: None for the full pages, `demo` for short ones (`settings.PRESETS`).
        settings: fields of `WebShopSettings`, such as `num_products=100` or `catalog="folder"`.

    `reset(options=...)` takes `split` (train, dev, test) and `task_id`; a task belongs to one split.
    With neither, a training task is drawn. `info` of the last step has `outcome`, `success` and
    `rewards` (r_type, r_att, r_option, r_price).

    Raises:
        ConfigError: an unknown setting, or a value out of range.
        DataError: the catalog is missing or malformed.
        MissingExtraError: tantivy is not installed.

    Example:
        >>> env = WebShop(num_products=100)
        >>> messages, info = env.reset(seed=0)
        >>> messages, reward, terminated, truncated, info = env.step("search[red cotton shirt]")
    """

    shared: ClassVar[frozenset[str]] = frozenset({"settings", "market"})
    turn_rewards = False

    def __init__(self, *, size: str | None = None, **settings: Any) -> None:
        self.settings = settings_for(size, settings)
        super().__init__(max_turns=self.settings.max_turns)
        stock = self.settings
        catalog = None if stock.catalog is None else stock.catalog.resolve()
        self.market = open_market(catalog, stock.num_products, stock.seed, stock.goals)

    def tasks(self, split: str = "train") -> Sequence[str]:
        """Stable ids of the tasks of a split; no two splits share a product that is asked for."""
        return self.market.tasks(as_split(split))

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """The rules and the instruction.

        Raises:
            ConfigError: unknown option or split, or a task of another split.
            UnknownNameError: unknown task.
        """
        split, goal = self._choose(options or {})
        self._session = Session(split=split, goal=goal)
        rules = _RULES["brief" if self.settings.observation == "brief" else "text"]
        page = self._page(0.0)
        info = {"task_id": goal.task_id, "split": split, "anchor": self._anchor()}
        return (system(rules), user(page)), info

    def step(self, action: Message) -> StepResult:
        """One action; the reward is the score, and comes with the purchase."""
        parsed = parse_action(action.content)
        after = take(self._shop, self._session, *parsed) if parsed else None
        if after is None:
            return self._refuse()
        self._session = after
        info: dict[str, Any] = {"anchor": self._anchor()}
        if after.page != "done":
            return (user(self._page(0.0)),), 0.0, False, False, info
        result = self._score()
        info |= {
            "outcome": result.total,
            "success": result.total == 1.0,
            "rewards": _parts(result),
        }
        return (user(self._page(result.total)),), result.total, True, False, info

    @property
    def legal_actions(self) -> tuple[str, ...]:
        """A search, and a click on each button of the page."""
        if not self.in_episode:
            return ()
        buttons = clickables(self._shop, self._session)
        return ("search[...]", *(f"click[{button}]" for button in buttons))

    def expert(self, messages: Sequence[Message], *, noise: float = 0.0, seed: int = 0) -> str:
        """What the scripted buyer does next (`web_shop.expert`)."""
        return expert(messages, noise=noise, seed=seed)

    @property
    def privileged(self) -> Privileged:
        """The target product and the actions that buy it; nothing before the first reset."""
        if not hasattr(self, "_session"):
            return Privileged()
        goal = self._session.goal
        # Short pages show no ids: there the name is what an agent can come to know.
        brief = self.settings.observation == "brief"
        clicks = [goal.target.asin.lower(), *(option.value for option in goal.options), "buy now"]
        return Privileged(
            references=(goal.target.title if brief else goal.target.asin,),
            gold_actions=(
                f"search[{_BRACKETS.sub(' ', goal.target.title.lower())}]",
                *(f"click[{name}]" for name in clicks),
            ),
            hidden_state={"attributes": list(goal.attributes), "price_upper": goal.price_upper},
        )

    @property
    def _shop(self) -> Shop:
        market, split = self.market, self._session.split
        return Shop(
            products=market.products(split),
            index=market.index(split),
            page_size=self.settings.page_size,
            show_attributes=self.settings.show_attributes,
            numbered=self.settings.observation == "brief",
        )

    def _choose(self, options: Mapping[str, Any]) -> tuple[Split, Goal]:
        for name in options:
            if name not in ("split", "task_id"):
                hint = closest(name, ("split", "task_id"))
                raise ConfigError(f"unknown reset option {name!r}.{hint} Known: split, task_id.")
        wanted = options.get("split")
        split = as_split(wanted or "train")
        task_id = options.get("task_id")
        if task_id is None:
            task_id = self.market.draw(split, self.np_random)
        home, goal = self.market.find(task_id)
        if wanted is not None and home != split:
            raise ConfigError(f"task {task_id!r} belongs to split {home!r}, not to {split!r}")
        return home, goal

    def _page(self, total: float) -> str:
        settings = self.settings
        return render(
            self._shop, self._session, settings.observation, settings.max_title_words, total
        )

    def _refuse(self) -> StepResult:
        brief = self.settings.observation == "brief"
        page = "not possible here" if brief else self._page(0.0)
        info = {"status": TurnStatus.INVALID_ACTION, "anchor": self._anchor()}
        return (user(page),), 0.0, False, False, info

    def _score(self) -> Score:
        visit = self._session
        return score(visit.goal, product(self._shop, visit), visit.options, self.settings.preset)

    def _anchor(self) -> str:
        visit = self._session
        place = (visit.page, visit.query, visit.page_number, visit.product, visit.sub_page)
        return digest((visit.goal.task_id, *place, visit.options))


def _parts(result: Score) -> dict[str, float]:
    parts = {"r_type": result.r_type, "r_att": result.r_att, "r_price": result.r_price}
    return parts if result.r_option is None else {**parts, "r_option": result.r_option}
