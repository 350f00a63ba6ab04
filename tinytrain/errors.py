"""One family of errors. A message says what, where, the numbers with units, and the next step.

The command line prints ``str(error)`` without a traceback and exits with code 2.
"""


class TinytrainError(Exception):
    """Base of every error that a user can cause and mend."""


class ShapeError(TinytrainError):
    """Shapes or dtypes that do not fit together."""


class UnsupportedOp(TinytrainError):
    """An operator of the user's model that no tinytrain op stands for."""


class CalibrationError(TinytrainError):
    """Calibration data or weights that no scale can be taken from (NaN, infinity, empty)."""


class SchemeError(TinytrainError):
    """An update scheme that names what the model does not have, or what cannot be trained."""


class BudgetError(TinytrainError):
    """A plan that needs more SRAM or flash than the board has."""


class BoardError(TinytrainError):
    """An unknown board, or a board.toml that is not valid."""


class RecipeError(TinytrainError):
    """A recipe file that cannot be loaded, or whose parts do not fit together."""


class DataError(TinytrainError):
    """A data set whose package is absent or whose content is not what was expected."""


class ToolchainError(TinytrainError):
    """A compiler or an emulator is absent or failed."""


class ProjectError(TinytrainError):
    """A folder that cannot be written, or PlatformIO: absent, failed, or no board found."""


class LinkError(TinytrainError):
    """The serial link: a frame that was refused, a device that does not answer."""
