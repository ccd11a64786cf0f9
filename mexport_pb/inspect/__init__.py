"""Looking at what was exported."""

from mexport_pb.inspect.facts import ModelFacts
from mexport_pb.inspect.model_facts import describe

__all__ = ["ModelFacts", "describe"]
