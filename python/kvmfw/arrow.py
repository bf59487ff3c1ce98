"""The public name of `kvmfw.distributed.batches`: fleets that outgrow one machine, for any engine."""

from kvmfw.distributed.batches import (
    CLASSIFIED,
    OUTCOMES,
    classify_batch,
    classify_batches,
    decide,
    validate_batch,
)

__all__ = ["CLASSIFIED", "OUTCOMES", "classify_batch", "classify_batches", "decide", "validate_batch"]
