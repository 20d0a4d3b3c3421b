"""A gate between the public package repositories and what an organisation builds and deploys."""

__version__ = "0.1.0"
