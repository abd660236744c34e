"""Environments for others, and others' environments for us: OpenEnv and MCP."""
