"""What ``d3rlpy-mbo collect`` makes: one module a family of tasks."""
