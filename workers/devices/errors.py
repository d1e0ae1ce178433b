"""What can go wrong with a device: with one frame, with the device, with its description."""

from broker.errors import Action, HardposeError, SettingsError
from workers.errors import ImageFailed


class DeviceFault(ImageFailed):
    """A device gave no usable answer for one frame; the stage asks again, with that frame alone."""

    code = "device_fault"


class WrongSize(DeviceFault):
    """An answer is of a size that it must not have."""

    code = "device_wrong_size"


class NotANumber(DeviceFault):
    """A network's output holds NaN or infinity."""

    code = "device_not_a_number"


class EmptyMask(DeviceFault):
    """The device sees nobody on a frame, and the known picture says that it may be broken."""

    code = "device_empty_mask"


class TooLate(DeviceFault):
    """The answer did not come within the device's time limit."""

    code = "device_too_late"


class UnreadableAnswer(DeviceFault):
    """The answer is no picture: cut off, of another format, or larger than it may be."""

    code = "device_unreadable_answer"


class ServerFailed(DeviceFault):
    """The device's HTTP server answered with an error."""

    code = "device_server_failed"


class ServerRefuses(ServerFailed):
    """It answered that a request as described is wrong, which no later one will change."""

    key = "http.url"
    """Of the description: what is wrong."""


class NothingThere(ServerRefuses):
    """It has nothing at that address: the address is wrong, or the device is booting."""


class CommandFailed(DeviceFault):
    """The device's command ended with an exit status other than 0."""

    code = "device_command_failed"


class NothingWritten(DeviceFault):
    """The device's command ended well and left no mask for a frame."""

    code = "device_nothing_written"


class WroteOutside(DeviceFault):
    """The device's command left something where it must not write, or a link that leads there."""

    code = "device_wrote_outside"


class PoisonFrame(DeviceFault):
    """A frame has ended the process that drives the device."""

    code = "device_poison_frame"


class DeviceAway(HardposeError):
    """The device does not answer at all, or not even the known picture comes back right.

    No frame's fault: the segment goes back to its queue and waits, without an attempt being counted.
    """

    code = "device_away"
    action = Action.TRANSIENT


class DeviceMismatch(HardposeError):
    """A segment is for another device or another firmware than the one that this worker drives."""

    code = "device_mismatch"


class DeviceElsewhere(HardposeError):
    """The recipe's device can only be driven by its own worker, and this is another one."""

    code = "device_elsewhere"


class DriverCrashed(HardposeError):
    """A driver has ended its process on the known picture, as a crash in native code does."""

    code = "device_driver_crashed"


class DeviceMisdescribed(SettingsError):
    """A device's description is wrong; names the file and the line."""

    code = "device_misdescribed"


class NothingServed(DeviceMisdescribed):
    """Its server has nothing at the described address; one that boots has it a little later."""

    code = "device_nothing_served"
