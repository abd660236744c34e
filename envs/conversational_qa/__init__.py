"""Conversational question answering with search."""
