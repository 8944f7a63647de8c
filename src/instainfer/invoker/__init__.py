"""The asyncio driver of `core.node`. It holds a `NodeState` and carries out its decisions; it decides nothing itself."""
