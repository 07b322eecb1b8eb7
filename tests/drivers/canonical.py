"""Prints what a driver saw, step by step, one JSON object a line, so that two runs can be compared byte for byte."""

import json
import os
import sys
import traceback


def plain(value):
    """A value as JSON that keeps types apart: what a driver turned bytes into is part of the result."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return {type(value).__name__: str(value)}


def say(step, **seen):
    print(json.dumps({"step": step, **{key: plain(value) for key, value in seen.items()}}, sort_keys=True), flush=True)


def table(name):
    """A table name of this run's own: both runs get the same from the test."""
    return os.environ["DRIVER_TABLE"] + "_" + name


def main(run):
    try:
        run()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
