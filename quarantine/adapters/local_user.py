"""Who runs this by the operating system's word alone: for the embedded default, where nobody else is to be convinced."""

import os

from quarantine.exceptions import Identity
from quarantine.ports import Tell

__all__ = ["LocalUser"]


class LocalUser:
    """The owner of this process. Its number is the kernel's; USER and LOGNAME, which anybody can set, are not read."""

    def who(self, tell: Tell) -> Identity:  # noqa: ARG002  # nothing here takes long enough to be told of
        """The user by number, named as the user database has it, unverified."""
        import pwd  # noqa: PLC0415  # not everywhere

        user = os.getuid()
        try:
            name = pwd.getpwuid(user).pw_name
        except KeyError:
            name = str(user)
        return Identity(kind="local", id=f"uid:{user}", name=name, verified=False)
