"""What is found by name: the hook, plugins, the JSON form of configs."""
