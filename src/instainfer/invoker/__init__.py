"""The asyncio driver of `core.node`. It holds a `NodeState`, carries out its decisions, and decides nothing."""
