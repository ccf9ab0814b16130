"""From a spec to a record: build, train, count, time."""
