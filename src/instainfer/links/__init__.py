"""How a controller reaches its invokers. `base` is the interface; with `local` the invoker runs in the same process."""
