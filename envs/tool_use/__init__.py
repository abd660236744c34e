"""Tool use: conversations in which the agent calls tools for a simulated user."""
