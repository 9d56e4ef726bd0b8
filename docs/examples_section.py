"""For mkdocstrings: the docstrings' "Example:" is Google's section "Examples:"."""

import re

import griffe


class ExamplesSection(griffe.Extension):
    """Names the section as griffe's parser knows it."""

    def on_instance(self, *, obj: griffe.Object, **_) -> None:
        """Called for every module, class and function once it is read."""
        if obj.docstring is not None:
            said = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", said, flags=re.MULTILINE)
