"""The published APIs as typed messages: what they take, what they answer and what they mean here; nothing of HTTP."""
