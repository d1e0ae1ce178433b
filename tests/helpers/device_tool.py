"""A vendor's tool that reads a folder of pictures and writes a folder of masks, well or badly.

``device_tool.py WAY INPUT_DIR OUTPUT_DIR``; the way ``good`` writes each picture's red channel.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def say(text):
    os.write(1, text.encode() + b"\n")


class Tool:
    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs
        self.pictures = sorted(inputs.iterdir())

    def good(self):
        from PIL import Image  # only where it is needed: the tool is started for every test

        for path in self.pictures:
            Image.open(path).convert("RGB").getchannel("R").save(self.outputs / f"{path.stem}.png")

    def exit_1(self):
        self.good()
        say("about to fail")
        os.write(2, b"no such \x1b[31mmodel\n" + b"x" * 9000 + b"\nthe last words\n")
        sys.exit(1)

    def exit_75(self):
        os.write(2, b"error: device offline\n")
        sys.exit(75)

    def crash(self):
        os.kill(os.getpid(), signal.SIGABRT)

    def nothing(self):
        pass

    def one_less(self):
        self.good()
        (self.outputs / f"{self.pictures[-1].stem}.png").rename(self.outputs / "mask.png")

    def empty(self):
        for path in self.pictures:
            (self.outputs / f"{path.stem}.png").touch()

    def truncated(self):
        self.good()
        for path in self.outputs.iterdir():
            path.write_bytes(path.read_bytes()[:-24])

    def wrong_size(self):
        from PIL import Image

        Image.new("L", (9, 6)).save(self.outputs / "000.png")

    def huge(self):
        os.truncate(os.open(self.outputs / "000.png", os.O_CREAT | os.O_WRONLY), 10**10)

    def slow(self):
        self.child()
        time.sleep(600)

    def stubborn(self):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.slow()

    def leaves_a_child(self):
        self.good()
        (Path(__file__).parent / "left").write_text(str(self.child()))

    def leaves_a_server(self):
        """As `adb` does: it has a session of its own, and keeps our pipe."""
        self.good()
        stays = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
        server = subprocess.Popen(stays, start_new_session=True)
        (Path(__file__).parent / "left").write_text(str(server.pid))

    def child(self):
        """It has our pipe, and would change the masks minutes later."""
        late = f"import time; time.sleep(600); open({str(self.outputs / '000.png')!r}, 'w')"
        pid = subprocess.Popen([sys.executable, "-S", "-c", late]).pid
        say(f"child {pid}")
        return pid

    def link(self):
        self.good()
        (self.outputs / "000.png").rename(self.outputs / "real.png")
        (self.outputs / "000.png").symlink_to("real.png")

    def link_to_input(self):
        (self.outputs / "000.png").symlink_to(self.inputs / "000.png")

    def hard_link(self):
        self.good()
        (self.outputs / "again.png").hardlink_to(self.outputs / "000.png")

    def fifo(self):
        os.mkfifo(self.outputs / "000.png")

    def folder(self):
        (self.outputs / "000.png").mkdir()

    def beside(self):
        self.good()
        (self.outputs.parent / "mask.png").touch()

    def into_input(self):
        self.good()
        (self.inputs / "000_mask.png").touch()

    def over_input(self):
        self.good()
        self.pictures[0].write_bytes((self.outputs / "000.png").read_bytes())

    def no_input(self):
        self.good()
        self.pictures[0].unlink()

    def linked_output(self):
        self.outputs.rmdir()
        self.outputs.symlink_to(self.inputs)

    def gone(self):
        shutil.rmtree(self.outputs.parent)

    def deep(self):
        os.chdir(self.outputs)
        for _ in range(1200):
            Path("d").mkdir()
            os.chdir("d")

    def talks(self):
        self.good()
        os.write(1, b"x" * 10**7)

    def environment(self):
        self.good()
        wanted = [f"{name}={value}" for name, value in os.environ.items()]
        (Path(__file__).parent / "environment").write_text("\n".join([str(Path.cwd()), *sys.argv, *wanted]))


if __name__ == "__main__":
    getattr(Tool(*map(Path, sys.argv[2:4])), sys.argv[1].replace("-", "_"))()
