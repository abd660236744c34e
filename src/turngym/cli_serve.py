"""`turngym serve`: an environment for clients that are not ours."""

from typing import Annotated, Literal

import typer

from turngym.errors import MissingExtraError

__all__ = ["serve"]


def serve(
    env: Annotated[str, typer.Argument(help="Id from `turngym envs`.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the environment, such as size=demo.")
    ] = None,
    protocol: Annotated[
        Literal["openenv", "mcp"], typer.Option(help="openenv over HTTP, or mcp over stdio.")
    ] = "openenv",
    host: Annotated[str, typer.Option(help="Address to listen on (openenv).")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on (openenv).")] = 8000,
    max_sessions: Annotated[int, typer.Option(help="Episodes at a time (openenv).", min=1)] = 64,
) -> None:
    """Serve an environment to OpenEnv clients, or its tools to an MCP client.

    Examples:

        turngym serve turngym/WebShop-v0 size=demo --port 8000

        turngym serve turngym/ToolUse-v0 --protocol mcp
    """
    from turngym.cli_envs import make_env

    make_env(env, settings).close()  # mistakes show now, not at the first session
    if protocol == "mcp":
        import asyncio

        try:
            from turngym.envs.serve.mcp_server import mcp_server, serve_stdio
        except ImportError as error:
            raise MissingExtraError("mcp", "mcp") from error
        asyncio.run(serve_stdio(mcp_server(lambda: make_env(env, settings), env)))
        return
    try:
        import uvicorn

        from turngym.envs.serve.openenv_server import openenv_app
    except ImportError as error:
        raise MissingExtraError("openenv", "openenv") from error
    app = openenv_app(lambda: make_env(env, settings), env, max_sessions=max_sessions)
    typer.echo(f"{env} at http://{host}:{port} (WebSocket /ws)", err=True)
    uvicorn.run(app, host=host, port=port, log_level="warning")
