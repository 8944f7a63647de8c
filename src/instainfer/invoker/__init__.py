"""The asyncio driver of `core.node`: it holds a state, turns its decisions into effects, and decides nothing."""
