"""What of this machine a model may use. Never part of a recipe: it decides the speed, not the result."""

from dataclasses import dataclass

from broker.recipe import Stage
from broker.settings import Provider, Settings

GPU_BATCH = 8


@dataclass(frozen=True)
class Compute:
    """What one model in one process works with.

    Attributes:
        threads: of the network on a CPU, and of OpenCV.
        providers: what ONNX Runtime may use, best first; all of them have to be here. Empty: CUDA where
            this process sees a GPU, else the CPU. A model on another runtime reads "cuda" or "cpu" out of it.
        batch: images in one call; None leaves it to the model (1 on a CPU).
        memory: of the GPU, in bytes, that the model's tensors may take; None: all there is. The driver's own
            share (context, kernels, handles of cuDNN and cuBLAS) comes on top.
    """

    threads: int = 1
    providers: tuple[Provider, ...] = ()
    batch: int | None = None
    memory: int | None = None

    def batch_on(self, gpu: bool) -> int:
        """Images in one call: what is asked for, else 8 on a GPU, which keeps one busy, and 1 on a CPU."""
        return self.batch or (GPU_BATCH if gpu else 1)

    @classmethod
    def of(cls, settings: Settings, stage: Stage) -> "Compute":
        """What the settings of this process give to the model of ``stage``."""
        batches = {Stage.POSE: settings.compute.pose_batch, Stage.MASK: settings.compute.mask_batch}
        memory = settings.gpu_memory
        return cls(settings.threads, settings.compute.providers, batches.get(stage), memory)
