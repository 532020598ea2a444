"""The version, in one place: semantic versioning, read by the build and by ``chainrule --version``."""

VERSION = "0.1.0"
