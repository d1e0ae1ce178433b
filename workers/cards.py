"""What is to be known of a model whose weights the user brings: where they are, licence, citation, limits."""

from dataclasses import dataclass


@dataclass(frozen=True)
class OfficialFile:
    """A weights file that its authors publish.

    Attributes:
        file: its name there.
        url: where it is published.
        md5: of its content, lower case, as its authors publish it; empty when they do not. It tells which
            file this is; what pins the bytes afterwards is their sha256.
    """

    file: str
    url: str
    md5: str = ""


@dataclass(frozen=True)
class ModelCard:
    """What ``hardpose models show`` prints of a model.

    Attributes:
        title: the network's name in its paper.
        licence: short name; goes with every frame into the data set.
        licence_url: its text.
        must_accept: whether ``hardpose models add`` wants ``--accept-licence``.
        terms: what the licence asks of the user, in one sentence.
        citation: how its authors want to be cited.
        official: the files its authors publish; others of the same architecture are accepted as custom.
        obtain: how a user comes by a file, in one or two sentences with the commands.
        suffixes: file name endings that can be read, such as ``.caffemodel``.
        untried: what of this model was never run by the makers of hardpose, in one sentence.
    """

    title: str
    licence: str
    licence_url: str
    must_accept: bool
    terms: str
    citation: str
    official: tuple[OfficialFile, ...]
    obtain: str
    suffixes: tuple[str, ...]
    untried: str

    def notes(self, file: str, sha256: str) -> dict[str, str]:
        """What a network that was made from a weights file carries with it, for whoever finds it alone.

        Args:
            file: name of the weights file.
            sha256: of its content.
        """
        return {
            "source": file,
            "sha256": sha256,
            "licence": self.licence,
            "licence_url": self.licence_url,
            "citation": self.citation,
        }
