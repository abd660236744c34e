"""BFCL's MessageAPI and TwitterAPI."""

from __future__ import annotations

import random
from typing import Any

from turngym.envs.tool_use.tools import RefusedError, State, ToolBox, tool

__all__ = [
    "MESSAGES",
    "POSTS",
    "add_contact",
    "authenticate_twitter",
    "comment",
    "delete_message",
    "follow_user",
    "get_message_stats",
    "get_tweet",
    "get_tweet_comments",
    "get_user_id",
    "get_user_stats",
    "get_user_tweets",
    "list_all_following",
    "list_users",
    "mention",
    "message_get_login_status",
    "message_login",
    "post_tweet",
    "posting_get_login_status",
    "retweet",
    "search_messages",
    "search_tweets",
    "send_message",
    "start_messages",
    "start_posts",
    "unfollow_user",
    "view_messages_sent",
]

_MESSAGES, _POSTS = "MessageAPI", "TwitterAPI"
_PEOPLE = {"Alice": "USR001", "Bob": "USR002", "Catherine": "USR003", "Daniel": "USR004"}
_MESSAGE_ID_SEED = 200191


def start_messages(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`; four people and no message where it says nothing."""
    users = config.get("user_map") or dict(_PEOPLE)
    return {
        "user_map": users,
        "user_count": config.get("user_count", len(users)),
        "inbox": config.get("inbox", []),
        "message_count": config.get("message_count", 0),
        "current_user": config.get("current_user"),
        "_ids": [],
    }


def start_posts(config: dict[str, Any]) -> dict[str, Any]:
    """The state of an entry's `initial_config`; ids count from 10 where it says nothing."""
    return {
        "username": config.get("username", "john"),
        "password": config.get("password", "john1234"),
        "authenticated": config.get("authenticated", False),
        "tweets": config.get("tweets", {}),
        "comments": config.get("comments", {}),
        "retweets": config.get("retweets", {}),
        "following_list": config.get("following_list", ["alice", "bob"]),
        "tweet_counter": config.get("tweet_counter", 10),
    }


@tool()
def list_users(state: State) -> dict[str, list[str]]:
    """The names of all users."""
    return {"user_list": list(state[_MESSAGES]["user_map"])}


@tool()
def get_user_id(state: State, user: str) -> dict[str, str]:
    """The id of a user by name."""
    users = state[_MESSAGES]["user_map"]
    if user not in users:
        raise RefusedError(f"there is no user {user[:80]!r}")
    return {"user_id": users[user]}


@tool(writes=True)
def message_login(state: State, user_id: str) -> dict[str, Any]:
    """Be a user from now on."""
    _known(state, user_id)
    state[_MESSAGES]["current_user"] = user_id
    return {"login_status": True, "message": f"{user_id} is logged in"}


@tool()
def message_get_login_status(state: State) -> dict[str, bool]:
    """Whether somebody is logged in."""
    return {"login_status": state[_MESSAGES]["current_user"] is not None}


@tool(writes=True)
def send_message(state: State, receiver_id: str, message: str) -> dict[str, Any]:
    """Send a message as the current user."""
    _me(state)
    _known(state, receiver_id)
    own = state[_MESSAGES]
    number = _message_id(own["_ids"])
    own["_ids"].append(number)
    own["inbox"].append({receiver_id: message})
    own["message_count"] += 1
    return {"sent_status": True, "message_id": number, "message": f"sent to {receiver_id}"}


@tool(writes=True)
def delete_message(state: State, receiver_id: str) -> dict[str, Any]:
    """Delete the latest message to a user."""
    _me(state)
    own = state[_MESSAGES]
    for place in reversed(range(len(own["inbox"]))):
        row = own["inbox"][place]
        if receiver_id in row:
            del row[receiver_id]
            if not row:
                del own["inbox"][place]
            return {"deleted_status": True, "receiver_id": receiver_id, "message": "deleted"}
    raise RefusedError(f"there is no message to {receiver_id[:80]!r}")


@tool()
def view_messages_sent(state: State) -> dict[str, dict[str, list[str]]]:
    """The messages of the current user by receiver."""
    _me(state)
    found: dict[str, list[str]] = {}
    for receiver, text in _sent(state):
        found.setdefault(receiver, []).append(text)
    return {"messages": found}


@tool()
def search_messages(state: State, keyword: str) -> dict[str, list[dict[str, str]]]:
    """The messages that have a word in them; case does not matter."""
    _me(state)
    return {
        "results": [
            {"receiver_id": receiver, "message": text}
            for receiver, text in _sent(state)
            if keyword.lower() in text.lower()
        ]
    }


@tool()
def get_message_stats(state: State) -> dict[str, dict[str, int]]:
    """How many messages there are, and to how many people."""
    _me(state)
    receivers = [receiver for receiver, _ in _sent(state)]
    stats = {"received_count": len(receivers), "total_contacts": len(set(receivers))}
    return {"stats": stats}


@tool(writes=True)
def add_contact(state: State, user_name: str) -> dict[str, Any]:
    """Add a user to the workspace."""
    own = state[_MESSAGES]
    if user_name in own["user_map"]:
        raise RefusedError(f"{user_name[:80]} is a contact already")
    own["user_count"] += 1
    user_id = f"USR{own['user_count']:03}"
    own["user_map"][user_name] = user_id
    return {"added_status": True, "user_id": user_id, "message": "added"}


def _me(state: State) -> str:
    if state[_MESSAGES]["current_user"] is None:
        raise RefusedError("nobody is logged in")
    return str(state[_MESSAGES]["current_user"])


def _known(state: State, user_id: str) -> None:
    if user_id not in state[_MESSAGES]["user_map"].values():
        raise RefusedError(f"there is no user id {user_id[:80]!r}")


def _sent(state: State) -> list[tuple[str, str]]:
    """Receiver and text; some entries hold several texts under one receiver."""
    found = []
    for row in state[_MESSAGES]["inbox"]:
        for receiver, texts in row.items():
            found += [(receiver, text) for text in ([texts] if isinstance(texts, str) else texts)]
    return found


def _message_id(taken: list[int]) -> int:
    rng = random.Random(_MESSAGE_ID_SEED)
    while (number := rng.randint(10000, 99999)) in taken:
        pass
    return number


@tool(writes=True)
def authenticate_twitter(state: State, username: str, password: str) -> dict[str, bool]:
    """Log in with name and password; a wrong one leaves things as they are."""
    own = state[_POSTS]
    right = (username, password) == (own["username"], own["password"])
    own["authenticated"] = own["authenticated"] or right
    return {"authentication_status": right}


@tool()
def posting_get_login_status(state: State) -> dict[str, bool]:
    """Whether the user is logged in."""
    return {"login_status": state[_POSTS]["authenticated"]}


@tool(writes=True)
def post_tweet(
    state: State, content: str, tags: list[str] | None = None, mentions: list[str] | None = None
) -> dict[str, Any]:
    """Post a text with hashtags and mentions."""
    own = _author(state)
    tweet = {
        "id": own["tweet_counter"],
        "username": own["username"],
        "content": content,
        "tags": list(tags or ()),
        "mentions": list(mentions or ()),
    }
    own["tweets"][str(own["tweet_counter"])] = tweet
    own["tweet_counter"] += 1
    return tweet


@tool(writes=True)
def retweet(state: State, tweet_id: int) -> dict[str, str]:
    """Retweet once."""
    own, _ = _author(state), _tweet(state, tweet_id)
    mine = own["retweets"].setdefault(own["username"], [])
    if tweet_id in mine:
        return {"retweet_status": "already retweeted"}
    mine.append(tweet_id)
    return {"retweet_status": "retweeted"}


@tool(writes=True)
def comment(state: State, tweet_id: int, comment_content: str) -> dict[str, str]:
    """Comment on a tweet."""
    own, _ = _author(state), _tweet(state, tweet_id)
    said = {"username": own["username"], "content": comment_content}
    own["comments"].setdefault(str(tweet_id), []).append(said)
    return {"comment_status": "commented"}


@tool(writes=True)
def mention(state: State, tweet_id: int, mentioned_usernames: list[str]) -> dict[str, str]:
    """Mention users in a tweet."""
    _tweet(state, tweet_id)["mentions"].extend(mentioned_usernames)
    return {"mention_status": "mentioned"}


@tool(writes=True)
def follow_user(state: State, username_to_follow: str) -> dict[str, bool]:
    """Follow a user."""
    following = _author(state)["following_list"]
    if username_to_follow in following:
        return {"follow_status": False}
    following.append(username_to_follow)
    return {"follow_status": True}


@tool(writes=True)
def unfollow_user(state: State, username_to_unfollow: str) -> dict[str, bool]:
    """Follow a user no more."""
    following = _author(state)["following_list"]
    if username_to_unfollow not in following:
        return {"unfollow_status": False}
    following.remove(username_to_unfollow)
    return {"unfollow_status": True}


@tool()
def list_all_following(state: State) -> dict[str, list[str]]:
    """Whom the user follows."""
    return {"following_list": _author(state)["following_list"]}


@tool()
def get_tweet(state: State, tweet_id: int) -> dict[str, Any]:
    """One tweet."""
    return _tweet(state, tweet_id)


@tool()
def get_user_tweets(state: State, username: str) -> dict[str, list[dict[str, Any]]]:
    """All tweets of a user."""
    tweets = state[_POSTS]["tweets"].values()
    return {"user_tweets": [each for each in tweets if each["username"] == username]}


@tool()
def search_tweets(state: State, keyword: str) -> dict[str, list[dict[str, Any]]]:
    """The tweets that have a word in them; case does not matter."""
    word, tweets = keyword.lower(), state[_POSTS]["tweets"].values()
    return {
        "matching_tweets": [
            each
            for each in tweets
            if word in each["content"].lower() or any(word in tag.lower() for tag in each["tags"])
        ]
    }


@tool()
def get_tweet_comments(state: State, tweet_id: int) -> dict[str, list[dict[str, str]]]:
    """The comments on a tweet."""
    _tweet(state, tweet_id)
    return {"comments": state[_POSTS]["comments"].get(str(tweet_id), [])}


@tool()
def get_user_stats(state: State, username: str) -> dict[str, int]:
    """How much a user tweets, retweets and follows."""
    own = state[_POSTS]
    return {
        "tweet_count": sum(each["username"] == username for each in own["tweets"].values()),
        "following_count": len(own["following_list"]) if username == own["username"] else 0,
        "retweet_count": len(own["retweets"].get(username, [])),
    }


def _author(state: State) -> dict[str, Any]:
    own: dict[str, Any] = state[_POSTS]
    if not own["authenticated"]:
        raise RefusedError("nobody is logged in")
    return own


def _tweet(state: State, tweet_id: int) -> dict[str, Any]:
    if str(tweet_id) not in state[_POSTS]["tweets"]:
        raise RefusedError(f"there is no tweet {tweet_id}")
    found: dict[str, Any] = state[_POSTS]["tweets"][str(tweet_id)]
    return found


MESSAGES = ToolBox(
    (
        list_users, get_user_id, message_login, message_get_login_status, send_message,
        delete_message, view_messages_sent, search_messages, get_message_stats, add_contact,
    )
)  # fmt: skip
POSTS = ToolBox(
    (
        authenticate_twitter, posting_get_login_status, post_tweet, retweet, comment, mention,
        follow_user, unfollow_user, list_all_following, get_tweet, get_user_tweets, search_tweets,
        get_tweet_comments, get_user_stats,
    )
)  # fmt: skip
