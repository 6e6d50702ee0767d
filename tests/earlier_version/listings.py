"""Lists of what users of the package rely on: public names, signatures and flags."""

import inspect

import bit_keras


def signatures() -> dict:
    """Returns the signature of each public name, and of the methods of public classes."""
    found = {}
    for name in sorted(bit_keras.__all__):
        value = getattr(bit_keras, name)
        if inspect.isclass(value):
            for member in sorted(vars(value)):
                method = inspect.getattr_static(value, member)
                if not member.startswith("_") and callable(getattr(value, member)):
                    found[f"{name}.{member}"] = str(inspect.signature(getattr(value, member)))
                elif not member.startswith("_"):
                    found[f"{name}.{member}"] = type(method).__name__
            found[name] = str(inspect.signature(value.__init__))
        elif callable(value):
            found[name] = str(inspect.signature(value))
        else:
            found[name] = type(value).__name__
    return found


def flags(commands: dict) -> dict:
    """Returns each command's arguments and flags, with their kinds and defaults."""
    return {
        name: {
            "arguments": list(command.arguments),
            "required": command.required,
            "flags": {
                flag: [define.__name__, default] for define, flag, default, _ in command.flags
            },
        }
        for name, command in commands.items()
    }
