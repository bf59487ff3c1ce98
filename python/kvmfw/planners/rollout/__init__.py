"""Rollouts: an order of drains and reboots in which every VM has a place at every step and none is trapped."""

from kvmfw.planners.rollout.planning import Ask, plan_rollout
from kvmfw.planners.rollout.steps import Move, Rollout, Step, Wave

__all__ = ["Ask", "Move", "Rollout", "Step", "Wave", "plan_rollout"]
