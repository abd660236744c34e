"""Pages of the web shop: what can be clicked, what each click does, what each form shows."""

from dataclasses import replace

import pytest

from turngym.envs.web_shop.catalog import Goal, Listed, OptionGroup, Product, Review
from turngym.envs.web_shop.pages import render
from turngym.envs.web_shop.search import Index
from turngym.envs.web_shop.session import Session, Shop, clickables, parse_action, take

MUGS = [
    Product(
        asin=f"B{number:02d}",
        title=f"Plain mug number {number} of café ☕ <b>set</b>",
        bullets=("holds tea",),
        description="A mug.",
        attributes=("dishwasher safe",),
        options=(
            OptionGroup(name="size", values=("small", "large")),
            OptionGroup(name="color", values=("red", "blue")),
        ),
        reviews=(Review(title="Fine", score="4.0", body="It holds tea."),),
        price=5.0,
        price_text="$5.0",
        nouns=("mug",),
    )
    for number in range(25)
]


@pytest.fixture(scope="module")
def mugs():
    index = Index(product.search_text for product in MUGS)
    return Shop(products=Listed(MUGS), index=index, page_size=10, show_attributes=False)


def visit(**changes):
    goal = Goal(task_id="t", instruction="A mug, please", target=MUGS[0], attributes=("tea",))
    return Session(split="train", goal=goal, **changes)


def walk(shop, *actions, start=None):
    session = start or visit()
    for action in actions:
        parsed = parse_action(action)
        after = take(shop, session, *parsed) if parsed else None
        assert after is not None, f"{action} was refused on {session.page}"
        session = after
    return session


# Action grammar


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("search[Red Shoes]", ("search", "red shoes")),
        ("click[buy now] thanks", ("click", "buy now")),  # unanchored at the end
        (" click[x]\n", ("click", "x")),
        ("search[red [size]]", ("search[red ", "size]")),  # greedy in the name
        ("Action: click[x]", ("Action: click", "x")),
        ("search[]", None),
        ("think\nclick[x]", None),
        ("", None),
    ],
)
def test_actions_are_read_as_in_the_original(text, parsed):
    assert parse_action(text) == parsed


# Pages


def test_clickables_of_every_page(mugs):
    assert clickables(mugs, visit()) == {}
    results = walk(mugs, "search[mug]")
    first = [f"b{n:02d}" for n in range(10)]
    assert list(clickables(mugs, results)) == ["back to search", "next >", *first]
    second = walk(mugs, "click[next >]", start=results)
    assert list(clickables(mugs, second))[:3] == ["back to search", "< prev", "next >"]
    item = walk(mugs, "click[b03]", start=results)
    buttons = "back to search,< prev,description,features,reviews,buy now,small,large,red,blue"
    assert list(clickables(mugs, item)) == buttons.split(",")
    sub = walk(mugs, "click[features]", start=item)
    assert list(clickables(mugs, sub)) == ["back to search", "< prev"]
    with_attributes = replace(mugs, show_attributes=True)
    assert "attributes" in clickables(with_attributes, item)


def test_paging_shows_ten_at_a_time_then_five_then_none(mugs):
    pages = [walk(mugs, "search[mug]", *["click[next >]"] * n) for n in range(4)]
    links = [
        [name for name, meaning in clickables(mugs, page).items() if meaning != "button"]
        for page in pages
    ]
    assert [len(found) for found in links] == [10, 10, 5, 0]
    assert [name for found in links for name in found] == [f"b{n:02d}" for n in range(25)]
    back = walk(mugs, "click[< prev]", start=pages[3])
    assert back == pages[2]


def test_prev_from_a_product_returns_to_its_page_of_results(mugs):
    second = walk(mugs, "search[mug]", "click[next >]")
    item = walk(mugs, "click[b12]", "click[red]", start=second)
    back = walk(mugs, "click[< prev]", start=item)
    assert (back.page, back.page_number, back.options) == ("results", 2, ())


def test_options_are_kept_over_sub_pages_and_replaced_within_their_group(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "click[red]", "click[large]", "click[blue]")
    assert item.options == (("color", "blue"), ("size", "large"))
    assert walk(mugs, "click[reviews]", "click[< prev]", start=item).options == item.options
    assert walk(mugs, "search[mug]", start=item).options == ()


def test_search_works_on_any_page_and_back_to_search_forgets(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "search[mug]", "click[b01]", "click[red]")
    assert walk(mugs, "click[back to search]", start=item) == visit()


def test_a_product_can_be_bought_without_options(mugs):
    assert walk(mugs, "search[mug]", "click[b00]", "click[buy now]").page == "done"


def test_products_of_another_page_cannot_be_clicked(mugs):
    assert take(mugs, walk(mugs, "search[mug]"), "click", "b20") is None


def test_text_form(mugs):
    results = walk(mugs, "search[mug]")
    text = render(mugs, results, "text", None, 0.0)
    assert text.startswith(
        "Instruction: [SEP] A mug, please [SEP] Back to Search [SEP] Page 1 (Total results: 25) "
        "[SEP] Next > [SEP] B00 [SEP] Plain mug number 0 of café ☕ <b>set</b> [SEP] $5.0 [SEP] B01"
    )
    index = render(mugs, visit(), "text", None, 0.0)
    assert index == "WebShop [SEP] Instruction: [SEP] A mug, please [SEP] Search"
    item = walk(mugs, "click[b00]", start=results)
    assert render(mugs, item, "text", 2, 0.0).endswith(
        "[SEP] size [SEP] small [SEP] large [SEP] color [SEP] red [SEP] blue [SEP] Plain mug [SEP] "
        "Price: $5.0 [SEP] Rating: N.A. [SEP] Description [SEP] Features [SEP] Reviews [SEP] Buy Now"
    )


def test_rich_form_marks_buttons_visited_products_and_chosen_options(mugs):
    item = walk(mugs, "search[mug]", "click[b00]", "click[red]", "click[small]")
    lines = render(mugs, item, "text_rich", None, 0.0).splitlines()
    assert lines[:2] == ["You have clicked red.", "You have clicked small."]
    assert "  [clicked button] red [clicked button_]" in lines
    assert "  [button] blue [button_]" in lines and "[button] Buy Now [button_]" in lines
    results = render(mugs, walk(mugs, "click[< prev]", start=item), "text_rich", None, 0.0)
    assert "\n[clicked button] B00 [clicked button_]\n" in results
    assert "\n[button] B01 [button_]\n" in results


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("description", "A mug."),
        ("features", "holds tea"),
        ("reviews", '"Fine" [SEP] 4.0 [SEP] It holds tea.'),
    ],
)
def test_sub_pages(mugs, page, words):
    sub = walk(mugs, "search[mug]", "click[b00]", f"click[{page}]")
    assert render(mugs, sub, "text", None, 0.0).endswith(f"[SEP] < Prev [SEP] {words}")


def test_brief_form_shows_what_changed(mugs):
    shop = replace(mugs, page_size=1)
    results = walk(shop, "search[mug]")
    assert render(shop, results, "brief", 2, 0.0) == "b00 $5.0 Plain mug"
    item = walk(shop, "click[b00]", start=results)
    assert render(shop, item, "brief", 2, 0.0) == "size: small, large\ncolor: red, blue\nbuy now"
    red = walk(shop, "click[red]", start=item)
    assert render(shop, red, "brief", 2, 0.0) == "chosen: red"
