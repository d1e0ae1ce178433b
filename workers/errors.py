"""What can go wrong with a model on this machine. Each error names the cause and the remedy."""

from broker.errors import Action, HardposeError


class ModelMismatch(HardposeError):
    """A model file cannot be loaded, or its inputs and outputs are not what its description says."""

    code = "model_mismatch"


class WeightsDamaged(ModelMismatch):
    """A weights file is cut off, or is no file of its format at all."""

    code = "weights_damaged"


class DelegateFailed(HardposeError):
    """The library that is to run a network on an NPU is not here, is no such library, or refuses."""

    code = "delegate_failed"


class LicenceNotAccepted(HardposeError):
    """Weights whose licence the user has to accept were given without that."""

    code = "licence_not_accepted"


class NoProvider(HardposeError):
    """A GPU, or the runtime for it, was asked for by name and is not here."""

    code = "no_provider"


class OutOfMemory(HardposeError):
    """One image alone does not fit into the memory of the GPU (or of this machine)."""

    code = "out_of_memory"
    action = Action.TRANSIENT


class ImageFailed(HardposeError):
    """A model cannot work on this one image; it can on the others.

    A stage gives that frame the verdict ``failed`` and goes on.
    """

    code = "image_failed"
