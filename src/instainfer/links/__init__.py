"""How a controller reaches invokers. `base` is the contract; `local` keeps the invoker in the same process."""
