"""The parts of `RoutesView`: the state of each application, how records change it, waiting for a version."""
