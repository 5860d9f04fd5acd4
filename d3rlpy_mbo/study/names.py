"""Names of a study that become folders of it."""

from ..support.errors import CompositionError

__all__ = ["folder_name", "require_path_part"]


def folder_name(dataset: str) -> str:
    """Returns the folder of a dataset in the study's."""
    return dataset.replace("/", "-")


def require_path_part(name: str, what: str) -> None:
    """Refuses a name that, as a folder, would lie elsewhere than in the study's.

    Args:
        name: Of a method, or between the slashes of a dataset's id.
        what: Whose, for the message.

    Raises:
        CompositionError: It is empty, begins with a dot, or holds a separator.
    """
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        raise CompositionError(
            f"{what} cannot be the name of a folder: it is empty, begins with a dot, or "
            "holds a slash. Give it another."
        )
