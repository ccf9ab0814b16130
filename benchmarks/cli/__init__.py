"""The command line: one file a command, which parses its options, makes one call and prints."""
