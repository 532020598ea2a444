"""The version, in one place; semantic versioning."""

VERSION = "0.1.0"
