"""Requests that warm a server up, and requests for trying a model out."""

from mexport_pb.warmup.random_requests import random_predict_request, random_signatures

__all__ = ["random_predict_request", "random_signatures"]
